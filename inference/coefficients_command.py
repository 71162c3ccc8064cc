"""The commands that show parameters in natural units, and evaluate given ones."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pyromoe.inference import terminal
from pyromoe.inference.options import (  # noqa: TC001  # typer reads the annotations
    Overwrite,
    RunPath,
    Settings,
    SpecPath,
)

if TYPE_CHECKING:
    from pyromoe.inference.natural import Named


def coefficients(
    run: RunPath,
    errors: Annotated[
        Literal["information", "sandwich", "bootstrap", "none"],
        typer.Option(help="How standard errors are estimated."),
    ] = "information",
    draws: Annotated[int, typer.Option(min=2, help="Samples of the bootstrap.")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them as JSON, too.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show the parameters of a run in the units of its table, with standard errors.

    Linear experts and gates have slopes and intercepts; the gate's are those of each expert less
    those of the first one. `pyromoe evaluate SPEC --parameters FILE` takes what --out writes.
    """
    from pyromoe.inference.bootstrap import bootstrap
    from pyromoe.inference.coefficient_rows import coefficient_rows, names_of
    from pyromoe.inference.natural import Natural, to_json
    from pyromoe.inference.standard_errors import standard_errors
    from pyromoe.inference.store import load_fit, with_data, write_json
    from pyromoe.inference.writing import new_file

    fit = with_data(load_fit(run), run)
    named = Natural(fit.model, fit.guide, fit.encoding)()
    found: Named = {}
    if errors == "bootstrap":
        with terminal.progress() as report:
            found = bootstrap(fit, draws, report)
    elif errors != "none":
        found = standard_errors(fit, errors)
    columns = ["parameter", "of", "expert", "value", *(["standard error"] if found else [])]
    rows = [
        [each.name, each.of, each.expert, f"{each.value:.6g}",
         *([] if each.error is None else [f"{each.error:.4g}"])]
        for each in coefficient_rows(fit, named, found)
    ]  # fmt: skip
    terminal.table(columns, rows)
    if out is not None:
        with new_file(out, overwrite=overwrite) as path:
            write_json(path, to_json(named, names_of(fit)))
        terminal.out.print(f"written to {out}", markup=False)


def evaluate(
    spec: SpecPath,
    parameters: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="JSON as `pyromoe coefficients RUN --out FILE` writes it, or the "
            "parameters.safetensors of a run.",
        ),
    ],
    set_: Settings = None,
) -> None:
    """Say log p(y | x) of a spec's data at given parameters, for audits against other software.

    In JSON, parameters are in the units of the table, a number for each expert:
    {"expert_intercept": [1, 2], "expert_slope": {"income": [0.5, 0.6]}, "scale": [0.6, 1.4],
    "gate_intercept": [0, -1], "gate_slope": {"income": [0, 0.01]}}.
    """
    from pyromoe.inference.evaluated import evaluated
    from pyromoe.models.spec_file import read_spec

    file = read_spec(spec, set_ or ())
    for line in evaluated(file, parameters):
        terminal.out.print(line, markup=False)
