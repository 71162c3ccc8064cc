"""The picture of a selection of the number of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.pictures.frame import (
    SIZE,
    SMALL,
    add_legend,
    label,
    name_columns,
    new_figure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HELD_OUT, OTHER = "#0072B2", "#D55E00"
CRITERIA = {
    "aic": ("AIC", "#009E73", "s"),
    "bic": ("BIC", "#CC79A7", "D"),
    "icl": ("ICL", "#E69F00", "^"),
}


def plot_held_out(axes: Axes, rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw how far each candidate is from the best mixture on held-out data.

    Bars are one standard error of the paired difference; the recommended number is filled.

    Args:
        axes: where to draw.
        rows: see `Selection`.

    >>> from pyromoe.inference.pictures import new_figure, plot_held_out
    >>> row = {"candidate": "1", "experts": 1, "recommended": True}
    >>> row |= {"behind": 0.0, "behind_standard_error": 0.0, "aic": 9.0, "bic": 10.0, "icl": 10.0}
    >>> plot_held_out(new_figure().subplots(), [row]).get_title()
    'filled: recommended; bars: one standard error'
    """
    known = [row for row in rows if "behind" in row]
    for place, row in enumerate(known):
        network = row["candidate"] == "network"
        colour = OTHER if network else HELD_OUT
        axes.errorbar(
            place,
            -row["behind"],
            row["behind_standard_error"],
            fmt="s" if network else "o",
            color=colour,
            markerfacecolor=colour if row["recommended"] else "white",
            markersize=8,
            capsize=4,
        )
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    _label(axes, known, "held-out log p(y|x) less that of\nthe best mixture, nats a datum")
    axes.set_title("filled: recommended; bars: one standard error", fontsize=SIZE)
    # One that fails altogether would hide how the others differ.
    ends = [-row["behind"] - row["behind_standard_error"] for row in known if _mixture(row)]
    tops = [-row["behind"] + row["behind_standard_error"] for row in known]
    low, high = min(ends), max(tops)
    room = max(high - low, 1e-6)
    axes.set_ylim(low - 0.6 * room, high + 0.15 * room)
    for place, row in enumerate(known):
        if -row["behind"] < low - 0.6 * room:
            text = f"{-row['behind']:.3g}"
            axes.annotate(
                f"{text}\nbelow",
                (place, low - 0.5 * room),
                ha="center",
                fontsize=SMALL,
                parse_math=False,
                bbox={"color": "white", "pad": 1},
            )
    return axes


def plot_criteria(axes: Axes, rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw information criteria, each less its lowest value among the mixtures, in nats.

    Args:
        axes: where to draw.
        rows: see `Selection`.

    >>> from pyromoe.inference.pictures import new_figure, plot_criteria
    >>> row = {"candidate": "1", "experts": 1, "recommended": True}
    >>> row |= {"behind": 0.0, "behind_standard_error": 0.0, "aic": 9.0, "bic": 10.0, "icl": 10.0}
    >>> axes = plot_criteria(new_figure().subplots(), [row])
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['AIC', 'BIC', 'ICL']
    """
    known = [row for row in rows if "aic" in row and _mixture(row)]
    handles: list[Line2D] = []
    for key, (_, colour, marker) in CRITERIA.items():
        lowest = min(row[key] for row in known)
        values = [(row[key] - lowest) / 2 for row in known]
        handles += axes.plot(range(len(known)), values, marker=marker, color=colour)
    _label(axes, known, "half of criterion less its\nlowest, nats: lowest is best")
    add_legend(axes, handles, [name for name, _, _ in CRITERIA.values()])
    return axes


def selection_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the picture of a selection: held-out differences, and criteria.

    >>> from pyromoe.inference.pictures import selection_figure
    >>> row = {"candidate": "1", "experts": 1, "recommended": True}
    >>> row |= {"behind": 0.0, "behind_standard_error": 0.0, "aic": 9.0, "bic": 10.0, "icl": 10.0}
    >>> len(selection_figure([row]).axes)
    2
    """
    figure = new_figure(height=5.6)
    upper, lower = figure.subplots(2, 1)
    if any("behind" in row and _mixture(row) for row in rows):
        plot_held_out(upper, rows)
        plot_criteria(lower, rows)
    return figure


def _label(axes: Axes, rows: Sequence[dict[str, Any]], measure: str) -> None:
    names = [row["candidate"] if _mixture(row) else "network" for row in rows]
    name_columns(axes, range(len(rows)), names)
    label(axes, "experts", measure)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)


def _mixture(row: dict[str, Any]) -> bool:
    return bool(row["candidate"] != "network")
