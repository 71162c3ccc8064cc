"""Pictures; each takes the axes to draw on and returns them. Colours after Okabe and Ito (2008)."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

COLOURS = {"marginal": "#0072B2", "jensen": "#E69F00", "elbo": "#009E73", "iwae": "#CC79A7"}
SMALLEST, LARGEST = 0.01, 30.0
"""Relative bias and noise beyond these are drawn at them."""
TICKS = {0.01: "0.01\nor less", 0.1: "0.1", 1.0: "1", 10.0: "10", 30.0: "30\nor more"}


def plot_gradients(axes: Axes, rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw bias against noise, both relative to the exact gradient, one mark a treatment.

    The size tells the number of experts run, the colour the objective; a hollow mark stands where
    the bias cannot be told from 0, at the upper end of its interval.

    Args:
        axes: where to draw.
        rows: of the lab, for one place and one part of the parameters.
    """
    order = [r for r in rows if r["estimator_bias"] is not None]
    for number, row in enumerate(order, 1):
        hidden = row["estimator_bias_low"] == 0
        y = row["estimator_bias_high"] if hidden else row["estimator_bias"]
        x, y = (min(max(v, SMALLEST), LARGEST) for v in (row["relative_std"], y))
        colour = COLOURS[row["objective"]]
        size = 30 + 40 * math.log2(1 + row["evaluations"])
        fill = "none" if hidden else colour
        axes.scatter(x, y, size, facecolors=fill, edgecolors=colour, alpha=0.8, linewidths=1.5)
        offset = (7 * math.cos(2.4 * number), 7 * math.sin(2.4 * number))
        axes.annotate(str(number), (x, y), offset, textcoords="offset points", fontsize=7,
                      ha="center", va="center")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="relative standard deviation of one call")
    axes.set(xlim=(SMALLEST / 1.6, LARGEST * 1.6), ylim=(SMALLEST / 1.6, LARGEST * 1.6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(list(TICKS), list(TICKS.values()), fontsize=8)
    axes.set_ylabel("relative bias for the treatment's own objective")
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    return axes


def gradients_figure(rows: Sequence[dict[str, Any]], part: str) -> Figure:
    """Return the picture of a part of the parameters, where a fit starts and where it ends."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    left, right, key = figure.subplots(1, 3, width_ratios=[4, 4, 2.6])
    names: list[dict[str, Any]] = []
    for axes, at in ((left, "initial"), (right, "fitted")):
        chosen = [r for r in rows if r["at"] == at and r["parameters"] == part]
        names = [r for r in chosen if r["estimator_bias"] is not None] or names
        plot_gradients(axes, chosen)
        axes.set_title(f"{part}, {at} parameters", fontsize=10)
    key.axis("off")
    lines = [f"{i} {row['treatment']}" for i, row in enumerate(names, 1)]
    step = 1 / (len(lines) + 8)
    for i, (line, row) in enumerate(zip(lines, names, strict=True)):
        key.text(0, 1 - i * step, line, fontsize=7, color="black", va="top")
        key.plot(-0.04, 1 - i * step - step / 3, "o", color=COLOURS[row["objective"]], ms=4)
    said = "\n".join(
        [
            "colour: objective "
            + ", ".join(o for o in COLOURS if any(r["objective"] == o for r in names)),
            "size: experts run for a datum",
            "hollow: no bias that the draws can show,",
            "    drawn at the end of its 95% interval",
        ]
    )
    key.text(-0.06, 1 - (len(lines) + 1) * step, said, fontsize=7, va="top")
    key.set(xlim=(-0.1, 1), ylim=(0, 1.02))
    return figure


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    buffer = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "pyromoe", "text.parse_math": False}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
