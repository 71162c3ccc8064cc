"""The command `gradients`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyromoe.inference import terminal
from pyromoe.inference.advice import TOLERABLE
from pyromoe.inference.options import Out, Overwrite, Settings  # noqa: TC001  # typer reads them


def gradients(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC_OR_RUN", help="A spec, or a directory written by fit.")
    ],
    treatments: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names; all of them if left out.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="How often each gradient is drawn.")
    ] = 200,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how biased and how noisy each treatment's gradient is, on this model and its data.

    A spec is fitted first. Every treatment's gradient is then drawn on one typical batch, where
    the fit starts and where it ends, and set against exact gradients. Writes gradients.json,
    gradients.csv and gradients.svg.
    """
    from pyromoe.inference.lab import gradients as run
    from pyromoe.inference.pictures import gradients_figure, to_svg
    from pyromoe.inference.store import free_directory, new_directory, write_csv, write_json
    from pyromoe.models.errors import InputError
    from pyromoe.models.spec_file import read_spec

    if spec.is_dir() and set_:
        what = "a run has its settings already"
        raise InputError(what, field="--set", remedy="leave it out, or give the spec")
    source: Any = spec if spec.is_dir() else read_spec(spec, set_ or ())
    names = None if treatments is None else [n.strip() for n in treatments.split(",") if n.strip()]
    target = out or free_directory(Path("runs") / f"{spec.resolve().stem}-gradients")
    with new_directory(target, overwrite=overwrite) as folder:
        with terminal.progress() as report:
            found = run(source, treatments=names, draws=draws, progress=report)
        summary = {"recommendation": found.recommendation, "skipped": found.skipped}
        write_json(folder / "gradients.json", summary | {"rows": found.rows})
        write_csv(folder / "gradients.csv", found.rows)
        figure = gradients_figure(found.rows, _part(found.rows))
        (folder / "gradients.svg").write_bytes(to_svg(figure))
    _show(found.rows, found.skipped)
    terminal.out.print(f"\n{found.recommendation}", markup=False)
    terminal.out.print(
        f"\n{target} holds gradients.json, gradients.csv (all parts of the parameters, where the "
        "fit starts and where it ends) and gradients.svg",
        markup=False,
    )


def _part(rows: list[dict[str, Any]]) -> str:
    """Return the part to show: the gate, unless nothing of it is trained."""
    return "gate" if any(r["parameters"] == "gate" for r in rows) else "experts"


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    if row["error_times_cost"] is None:
        return True, float("inf")
    return row["total_bias"] > TOLERABLE, row["error_times_cost"]


def _show(rows: list[dict[str, Any]], skipped: dict[str, str]) -> None:
    """Print the table of the gate at the fitted parameters, and what its headings mean."""
    columns = {
        "treatment": "treatment of z",
        "objective": "objective",
        "evaluations": "experts\nrun",
        "objective_bias": "bias of\nobjective",
        "estimator_bias": "bias of\nestimator",
        "estimator_bias_mc_floor": "its\nfloor",
        "slope": "slope",
        "cosine": "cosine",
        "relative_std": "relative\nstd",
        "error_times_cost": "error\nx cost",
        "seconds_per_call": "seconds\na call",
    }
    part = _part(rows)
    chosen = [r for r in rows if r["at"] == "fitted" and r["parameters"] == part]
    chosen.sort(key=_rank)
    terminal.table(list(columns.values()), [[row.get(n) for n in columns] for row in chosen])
    terminal.out.print(
        f"\nGradient of the {part} at the fitted parameters, relative to the exact one; those "
        f"within {TOLERABLE:.0%} of that of log p(y|x) first,\nthen by error x cost.\n"
        "bias of objective: its exact gradient against that of log p(y|x); bias of estimator: the "
        "mean draw against\nthe objective's exact gradient, with its floor: what the draws leave "
        "even without a bias\nerror x cost: squared error of a step, the batch's own noise "
        "included, times experts run",
        markup=False,
    )
    for name, reason in skipped.items():
        terminal.out.print(f"left out: {name}: {reason}", markup=False)
