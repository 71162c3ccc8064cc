"""Treatments side by side: what each reached, and what it cost."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from pyromoe.inference.pictures.colours import OBJECTIVES
from pyromoe.inference.pictures.frame import grid, label, new_figure, plain
from pyromoe.inference.pictures.key import write_key, write_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cost = Literal["seconds", "evaluations"]
NAMES = {"seconds": "seconds", "evaluations": "experts run for a datum, all steps together"}
DECADE = 10.0
"""Within less, powers of ten are too few to read costs from."""
FAR = 3.0
"""Interquartile ranges below the median: where less is drawn at the lower edge."""


def plot_comparison(axes: Axes, rows: Sequence[dict[str, Any]], cost: Cost = "seconds") -> Axes:
    """Draw log p(y | x) of each treatment against its cost: its seeds, their mean and their range.

    Treatments have numbers, in the order of `treatments_of`. One far below the others is drawn at
    the lower edge, as a triangle, for all to be told apart.

    Args:
        axes: where to draw.
        rows: of `comparison.json`; those that broke down are left out.
        cost: what is on the horizontal axis.

    >>> from pyromoe.inference.pictures import new_figure, plot_comparison
    >>> made = {"objective": "marginal", "evaluations": 2, "steps": 10, "seconds": 1.0}
    >>> rows = [
    ...     made | {"treatment": "enumerate", "seed": seed, "test_log_likelihood": -seed / 10}
    ...     for seed in range(3)
    ... ]
    >>> plot_comparison(new_figure().subplots(), rows, "evaluations").get_ylabel()
    'log p(y | x) of test rows, nats a datum'
    """
    measure, named = measured_on(rows)
    groups = treatments_of(rows)
    every = [row[measure] for own in groups for row in own]
    floor = _floor(every)
    marks = []
    for own in groups:
        x, y = ([f(row) for row in own] for f in (lambda r: cost_of(r, cost), lambda r: r[measure]))
        colour, middle = OBJECTIVES[own[0]["objective"]], float(np.exp(np.mean(np.log(x))))
        mean = float(np.mean(y))
        if mean < floor:
            axes.plot(middle, floor, "v", color=colour, markersize=7)
            mean = floor
        else:
            axes.vlines(middle, max(min(y), floor), max(y), color=colour, linewidth=1)
            axes.plot(x, y, "o", color=colour, markersize=2.5, alpha=0.5, linestyle="none")
            axes.plot(middle, mean, "o", color=colour, markersize=6)
        marks.append((middle, mean))
    label(axes, NAMES[cost], f"log p(y | x) of {named} rows, nats a datum")
    axes.set_xscale("log")
    low, high = min(v for v in every if v >= floor), max(every)
    room = 0.08 * (high - low) or 0.1
    axes.set_ylim(floor - room, high + room)
    costs = [cost_of(row, cost) for own in groups for row in own]
    axes.set_xlim(min(costs) / 1.2, max(costs) * 1.2)
    if max(costs) < DECADE * min(costs):
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: plain(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    grid(axes)
    return write_numbers(axes, marks)


def comparison_figure(rows: Sequence[dict[str, Any]], cost: Cost = "seconds") -> Figure:
    """Return the picture of a comparison, and what the numbers in it mean.

    Args:
        rows: of `comparison.json`.
        cost: what is on the horizontal axis.

    >>> from pyromoe.inference.pictures import comparison_figure
    >>> made = {"objective": "marginal", "evaluations": 2, "steps": 10, "seconds": 1.0}
    >>> rows = [
    ...     made | {"treatment": "enumerate", "seed": seed, "test_log_likelihood": -seed / 10}
    ...     for seed in range(3)
    ... ]
    >>> len(comparison_figure(rows).axes)  # the picture, and its key
    2
    """
    groups = treatments_of(rows)
    figure = new_figure(height=max(4.0, 1.0 + 0.17 * len(groups)))
    left, key = figure.subplots(1, 2, width_ratios=[4, 2.3])
    plot_comparison(left, rows, cost)
    firsts = [own[0] for own in groups]
    used = [o for o in OBJECTIVES if any(r["objective"] == o for r in firsts)]
    write_key(
        key,
        [r["treatment"] for r in firsts],
        [OBJECTIVES[r["objective"]] for r in firsts],
        [
            "colour: objective",
            f"    {', '.join(used)}",
            "small: each seed; line: their range",
            *_below(groups, measured_on(rows)[0]),
        ],
    )
    return figure


def _below(groups: Sequence[Sequence[dict[str, Any]]], measure: str) -> list[str]:
    """Return where the treatments are that are drawn as triangles, at the lower edge."""
    means = [float(np.mean([row[measure] for row in own])) for own in groups]
    floor = _floor([row[measure] for own in groups for row in own])
    lost = [f"    {i}: {mean:.4g}" for i, mean in enumerate(means, 1) if mean < floor]
    return ["triangle: below the edge, at", *lost] if lost else []


def treatments_of(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each treatment that came to an end, the best treatment first."""
    measure, _ = measured_on(rows)
    known = [row for row in rows if "failure" not in row]

    def name(row: dict[str, Any]) -> tuple[str, str]:
        return row["treatment"], row["objective"]

    groups = [list(own) for _, own in groupby(sorted(known, key=name), name)]
    return sorted(groups, key=lambda own: -float(np.mean([row[measure] for row in own])))


def measured_on(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return which column says how good a fit is, and of which rows it is."""
    test = any(row.get("test_log_likelihood") is not None for row in rows)
    return ("test_log_likelihood", "test") if test else ("train_log_likelihood", "training")


def cost_of(row: dict[str, Any], cost: Cost) -> float:
    """Return what a fit cost: seconds, or experts run for a datum in all of its steps."""
    return float(row["seconds"] if cost == "seconds" else row["evaluations"] * row["steps"])


def _floor(values: Sequence[float]) -> float:
    """Return the lowest value that is not far below the others."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    bound = middle - FAR * max(high - low, 1e-9)
    return float(min(v for v in values if v >= bound))
