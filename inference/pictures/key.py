"""A list beside a picture that says what its numbered marks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.pictures.frame import SMALL, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

LONGEST = 36
"""Letters of a name."""


def write_key(
    axes: Axes, names: Sequence[str], colours: Sequence[str], notes: Sequence[str]
) -> Axes:
    """Write names, numbered from 1, and notes below them, into axes of their own.

    Args:
        axes: where to write; nothing else is in them.
        names: of the marks.
        colours: of the marks.
        notes: lines.
    """
    axes.axis("off")
    step = 1 / max(len(names) + len(notes) + 1, 20)
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        line = f"{i + 1} {shortened(name, LONGEST)}"
        axes.text(0, 1 - i * step, line, fontsize=SMALL, va="center", parse_math=False)
        axes.plot(-0.06, 1 - i * step, "o", color=colour, ms=4)
    for i, note in enumerate(notes, len(names) + 1):
        axes.text(-0.08, 1 - i * step, note, fontsize=SMALL, va="center", parse_math=False)
    axes.set(xlim=(-0.1, 1), ylim=(-0.02, 1.02))
    return axes


def write_number(axes: Axes, number: int, x: float, y: float, offset: tuple[float, float]) -> None:
    """Write the number of a mark beside it.

    Args:
        axes: where to write.
        number: of the mark, from 1.
        x: its place.
        y: its place.
        offset: from there, in points.
    """
    axes.annotate(
        str(number),
        (x, y),
        offset,
        textcoords="offset points",
        fontsize=SMALL,
        ha="center",
        va="center",
    )
