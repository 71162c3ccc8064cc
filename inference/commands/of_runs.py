"""The commands `predict` and `inspect`; torch is imported when one is called."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads it
from typing import Annotated

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.options import (  # noqa: TC001  # typer reads the annotations
    DirectoryPath,
    Overwrite,
    RunPath,
)


def predict(
    run: RunPath,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="New rows: .csv, .parquet, or a folder.")
    ],
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
    responsibility_k (probability of expert k given it), expert, and entropy (nats). DATA and FILE
    may be larger than memory: rows are read, predicted and written a part at a time.
    """
    from pyromoe.inference.posterior.prediction import read_quantiles
    from pyromoe.inference.posterior.streamed_prediction import predict_file, write_tables
    from pyromoe.inference.runs.store import load_fit

    levels = () if quantiles is None else read_quantiles(quantiles)
    with terminal.progress() as report:
        tables = predict_file(load_fit(run), data, levels, per_expert=per_expert, report=report)
        rows, names = write_tables(tables, out, overwrite=overwrite)
    terminal.out.print(
        f"{rows} rows, columns {', '.join(names[:6])} ..., written to {out}", markup=False
    )


def inspect(
    folder: DirectoryPath,
    rows: Annotated[int, typer.Option(min=0, help="How many uncertain rows to show.")] = 5,
    obs: Annotated[
        str | None,
        typer.Option(metavar="I,J", help="These rows of the table, from 0, instead: who has them."),
    ] = None,
    expert: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="This expert instead: what it does.")
    ] = None,
) -> None:
    """Show what was fitted, how good it is, which expert has which rows, and what to look into.

    Of a comparison, a lab or a selection, the same of what it found.
    """
    from pyromoe.inference.commands import inspection

    if obs is None and expert is None:
        inspection.inspect(folder, rows)
        return
    from pyromoe.inference.commands.inspected import expert_lines, read_numbers, row_lines

    if obs is not None:
        inspection.print_lines(row_lines(folder, read_numbers(obs)))
    if expert is not None:
        inspection.print_lines(expert_lines(folder, expert))
