"""Whether what a fit says is probable happens as often: its classes, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.pictures.colours import GREY, OKABE_ITO
from pyromoe.inference.pictures.frame import grid, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

BINS = 10
PROBABILITY = 0.95
"""Of the intervals and the band."""


def plot_reliability(axes: Axes, probabilities: FloatArray, codes: NDArray[np.int64]) -> Axes:
    """Draw how often a class came against how probable it was said to be, in ten bins.

    Of two classes it is the second one, of more the one that is most probable. Bars are exact
    binomial intervals of 95%; a larger mark stands for more rows.

    Args:
        axes: where to draw.
        probabilities: p(y = c | x), (N, C).
        codes: the class of each row, (N,), -1 where it is missing.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_reliability
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])  # (N, C)
    >>> axes = plot_reliability(new_figure().subplots(), p, np.array([0, 1, 1]))
    >>> axes.get_xlabel()
    'predicted probability of the second class'
    """
    known = codes >= 0
    p, codes = probabilities[known], codes[known]
    two = p.shape[1] == 2
    said = p[:, 1] if two else p.max(1)
    came = codes == (1 if two else p.argmax(1))
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for i in np.unique(place):
        own = place == i
        n, hits = int(own.sum()), int(came[own].sum())
        interval = stats.binomtest(hits, n).proportion_ci(PROBABILITY)
        x, y = said[own].mean(), hits / n
        off = [[max(y - interval.low, 0)], [max(interval.high - y, 0)]]
        size = 3 + 9 * np.sqrt(n / len(said))
        marks = axes.errorbar(
            x, y, off, fmt="o", color=OKABE_ITO[0], markersize=size, elinewidth=1.2
        )
        marks[0].set_clip_on(False)
    of = "the second class" if two else "the most probable class"
    label(axes, f"predicted probability of {of}", "how often it came")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    grid(axes)
    return axes


def plot_pit(axes: Axes, u: FloatArray) -> Axes:
    """Draw the histogram of P(Y <= y | x), flat where predictions are calibrated.

    Of the steps of a calibrated fit, 95% are within the band. High ends mean predictions that are
    too narrow, a high middle those that are too wide, a slope a bias.

    Args:
        axes: where to draw.
        u: of each row, (N,); see `transforms_of`.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_pit
    >>> u = np.linspace(0.01, 0.99, 100)  # (N,)
    >>> plot_pit(new_figure().subplots(), u).get_title()
    'grey: 95% of the steps, if calibrated'
    """
    n = len(u)
    bins = int(np.clip(n // 20, 5, 20))
    counts, edges = np.histogram(u, bins, (0, 1))
    low, high = (np.array(stats.binom.interval(PROBABILITY, n, 1 / bins)) * bins / n).tolist()
    axes.axhspan(low, high, color=GREY, alpha=0.25, linewidth=0)
    axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
    axes.stairs(counts * bins / n, edges, color=OKABE_ITO[0], linewidth=2)
    label(axes, "P(Y <= y | x), the PIT", "density", "grey: 95% of the steps, if calibrated")
    axes.set_xlim(0, 1)
    return axes
