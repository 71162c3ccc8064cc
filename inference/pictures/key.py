"""A list beside a picture that says what its numbered marks are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.pictures.colours import GREY
from pyromoe.inference.pictures.frame import SMALL, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

LINE = 0.19
"""Inches from one line to the next, where there is room."""
LONGEST = 36
"""Letters of a name."""
TURNS = 12
"""Places at a distance from a mark."""
AROUND = np.array(
    [
        (radius * math.cos(angle), radius * math.sin(angle))
        for radius in (8, 16, 24, 32, 40, 48)
        for angle in np.arange(1, TURNS + 1) * math.tau / TURNS
    ]
)
"""Where a number may stand, the nearest places first, in points."""
LETTERS = (11.0, 8.0)
"""Room of a number, in points."""
EDGE = 5.0
"""Room between a number and the edge of the picture, in points."""
LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.4, "color": GREY, "shrinkB": 0}


def write_key(
    axes: Axes, names: Sequence[str], colours: Sequence[str], notes: Sequence[str]
) -> Axes:
    """Write names, numbered from 1, and notes below them, into axes of their own.

    Args:
        axes: where to write, as high as the figure; nothing else is in them.
        names: of the marks.
        colours: of the marks.
        notes: lines.
    """
    axes.axis("off")
    step = 1 / max(len(names) + len(notes) + 1, axes.figure.get_figheight() / LINE)  # type: ignore[union-attr]
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        line = f"{i + 1} {shortened(name, LONGEST)}"
        axes.text(0, 1 - i * step, line, fontsize=SMALL, va="center", parse_math=False)
        axes.plot(-0.06, 1 - i * step, "o", color=colour, ms=4)
    for i, note in enumerate(notes, len(names) + 1):
        axes.text(-0.08, 1 - i * step, note, fontsize=SMALL, va="center", parse_math=False)
    axes.set(xlim=(-0.1, 1), ylim=(-0.02, 1.02))
    return axes


def write_numbers(axes: Axes, points: Sequence[tuple[float, float]]) -> Axes:
    """Number marks from 1, each number as near to its mark as others leave room for.

    Args:
        axes: where the marks are; its limits and scales must be set.
        points: where each mark is.
    """
    point = axes.figure.dpi / 72
    low, high = axes.get_window_extent().padded(-EDGE * point).get_points()
    taken = np.empty((0, 2))
    for number, at in enumerate(points, 1):
        mark = axes.transData.transform(at)
        places = mark + point * AROUND
        inside = ((places > low) & (places < high)).all(1)
        apart = np.abs(places[:, None] - taken) > np.array(LETTERS) * point
        free = np.flatnonzero(inside & apart.any(-1).all(-1))
        i = int(free[0]) if len(free) else 0
        taken = np.concatenate([taken, places[i : i + 1]])
        axes.annotate(
            str(number),
            at,
            tuple(AROUND[i]),
            textcoords="offset points",
            fontsize=SMALL,
            parse_math=False,
            ha="center",
            va="center",
            arrowprops=LEADER if i >= TURNS else None,
        )
    return axes
