"""The commands that show parameters in natural units, and evaluate given ones."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated, Literal

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.options import (  # noqa: TC001  # typer reads the annotations
    Overwrite,
    RunPath,
    Settings,
    SpecPath,
)
from pyromoe.models.errors import InputError


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
    from pyromoe.inference.files.writing import new_file
    from pyromoe.inference.fitting.natural import Natural, to_json
    from pyromoe.inference.posterior.coefficient_rows import names_of
    from pyromoe.inference.posterior.parameter_table import coefficients as table_of
    from pyromoe.inference.runs.store import load_fit, with_data, write_json

    fit = load_fit(run)
    if fit.spec.data.stream is None:
        fit = with_data(fit, run)
    elif errors != "none":
        what = "standard errors look at all rows at once, and they are streamed"
        raise InputError(what, field="--errors", remedy="take --errors none")
    with terminal.progress() if errors == "bootstrap" else nullcontext() as report:
        found = table_of(fit, errors, draws=draws, progress=report)
    columns = ["parameter", "of", "expert", "value", "standard error"]
    rows = [
        [*names, f"{value:.6g}", "" if error is None else f"{error:.4g}"]
        for *names, value, error in (row.values() for row in found.to_pylist())
    ]
    shown = 4 if errors == "none" else 5
    terminal.table(columns[:shown], [row[:shown] for row in rows])
    if out is not None:
        named = Natural(fit.model, fit.guide, fit.encoding)()
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
    from pyromoe.inference.commands.evaluated import evaluated
    from pyromoe.models.specs.spec_file import read_spec

    file = read_spec(spec, set_ or ())
    for line in evaluated(file, parameters):
        terminal.out.print(line, markup=False)
