"""What every picture has: its width, its letters, its legend, its file.

Text from data is never read as mathematics, and a name may begin with an underscore.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend
    from numpy.typing import ArrayLike

WIDTH = 6.25
"""Of a figure, in inches: 600 pixels, at which a letter of SIZE points has 11 and of SMALL 10."""
SIZE, SMALL = 8.0, 7.5
LONGEST, SHORT = 36, 26
"""Letters of a name in a label, and at a tick."""
ACROSS, UPRIGHT, LEGIBLE = 64, 18, 10
"""Letters that have room beside each other, and upright; fewer would say too little of a name."""
MANY = 2000
"""Marks from which on a scatter is a bitmap within an SVG."""
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
DOCTYPE = re.compile(rb"<!DOCTYPE[^>]*>\s*")


def new_figure(height: float = 3.6) -> Figure:
    """Return an empty figure, 600 pixels wide at 96 a inch, that no window and no state belongs to.

    Args:
        height: in inches.

    >>> from pyromoe.inference.pictures import new_figure
    >>> new_figure(height=3).get_size_inches().tolist()
    [6.25, 3.0]
    """
    return Figure(figsize=(WIDTH, height), dpi=96, layout="constrained")


def label(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes, in letters of the size of every picture."""
    axes.set_xlabel(x, fontsize=SIZE, parse_math=False)
    axes.set_ylabel(y, fontsize=SIZE, parse_math=False)
    axes.set_title(title, fontsize=SIZE, parse_math=False)
    axes.tick_params(labelsize=SIZE)


def grid(axes: Axes) -> None:
    """Draw thin lines behind what is shown."""
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def name_ticks(axis: Axis, places: ArrayLike, names: Sequence[str], longest: int = SHORT) -> None:
    """Put names from data at places of an axis."""
    texts = [shortened(name, longest) for name in names]
    axis.set_ticks(np.asarray(places).tolist(), texts, parse_math=False, fontsize=SIZE)


def name_columns(axes: Axes, places: ArrayLike, names: Sequence[str]) -> None:
    """Put names from data below the horizontal axis, upright where they need the room."""
    room = ACROSS // len(names)
    upright = room < LEGIBLE and room < max(len(name) for name in names)
    name_ticks(axes.xaxis, places, names, UPRIGHT if upright else room)
    axes.tick_params("x", rotation=90 if upright else 0)


def add_legend(
    axes: Axes, handles: Sequence[Artist], names: Sequence[str], columns: int = 4
) -> Legend:
    """Draw a legend above the axes.

    >>> from pyromoe.inference.pictures import add_legend, new_figure
    >>> axes = new_figure().subplots()
    >>> legend = add_legend(axes, axes.plot([0, 1]), ["a line"])
    >>> legend.get_texts()[0].get_text()
    'a line'
    """
    # A label that begins with an underscore is left out, a text that is set afterwards is not.
    legend = axes.legend(
        handles,
        ["-"] * len(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.3,
        borderpad=0,
        ncols=columns,
        fontsize=SIZE,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.2,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=shortened(name, LONGEST), parse_math=False)
    return legend


def shortened(name: str, longest: int = LONGEST) -> str:
    """Return a name in one line, its middle left out where it is long.

    >>> shortened("a_very_long_name_of_a_column", 16)
    'a_very_...column'
    """
    line = one_line(" ".join(name.split()), len(name) * 10)
    if len(line) <= longest:
        return line
    end = (longest - 3) // 2
    return f"{line[: longest - 3 - end]}...{line[-end:]}"


def plain(value: float) -> str:
    """Return a number in few digits; as powers of ten only where it is very small or large.

    >>> plain(0.05), plain(2500.0)
    ('0.05', '2500')
    """
    return f"{value:.4g}"


@contextmanager
def _settings() -> Iterator[None]:
    with mpl.rc_context({"svg.hashsalt": "pyromoe", "svg.fonttype": "none"}):
        with warnings.catch_warnings():
            # Of letters that matplotlib's font lacks; what shows an SVG has a font with them.
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            yield


def to_svg(figure: Figure, title: str = "") -> bytes:
    """Return a figure as SVG, the same bytes for the same figure.

    There is no script in it, nothing that is loaded from elsewhere and no date; text stays text.

    Args:
        figure: the figure.
        title: what it shows, for those who cannot see it.

    >>> from pyromoe.inference.pictures import new_figure, to_svg
    >>> b"<title>An empty picture</title>" in to_svg(new_figure(), "An empty picture")
    True
    """
    buffer = BytesIO()
    metadata = NO_METADATA | ({"Title": title} if title else {})
    with _settings():
        figure.savefig(buffer, format="svg", dpi=144, metadata=metadata)
    return DOCTYPE.sub(b"", buffer.getvalue())


def to_png(figure: Figure, width: int = 600) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure.

    Args:
        figure: the figure.
        width: in pixels.

    >>> from pyromoe.inference.pictures import new_figure, to_png
    >>> to_png(new_figure())[1:4]
    b'PNG'
    """
    buffer = BytesIO()
    with _settings():
        figure.savefig(
            buffer, format="png", dpi=width / figure.get_figwidth(), metadata={"Software": None}
        )
    return buffer.getvalue()
