"""The page of a gradient lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.pictures import gradients_figure
from pyromoe.inference.report.page import Page, Picture, Section, Table
from pyromoe.inference.report.reproduce import reproduce_section
from pyromoe.inference.runs.forms import Lab
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.summaries.lab import deciding, lab_table, part_of, summarise_lab

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMANDS = ("pyromoe gradients {}/spec.yaml --out again",)


def lab_page(folder: Path) -> Page:
    """Return the page of a directory of gradients.

    Raises:
        InputError: where a file of it is missing or broken.
    """
    found = read_checked(folder, "gradients.json", Lab)
    rows, skipped = found["rows"], found["skipped"]
    tables = [Table.of("Treatments, what is to be preferred first", lab_table(rows))]
    if skipped:
        left = Table("Left out", ("treatment of z", "why"), tuple(skipped.items()))
        tables.append(left)
    parts = [p for p in ("gate", "experts") if any(r["parameters"] == p for r in rows)]
    sections = (
        Section(
            "Bias and noise",
            ("Two biases: that of the objective, which no number of draws mends, and that of "
             "the estimator for its own objective.",),
            tuple(tables),
            tuple(_picture(rows, part) for part in parts),
        ),
        reproduce_section(folder, COMMANDS, {}),
    )  # fmt: skip
    return Page("gradient lab", summarise_lab(folder), (), sections)


def _picture(rows: Sequence[dict[str, Any]], part: str) -> Picture:
    own = [r for r in rows if r["at"] == "fitted" and r["parameters"] == part]
    known = [r for r in own if r["estimator_bias"] is not None]
    clear = sum((r["estimator_bias_low"] or 0) > 0 for r in known)
    text = f"Of {len(known)} treatments, {clear} are biased by more than their draws leave open, "
    text += "for their own objective, at the fitted parameters"
    if part == part_of(rows) and deciding(rows):
        text += f"; to be preferred: {deciding(rows)[0]['treatment']}"
    return Picture.of(f"Gradient of the {part}", gradients_figure(rows, part), text)
