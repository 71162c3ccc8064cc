"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec, in YAML.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A directory written by fit.")]
DirectoryPath = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Written by fit, compare, gradients or select."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a setting, e.g. fit.epochs=50."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Directory to write; else under runs/.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
BudgetText = Annotated[
    str | None,
    typer.Option(metavar="UNIT=N", help="steps=N, evaluations=N or seconds=S instead of epochs."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where an interrupted fit has left off, if one has."),
]
