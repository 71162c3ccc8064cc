"""The section on which rows have which expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.pictures import new_figure, plot_assignments, plot_entropy, plot_partition
from pyromoe.inference.report.page import Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyromoe.inference.report.run_files import RunFiles

UNCERTAIN = 10
"""Rows in the table of the least certain ones."""
TALL = 16
"""Experts that have a row of the picture each; more are drawn thinner."""


def assignments_section(run: RunFiles) -> Section:
    """Return pictures of the responsibilities, and the least certain rows."""
    of = run.of
    if of.number == 1:
        return Section("Assignments", (f"One expert has all {of.unit}.",))
    return Section("Assignments", pictures=tuple(_pictures(run)), details=(_uncertain(run),))


def _pictures(run: RunFiles) -> Iterator[Picture]:
    of, colours = run.of, run.colours
    r, k = of.responsibilities, int(of.shares.argmax())
    figure = new_figure(1.2 + 0.2 * min(of.number, TALL))
    plot_assignments(figure.subplots(), r, colours)
    sure = float((r.max(1) > 0.9).mean())
    text = f"{sure:.0%} of {len(r)} {of.unit} have an expert with p(z | y, x) above 0.9; "
    text += f"the largest is expert {k} with {of.shares[k]:.0%}"
    yield Picture.of(f"Who has which of the training {of.unit}", figure, text)
    figure = new_figure(2.8)
    plot_entropy(figure.subplots(), r)
    low, middle, high = np.quantile(of.entropy, [0.05, 0.5, 0.95])
    text = f"Entropy, nats: median {middle:.3f}, 90% between {low:.3f} and {high:.3f}, at most "
    yield Picture.of("How certain assignments are", figure, f"{text}{np.log(of.number):.3f}")
    x, name = _projected(run)
    if x is not None:
        figure = new_figure()
        plot_partition(figure.subplots(), x, of.of_rows, colours)
        text = f"{len(x)} training rows on two principal components of the {name}, coloured by "
        yield Picture.of(f"Experts and {name}", figure, f"{text}their leading expert")


def _projected(run: RunFiles) -> tuple[NDArray[np.float64] | None, str]:
    """Return two or more columns that differ between rows: predictors, else with responses."""
    of = run.of
    for values, name in ((of.x, "predictors"), (np.column_stack([of.x, of.y]), "rows")):
        there = values[np.isfinite(values).all(1)]
        if len(there) > 1 and (there.std(0) > 0).sum() >= 2:
            return values, name
    return None, ""


def _uncertain(run: RunFiles) -> Table:
    of = run.of
    r = of.responsibilities
    rows = []
    for i in np.argsort(r.max(1), kind="stable")[:UNCERTAIN]:
        first = np.argsort(-r[i], kind="stable")[:3]
        who = ", ".join(f"expert {k} {r[i, k]:.2f}" for k in first)
        rows.append((int(of.first[i]), round(float(of.entropy[i]), 4), who))
    return Table(
        f"The least certain {of.unit}",
        ("row", "entropy", "p(z | y, x)"),
        tuple(rows),
        "row: in the table, from 0; entropy in nats",
    )
