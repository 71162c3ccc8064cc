"""The report of a directory, written whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.files.writing import new_file
from pyromoe.inference.report.comparison import comparison_page
from pyromoe.inference.report.lab import lab_page
from pyromoe.inference.report.rendering import render
from pyromoe.inference.report.run import run_page
from pyromoe.inference.report.selection import selection_page
from pyromoe.inference.summaries.of_directory import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyromoe.inference.report.page import Page
    from pyromoe.inference.summaries.of_directory import Kind

PAGES: dict[Kind, Callable[[Path], Page]] = {
    "comparison": comparison_page,
    "lab": lab_page,
    "selection": selection_page,
    "run": run_page,
}


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a directory, and return where.

    Args:
        folder: written by fit, compare, gradients or select.
        out: the file; `report.html` in the folder where it is None. One that is there is replaced.

    Raises:
        InputError: where the directory is none of ours, or a file in it is missing or broken.
    """
    page, target = PAGES[kind_of(folder)], out or folder / "report.html"
    with new_file(target, overwrite=True) as path:
        path.write_text(render(page(folder)), encoding="utf-8")
    return target
