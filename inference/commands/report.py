"""The command `report`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads it
from typing import Annotated

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.options import DirectoryPath  # noqa: TC001  # typer reads the annotations
from pyromoe.models.errors import InputError


def report(
    folder: DirectoryPath,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Else report.html in DIR.")
    ] = None,
) -> None:
    """Write what a directory holds as one HTML file, for a browser or a printer.

    A report that is there already is replaced. The file needs no network and runs no script.
    """
    if out is not None and out.suffix != ".html":
        raise InputError("the name must end in .html", file=str(out), remedy="name another --out")
    write_and_say(folder, out)


def write_and_say(folder: Path, out: Path | None = None) -> None:
    """Write the report of a directory, and say where."""
    from pyromoe.inference.report.written import write_report

    terminal.out.print(f"report: {write_report(folder, out)}", markup=False)
