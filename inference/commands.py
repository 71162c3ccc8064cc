"""The commands that fit, compare, predict and look; torch is imported when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyromoe.inference import terminal
from pyromoe.inference.options import (  # noqa: TC001  # typer reads the annotations
    BudgetText,
    Out,
    Overwrite,
    RunPath,
    Settings,
    SpecPath,
)

if TYPE_CHECKING:
    from pyromoe.models.spec_file import SpecFile


def fit(
    spec: SpecPath,
    treatment: Annotated[
        str | None, typer.Option(help="How the gradient gets through z; see pyromoe treatments.")
    ] = None,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    budget: BudgetText = None,
) -> None:
    """Fit a spec and write a run directory."""
    from pyromoe.inference.store import new_directory
    from pyromoe.inference.svi import fit as run

    file = _read(spec, set_, treatment)
    target = _target(out, file, spec)
    with new_directory(target, overwrite=overwrite) as folder:
        with terminal.progress() as report:
            result = run(file, budget=_budget(budget), progress=report)
        _keep(result, folder, target)
    _show_metrics(result.metrics)
    terminal.out.print(f"written to {target}; next: pyromoe inspect {target}", markup=False)


def compare(
    spec: SpecPath,
    treatments: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names, or all; else those of compare.treatments."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Seeds of the fits.")] = None,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    budget: BudgetText = None,
) -> None:
    """Fit a spec with several treatments of z, side by side."""
    from pyromoe.inference.comparison import compare as run
    from pyromoe.inference.store import new_directory, write_csv, write_json

    chosen = {"treatments": treatments, "seeds": seeds}
    lists = [f"compare.{name}=[{text}]" for name, text in chosen.items() if text is not None]
    file = _read(spec, [*(set_ or ()), *lists], None)
    target = _target(out, file, spec)
    with new_directory(target, overwrite=overwrite) as folder:

        def keep(name: str, result: Any) -> None:
            (folder / name).mkdir()
            _keep(result, folder / name, target / name)

        with terminal.progress() as report:
            result = run(file, budget=_budget(budget), progress=report, keep=keep)
        summary = {"summary": result.summary, "measured_on": result.measured_on}
        write_json(folder / "comparison.json", summary | {"rows": result.rows})
        write_csv(folder / "comparison.csv", result.rows)
    _show_comparison(result.rows, result.measured_on)
    terminal.out.print(f"\n{result.summary}", markup=False)
    terminal.out.print(
        f"\n{target} holds comparison.json, comparison.csv and a run directory for each fit, "
        "with its posterior.nc",
        markup=False,
    )


def predict(
    run: RunPath,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="New rows: .csv or .parquet.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write.")],
    quantiles: Annotated[
        str | None,
        typer.Option(metavar="P,P", help="Quantiles of numbers too, e.g. 0.05,0.5,0.95."),
    ] = None,
    per_expert: Annotated[
        bool, typer.Option("--per-expert", help="The mean of every expert too.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Predict new rows: mean, variance by its causes, gate; with the response density and expert.

    One row of FILE for each of DATA. variance = variance_within (experts' noise) +
    variance_between (not knowing the expert) + variance_weights (not knowing the weights).
    gate_k: probability of expert k. Where DATA has the response too: log_density (nats),
    responsibility_k (probability of expert k given it), expert, and entropy (nats).
    """
    from pyromoe.inference.prediction import predict as run_prediction, read_quantiles, write_table
    from pyromoe.inference.store import load_fit
    from pyromoe.models.table import read_rows

    levels = () if quantiles is None else read_quantiles(quantiles)
    result = run_prediction(load_fit(run), read_rows(data), quantiles=levels, per_expert=per_expert)
    write_table(result, out, overwrite=overwrite)
    terminal.out.print(
        f"{result.num_rows} rows, columns {', '.join(result.column_names[:6])} ..., "
        f"written to {out}",
        markup=False,
    )


def inspect(
    run: RunPath,
    rows: Annotated[int, typer.Option(min=0, help="How many rows' assignments to show.")] = 5,
) -> None:
    """Show what was fitted, how well, and which expert has which rows."""
    from pyromoe.inference.inspection import inspect as show

    show(run, rows)


def _read(spec: Path, settings: list[str] | None, treatment: str | None) -> SpecFile:
    from pyromoe.models.spec_file import read_spec

    overrides = list(settings or ())
    if treatment is not None:
        overrides.insert(0, f"treatment={treatment}")
    return read_spec(spec, overrides)


def _target(out: Path | None, file: SpecFile, spec: Path) -> Path:
    """Return the directory to write; one that nobody named never collides."""
    from pyromoe.inference.store import free_directory

    named = out or (file.spec.output.directory and Path(file.spec.output.directory))
    return named or free_directory(Path("runs") / spec.stem)


def _keep(result: Any, folder: Path, target: Path) -> None:
    from pyromoe.inference.netcdf import to_netcdf
    from pyromoe.inference.posterior import to_datatree
    from pyromoe.inference.store import save_fit

    save_fit(result, folder, target)
    (folder / "posterior.nc").write_bytes(to_netcdf(to_datatree(result)))


def _budget(text: str | None) -> Any:
    from pyromoe.inference.budget import Budget

    return None if text is None else Budget.parse(text)


def _show_metrics(metrics: dict[str, Any]) -> None:
    from pyromoe.inference.outcome import metric_lines

    for line in metric_lines(metrics):
        terminal.out.print(line, markup=False)


def _show_comparison(rows: list[dict[str, Any]], measured_on: str) -> None:
    """Print the table and what its headings mean."""
    error = next((n for n in ("accuracy", "rmse") if any(n in r for r in rows)), "rmse")
    likelihood = "test_log_likelihood" if measured_on == "test" else "train_log_likelihood"
    columns = {
        "treatment": "treatment of z",
        "objective": "objective",
        "seed": "seed",
        "unbiased": "un-\nbiased",
        "evaluations": "experts\nrun",
        likelihood: "log\np(y|x)",
        error: error,
        "effective_experts": "experts\nin use",
        "seconds": "seconds",
    }
    if len({row["seed"] for row in rows}) == 1:
        del columns["seed"]
    terminal.table(list(columns.values()), [[row.get(name) for name in columns] for row in rows])
    where = "held-out" if measured_on == "test" else "training"
    terminal.out.print(
        f"\nlog p(y|x), {error}: of the {where} rows; log p(y|x) in nats a row, z summed out\n"
        "unbiased: whether the gradient's mean is the objective's exact gradient\n"
        "experts run: evaluations for each row and step; experts in use: 1 if one has all the rows",
        markup=False,
    )
    for row in rows:
        if "failure" in row:
            terminal.out.print(f"{row['treatment']} broke down: {row['failure']}", markup=False)
