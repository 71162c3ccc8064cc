"""The gradient lab's picture: how biased and how noisy each treatment is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pyromoe.inference.pictures.colours import OBJECTIVES
from pyromoe.inference.pictures.frame import grid, label, new_figure
from pyromoe.inference.pictures.key import write_key, write_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST, LARGEST = 0.01, 30.0
"""Relative bias and noise beyond these are drawn at them."""
TICKS = {0.01: "0.01\nor less", 0.1: "0.1", 1.0: "1", 10.0: "10", 30.0: "30\nor more"}
NOTES = (
    "size: experts run for a datum",
    "hollow: no bias that the draws can",
    "    show, drawn at the end of its 95%",
    "    interval",
)


def plot_gradients(axes: Axes, rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw bias against noise, both relative to the exact gradient, one mark a treatment.

    The size tells the number of experts run, the colour the objective; a hollow mark stands where
    the bias cannot be told from 0, at the upper end of its interval.

    Args:
        axes: where to draw.
        rows: of the lab, for one place and one part of the parameters.

    >>> from pyromoe.inference.pictures import new_figure, plot_gradients
    >>> row = {"treatment": "reinforce", "objective": "elbo", "evaluations": 1, "relative_std": 2.0}
    >>> row |= {"estimator_bias": 0.05, "estimator_bias_low": 0.0, "estimator_bias_high": 0.1}
    >>> plot_gradients(new_figure().subplots(), [row]).get_ylabel()
    "relative bias for the treatment's own objective"
    """
    order = [r for r in rows if r["estimator_bias"] is not None]
    marks = []
    for row in order:
        hidden = row["estimator_bias_low"] == 0
        y = row["estimator_bias_high"] if hidden else row["estimator_bias"]
        x, y = (min(max(v, SMALLEST), LARGEST) for v in (row["relative_std"], y))
        colour = OBJECTIVES[row["objective"]]
        size = 30 + 40 * math.log2(1 + row["evaluations"])
        fill = "none" if hidden else colour
        axes.scatter(x, y, size, facecolors=fill, edgecolors=colour, alpha=0.8, linewidths=1.5)
        marks.append((x, y))
    label(
        axes,
        "relative standard deviation of one call",
        "relative bias for the treatment's own objective",
    )
    axes.set(xscale="log", yscale="log")
    axes.set(xlim=(SMALLEST / 1.6, LARGEST * 1.6), ylim=(SMALLEST / 1.6, LARGEST * 1.6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(list(TICKS), list(TICKS.values()), parse_math=False)
    grid(axes)
    return write_numbers(axes, marks)


def gradients_figure(rows: Sequence[dict[str, Any]], part: str) -> Figure:
    """Return the picture of a part of the parameters, where a fit starts and where it ends.

    >>> from pyromoe.inference.pictures import gradients_figure
    >>> row = {"treatment": "reinforce", "objective": "elbo", "evaluations": 1, "relative_std": 2.0}
    >>> row |= {"estimator_bias": 0.05, "estimator_bias_low": 0.0, "estimator_bias_high": 0.1}
    >>> rows = [row | {"at": at, "parameters": "gate"} for at in ("initial", "fitted")]
    >>> len(gradients_figure(rows, "gate").axes)  # two places, and the key
    3
    """
    figure = new_figure(height=8.4)
    grid_of = figure.add_gridspec(2, 2, width_ratios=[4, 2.3])
    upper, lower = (figure.add_subplot(grid_of[i, 0]) for i in range(2))
    key = figure.add_subplot(grid_of[:, 1])
    names: list[dict[str, Any]] = []
    for axes, at in ((upper, "initial"), (lower, "fitted")):
        chosen = [r for r in rows if r["at"] == at and r["parameters"] == part]
        names = [r for r in chosen if r["estimator_bias"] is not None] or names
        plot_gradients(axes, chosen)
        axes.set_title(f"{part}, {at} parameters", fontsize=9, parse_math=False)
    used = [o for o in OBJECTIVES if any(r["objective"] == o for r in names)]
    write_key(
        key,
        [r["treatment"] for r in names],
        [OBJECTIVES[r["objective"]] for r in names],
        ["colour: objective", f"    {', '.join(used)}", *NOTES],
    )
    return figure
