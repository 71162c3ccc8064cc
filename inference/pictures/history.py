"""How a fit went: what each restart reached at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.pictures.colours import GREY, OKABE_ITO
from pyromoe.inference.pictures.frame import add_legend, grid, label, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MEASURES = {
    "loss": "loss,\nnats a datum",
    "log_likelihood": "log p(y|x),\nnats a datum",
    "validation_log_likelihood": "log p(y|x) of rows\nkept back, nats a datum",
    "effective_experts": "effective\nexperts",
}
OTHERS = {"restart", "epoch", "step", "seconds", "learning_rate", *MEASURES}
"""What a row of a history has beside the options of its treatment."""
EARLY = 0.1
"""Part of the steps that may be off the picture."""
MORE = 2.0
"""How much of it is shown nevertheless, in ranges of the later steps."""
LEAST = 0.1
"""How much of the whole range is shown beside the later steps at least."""
ROOM = 0.05


def plot_history(axes: Axes, rows: Sequence[dict[str, Any]], measure: str) -> Axes:
    """Draw one measure of every restart against steps; that of the best one stands out.

    The best one ends with the highest log p(y | x). What is far below at the very beginning is
    left out.

    Args:
        axes: where to draw.
        rows: of `history.csv`: a row for each epoch of each restart.
        measure: a column of it.

    >>> from pyromoe.inference.pictures import new_figure, plot_history
    >>> rows = [{"restart": 0, "step": s, "log_likelihood": -1 / s, "loss": 1 / s} for s in (1, 2)]
    >>> axes = plot_history(new_figure().subplots(), rows, "loss")
    >>> axes.get_xlabel()
    'step'
    """
    best, every, late = _best(rows), list[float](), list[float]()
    for restart in sorted({row["restart"] for row in rows}, key=lambda r: (r == best, r)):
        own = [r for r in rows if r["restart"] == restart and r.get(measure) is not None]
        steps, values = ([row[key] for row in own] for key in ("step", measure))
        first = restart == best
        axes.plot(
            steps,
            values,
            color=OKABE_ITO[0] if first else GREY,
            linewidth=1.6 if first else 0.8,
            alpha=1 if first else 0.45,
        )
        every += values
        start = EARLY * max(steps, default=0)
        late += [v for step, v in zip(steps, values, strict=True) if step >= start]
    if measure in MEASURES and late:
        axes.set_ylim(*_limits(np.array(every), np.array(late)))
    label(axes, "step", MEASURES.get(measure, measure.replace("_", " ")))
    grid(axes)
    return axes


def history_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the loss, log p(y | x) and the options that changed of every restart, one each panel.

    Args:
        rows: of `history.csv`.

    >>> from pyromoe.inference.pictures import history_figure
    >>> rows = [{"restart": 0, "step": s, "log_likelihood": -1 / s, "loss": 1 / s} for s in (1, 2)]
    >>> len(history_figure(rows).axes)  # loss and log p(y | x)
    2
    """
    measures = [m for m in MEASURES if any(row.get(m) is not None for row in rows)]
    options = {name for row in rows for name in row} - OTHERS
    measures += sorted(o for o in options if len({row.get(o) for row in rows} - {None}) > 1)
    heights = [1.0 if measure in MEASURES else 0.6 for measure in measures]
    figure = new_figure(0.5 + 1.5 * sum(heights))
    panels = figure.subplots(len(measures), 1, sharex=True, height_ratios=heights, squeeze=False)
    for axes, measure in zip(panels[:, 0], measures, strict=True):
        plot_history(axes, rows, measure)
    for axes in panels[:-1, 0]:
        axes.set_xlabel("")
    lines = panels[0, 0].lines
    number = len(lines)
    names = ["best start", f"{number - 1} others" if number > 2 else "the other"]
    if number > 1:
        add_legend(panels[0, 0], [lines[-1], lines[0]], names)
    return figure


def _best(rows: Sequence[dict[str, Any]]) -> Any:
    """Return the restart that ends with the highest log p(y | x)."""
    key = "validation_log_likelihood"
    measure = key if any(row.get(key) is not None for row in rows) else "log_likelihood"
    ends = {r["restart"]: r[measure] for r in rows if r.get(measure) is not None}
    return max(ends, key=lambda r: ends[r], default=None)


def _limits(every: NDArray[np.float64], late: NDArray[np.float64]) -> tuple[float, float]:
    """Return what range is shown, so that a steep beginning does not hide the end."""
    more = max(MORE * np.ptp(late), LEAST * np.ptp(every))
    low, high = max(every.min(), late.min() - more), min(every.max(), late.max() + more)
    room = ROOM * (high - low) or 1.0
    return float(low - room), float(high + room)
