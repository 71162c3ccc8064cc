"""The picture of a selection of the number of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

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
    _label(axes, known)
    axes.set_ylabel("held-out log p(y|x) less that of the best mixture,\nnats a datum")
    axes.set_title("filled: recommended; bars: one standard error", fontsize=10)
    # One that fails altogether would hide how the others differ.
    ends = [-row["behind"] - row["behind_standard_error"] for row in known if _mixture(row)]
    tops = [-row["behind"] + row["behind_standard_error"] for row in known]
    low, high = min(ends), max(tops)
    room = max(high - low, 1e-6)
    axes.set_ylim(low - 0.6 * room, high + 0.15 * room)
    for place, row in enumerate(known):
        if -row["behind"] < low - 0.6 * room:
            text = f"{-row['behind']:.3g}"
            axes.annotate(f"{text}\nbelow", (place, low - 0.5 * room), ha="center", fontsize=8)
    return axes


def plot_criteria(axes: Axes, rows: Sequence[dict[str, Any]]) -> Axes:
    """Draw information criteria, each less its lowest value among the mixtures, in nats.

    Args:
        axes: where to draw.
        rows: see `Selection`.
    """
    known = [row for row in rows if "aic" in row and _mixture(row)]
    for key, (name, colour, marker) in CRITERIA.items():
        lowest = min(row[key] for row in known)
        values = [(row[key] - lowest) / 2 for row in known]
        axes.plot(range(len(known)), values, marker=marker, color=colour, label=name)
    _label(axes, known)
    axes.set_ylabel("half of criterion less its lowest, nats")
    axes.set_title("lowest is best", fontsize=10)
    axes.legend(frameon=False)
    return axes


def selection_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the picture of a selection: held-out differences, and criteria."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    if any("behind" in row and _mixture(row) for row in rows):
        plot_held_out(left, rows)
        plot_criteria(right, rows)
    return figure


def _label(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    names = [row["candidate"] if _mixture(row) else "plain\nnetwork" for row in rows]
    axes.set_xticks(range(len(rows)), names)
    axes.set_xlabel("experts")
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)


def _mixture(row: dict[str, Any]) -> bool:
    return bool(row["candidate"] != "network")
