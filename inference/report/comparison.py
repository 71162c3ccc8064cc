"""The page of a comparison of treatments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.pictures import (
    agreement,
    coassignment,
    comparison_figure,
    new_figure,
    plot_agreement,
    plot_coassignment,
    sampled,
)
from pyromoe.inference.report.page import Page, Picture, Section, Table, colours_of
from pyromoe.inference.report.reproduce import reproduce_section
from pyromoe.inference.runs.forms import Comparison
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.comparison import (
    comparison_table,
    fit_name,
    measure_of,
    ranked,
    summarise_comparison,
)
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Literal

    from pyromoe.inference.summaries.assignments import Assignments

COSTS: dict[Literal["seconds", "evaluations"], str] = {
    "seconds": "seconds",
    "evaluations": "experts run",
}
FITS = 40
"""The best fits whose assignments are compared."""
COMMANDS = (
    "pyromoe compare {}/spec.yaml --out again",
    "pyromoe gradients {}/spec.yaml",
    "pyromoe report {}/FIT",
)


def comparison_page(folder: Path) -> Page:
    """Return the page of a comparison directory.

    Raises:
        InputError: where a file of it is missing or broken.
    """
    summary = summarise_comparison(folder)
    found = read_checked(folder, "comparison.json", Comparison)
    rows, measured_on = found["rows"], found["measured_on"]
    order = ranked(rows, measured_on)
    table = Table.of("Fits, the best first", comparison_table(rows, measured_on))
    sections = (
        Section(
            "Treatments side by side",
            _where(order, folder),
            (table,),
            tuple(_costs(order, measured_on)),
        ),
        *_agreement(order, folder),
        reproduce_section(folder, COMMANDS, {}),
    )
    return Page("comparison", summary, colours_of(summary.bars), sections)


def _where(order: Sequence[dict[str, Any]], folder: Path) -> tuple[str, ...]:
    there = [fit_name(row) for row in order if (folder / fit_name(row)).is_dir()]
    if not there:
        return ("The run directories of the fits are no longer there.",)
    return (f"A run directory for each fit is beside this file: {listed(there, 50)}.",)


def _costs(order: Sequence[dict[str, Any]], measured_on: str) -> Iterator[Picture]:
    if not order:
        return
    measure = measure_of(measured_on)
    first, last = order[0], order[-1]
    for cost, name in COSTS.items():
        text = (
            f"log p(y|x) a datum from {first[measure]:.4f} ({fit_name(first)}, "
            f"{first['seconds']:.1f} s, {first['evaluations']} experts run a row and step) to "
            f"{last[measure]:.4f} ({fit_name(last)}, {last['seconds']:.1f} s, "
            f"{last['evaluations']} experts run)"
        )
        yield Picture.of(f"log p(y|x) against {name}", comparison_figure(order, cost), text)


def _agreement(order: Sequence[dict[str, Any]], folder: Path) -> Iterator[Section]:
    """Yield whether fits put the same rows together, where their directories are still there."""
    names = [name for name in map(fit_name, order) if (folder / name).is_dir()][:FITS]
    if len(names) < 2:
        return
    each = [read_assignments(folder / name) for name in names]
    index = agreement([of.leader for of in each])
    pairs = index[np.triu_indices(len(names), 1)]
    figure = new_figure(max(3.6, 1.5 + 0.14 * len(names)))
    plot_agreement(figure.subplots(), index, names)
    text = f"{len(names)} fits: the median index of a pair is {np.median(pairs):.2f}, from "
    text += f"{pairs.min():.2f} to {pairs.max():.2f}"
    yield Section(
        "Do fits agree on which rows belong together",
        ("The adjusted Rand index is 1 where two fits agree, and 0 where they do as by chance.",),
        pictures=(Picture.of("Agreement of fits", figure, text), _together(each)),
    )


def _together(each: Sequence[Assignments]) -> Picture:
    rows = len(each[0].responsibilities)
    chosen = sampled(rows)
    together = coassignment([of.responsibilities[chosen] for of in each])
    figure = new_figure(4.2)
    plot_coassignment(figure.subplots(), together, rows)
    pairs = together[np.triu_indices(len(together), 1)]
    text = f"{len(chosen)} of {rows} {each[0].unit}; of their pairs {np.mean(pairs > 0.9):.0%} "
    text += f"share an expert with probability above 0.9, {np.mean(pairs < 0.1):.0%} below 0.1"
    return Picture.of("Which rows share an expert, over all fits", figure, text)
