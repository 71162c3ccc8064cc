"""Whether fits agree on which rows belong together, however they number their experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.pictures.frame import SIZE, SMALL, label, name_columns, name_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

SAMPLE = 300
"""Rows that are compared with each other."""
WRITTEN = 10
"""Fits up to which numbers are written into their matrix."""
NAMED = 30
"""Fits up to which all are named."""
MAP = "cividis"


def coassignment(responsibilities: Sequence[FloatArray]) -> FloatArray:
    """Return the probability that two rows share an expert, (N, N), the mean over fits or draws.

    Args:
        responsibilities: r of each fit, (N, K), whose K may differ.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import coassignment
    >>> coassignment([np.array([[1.0, 0.0], [0.5, 0.5]])])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    total = np.zeros((len(responsibilities[0]),) * 2)
    for r in responsibilities:
        total += r @ r.T
    total /= len(responsibilities)
    np.fill_diagonal(total, 1.0)
    return total


def sampled(number: int, most: int = SAMPLE) -> NDArray[np.int64]:
    """Return evenly spaced rows of N, (S,), where S is at most so many.

    >>> from pyromoe.inference.pictures import sampled
    >>> sampled(9, 3)
    array([0, 4, 8])
    """
    return np.linspace(0, number - 1, min(number, most)).round().astype(np.int64)


def cluster_order(together: FloatArray) -> NDArray[np.int64]:
    """Return rows, (N,), in the order of an average-linkage tree of what they share, (N, N).

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import cluster_order
    >>> together = np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.0]])
    >>> cluster_order(together)
    array([1, 0, 2])
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # type: ignore[import-untyped]
    from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

    if len(together) < 3:
        return np.arange(len(together))
    apart = (1 - together).clip(0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), np.int64)


def plot_coassignment(axes: Axes, together: FloatArray, of: int | None = None) -> Axes:
    """Draw the probability that two rows share an expert; rows that do stand side by side.

    Args:
        axes: where to draw.
        together: see `coassignment`, (N, N).
        of: how many rows there are, where those shown are a sample of them.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_coassignment
    >>> together = np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.0]])  # (N, N)
    >>> plot_coassignment(new_figure().subplots(), together, of=100).get_ylabel()
    '3 of 100 rows'
    """
    order = cluster_order(together)
    image = axes.imshow(together[order][:, order], MAP, vmin=0, vmax=1, interpolation="none")
    n = len(together)
    rows = f"{n} rows" if of in (None, n) else f"{n} of {of} rows"
    label(axes, f"{rows}, by cluster", rows)
    _bar(axes, image, "probability of the same expert")
    return axes


def agreement(assignments: Sequence[NDArray[np.int64]]) -> FloatArray:
    """Return the adjusted Rand index of every pair of fits, (F, F): 1 alike, 0 as by chance.

    Args:
        assignments: the expert of each row in each fit, (N,); their numbers do not matter.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import agreement
    >>> agreement([np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])])
    array([[1., 1.],
           [1., 1.]])
    """
    from sklearn.metrics import adjusted_rand_score

    number = len(assignments)
    found = np.eye(number)
    for i in range(number):
        for j in range(i):
            found[i, j] = found[j, i] = adjusted_rand_score(assignments[i], assignments[j])
    return found


def plot_agreement(axes: Axes, index: FloatArray, names: Sequence[str]) -> Axes:
    """Draw the adjusted Rand index of every pair of fits.

    Args:
        axes: where to draw.
        index: see `agreement`, (F, F).
        names: of the fits.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_agreement
    >>> axes = plot_agreement(new_figure().subplots(), np.eye(2), ["first", "second"])
    >>> [text.get_text() for text in axes.texts]
    ['1.00', '0.00', '0.00', '1.00']
    """
    number = len(names)
    image = axes.imshow(index, MAP, vmin=0, vmax=1, aspect="auto", interpolation="none")
    shown = range(0, number, -(-number // NAMED))
    some = [names[i] for i in shown]
    label(axes)
    name_columns(axes, shown, some)
    name_ticks(axes.yaxis, shown, some)
    if number <= WRITTEN:
        for i, j in np.ndindex(index.shape):
            colour = "black" if index[i, j] > 0.5 else "white"
            text = f"{index[i, j]:.2f}"
            at = axes.text(j, i, text, ha="center", va="center", fontsize=SMALL, parse_math=False)
            at.set_color(colour)
    _bar(axes, image, "adjusted Rand index")
    return axes


def _bar(axes: Axes, image: object, name: str) -> None:
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7)  # type: ignore[arg-type]
    bar.set_label(name, fontsize=SIZE, parse_math=False)
    bar.ax.tick_params(labelsize=SIZE)
