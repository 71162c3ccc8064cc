"""Which kind of directory it is, and its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pyromoe.inference.files.verified import incomplete
from pyromoe.inference.summaries.comparison import summarise_comparison
from pyromoe.inference.summaries.lab import summarise_lab
from pyromoe.inference.summaries.run import summarise_run
from pyromoe.inference.summaries.selection import summarise_selection
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyromoe.inference.summary import Summary

Kind = Literal["comparison", "lab", "selection", "run"]
FILES: dict[str, Kind] = {
    "comparison.json": "comparison",
    "gradients.json": "lab",
    "selection.json": "selection",
    "metrics.json": "run",
}
SUMMARIES: dict[Kind, Callable[[Path], Summary]] = {
    "comparison": summarise_comparison,
    "lab": summarise_lab,
    "selection": summarise_selection,
    "run": summarise_run,
}


def kind_of(folder: Path) -> Kind:
    """Return what a directory is of.

    Raises:
        InputError: where it is of none of them.
    """
    for name, kind in FILES.items():
        if (folder / name).is_file():
            return kind
    remedy = "give one that pyromoe fit, compare, gradients or select has written"
    raise incomplete(folder) or InputError(
        "is not a directory of results", file=str(folder), remedy=remedy
    )


def summarise(folder: Path) -> Summary:
    """Return the summary of a directory.

    Raises:
        InputError: where it is none of ours, or a file in it is missing or broken.
    """
    return SUMMARIES[kind_of(folder)](folder)
