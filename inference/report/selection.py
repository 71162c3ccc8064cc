"""The page of a selection of the number of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.pictures import selection_figure
from pyromoe.inference.report.page import Page, Picture, Section, Table, colours_of
from pyromoe.inference.report.reproduce import reproduce_section
from pyromoe.inference.runs.forms import Selected
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.summaries.selection import selection_table, summarise_selection
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COMMANDS = ("pyromoe select {}/spec.yaml --out again", "pyromoe report {}/NUMBER")


def selection_page(folder: Path) -> Page:
    """Return the page of a selection directory.

    Raises:
        InputError: where a file of it is missing or broken.
    """
    summary = summarise_selection(folder)
    rows = read_checked(folder, "selection.json", Selected)["rows"]
    there = [row["candidate"] for row in rows if (folder / row["candidate"]).is_dir()]
    where = f"A run directory for each is beside this file: {listed(there, 50)}." if there else (
        "The run directories are no longer there."
    )  # fmt: skip
    table = Table.of("Numbers of experts", selection_table(rows))
    sections = (
        Section("Numbers of experts side by side", (where,), (table,), tuple(_pictures(rows))),
        reproduce_section(folder, COMMANDS, {}),
    )
    return Page("selection", summary, colours_of(summary.bars), sections)


def _pictures(rows: Sequence[dict[str, Any]]) -> Iterator[Picture]:
    known = [row for row in rows if row.get("behind") is not None]
    if not known:
        return
    each = ", ".join(
        f"{row['candidate']} {-row['behind']:.4f} +- {row['behind_standard_error']:.4f}"
        for row in known
    )
    text = f"Held-out log p(y|x) less that of the best mixture, nats a datum: {each}"
    yield Picture.of("Held-out log p(y|x), and criteria", selection_figure(rows), text)
