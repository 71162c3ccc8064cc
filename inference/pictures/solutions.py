"""The solutions that restarts came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from pyromoe.inference.pictures.colours import OKABE_ITO
from pyromoe.inference.pictures.frame import add_legend, grid, label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

REGULAR, DEGENERATE = OKABE_ITO[0], OKABE_ITO[5]


def plot_modes(axes: Axes, modes: Sequence[dict[str, Any]]) -> Axes:
    """Draw how many starts came to each solution, at its log-likelihood.

    Args:
        axes: where to draw.
        modes: of `metrics.json`: `log_likelihood`, `hits`, and `spikes` of degenerate ones.

    >>> from pyromoe.inference.pictures import new_figure, plot_modes
    >>> regular = {"log_likelihood": -10.0, "hits": 3}
    >>> spike = {"log_likelihood": -5.0, "hits": 1, "spikes": [0]}
    >>> axes = plot_modes(new_figure().subplots(), [regular, spike])
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['regular', 'degenerate']
    """
    handles, names = [], []
    for degenerate, colour, marker in ((False, REGULAR, "o"), (True, DEGENERATE, "X")):
        own = [mode for mode in modes if ("spikes" in mode) == degenerate]
        x, hits = ([mode[key] for mode in own] for key in ("log_likelihood", "hits"))
        axes.vlines(x, 0, hits, color=colour, linewidth=1.5)
        (marks,) = axes.plot(x, hits, marker, color=colour, markersize=6)
        if own:
            handles.append(marks)
            names.append("degenerate" if degenerate else "regular")
    label(axes, "log p(y | x) of the training rows, nats", "starts that came to it")
    if "degenerate" in names:
        add_legend(axes, handles, names)
    axes.set_ylim(0, max(mode["hits"] for mode in modes) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(useOffset=False, style="plain")
    grid(axes)
    return axes
