"""Which expert each row has, and how certainly: p(z = k | y, x), the responsibilities r, (N, K)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import entr  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.pictures.colours import (
    OKABE_ITO,
    certainty,
    expert_legend,
    paled,
    palette,
    to_array,
)
from pyromoe.inference.pictures.frame import MANY, grid, label, name_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

COLUMNS = 500
"""Of the assignment map; of more rows, neighbours are averaged."""
NAMED = 16
"""Experts that are all named along an axis."""
BINS = 30
FAINTEST = 0.15
"""Opacity of a row that any expert may have."""


def plot_assignments(
    axes: Axes, responsibilities: FloatArray, colours: Sequence[str] | None = None
) -> Axes:
    """Draw the responsibilities of every row, those of an expert side by side.

    Experts are ordered by their share, rows by their leading expert and how certain it is. White
    is 0 and an expert's colour is 1.

    Args:
        axes: where to draw.
        responsibilities: r, (N, K).
        colours: of the experts; see `palette`.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_assignments
    >>> r = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])  # (N, K)
    >>> axes = plot_assignments(new_figure().subplots(), r)
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['expert 0, 53%', 'expert 1, 47%']
    """
    r = np.asarray(responsibilities, np.float64)
    n, number = r.shape
    shares = r.mean(0)
    experts = np.argsort(-shares, kind="stable")
    ordered = r[:, experts]
    ordered = ordered[np.lexsort((-ordered.max(1), ordered.argmax(1)))]
    edges = np.linspace(0, n, min(n, COLUMNS) + 1).astype(int)
    means = np.add.reduceat(ordered, edges[:-1]) / np.diff(edges)[:, None]  # (B, K)
    own = to_array(colours or palette(number, shares))[experts]
    image = paled(own[:, None], means.T)  # (K, B, 3)
    axes.imshow(image, aspect="auto", interpolation="none", extent=(0, n, number, 0))
    shown = np.arange(0, number, -(-number // NAMED))
    names = [f"expert {k}, {shares[k]:.0%}" for k in experts[shown]]
    name_ticks(axes.yaxis, shown + 0.5, names)
    label(axes, "rows, by leading expert and certainty; full colour: p(z | y, x) = 1")
    axes.tick_params("y", length=0)
    for line in range(1, number):
        axes.axhline(line, color="white", linewidth=0.6)
    return axes


def plot_entropy(axes: Axes, responsibilities: FloatArray) -> Axes:
    """Draw how many rows have an assignment of which entropy, 0 to log K nats.

    The title says how many experts are in use: exp of the entropy of the mean responsibility.

    Args:
        axes: where to draw.
        responsibilities: r, (N, K).

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_entropy
    >>> r = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])  # (N, K)
    >>> plot_entropy(new_figure().subplots(), r).get_title()
    '2.00 of 2 experts in use; mean entropy 0.506 nats'
    """
    r = np.asarray(responsibilities, np.float64)
    number, each = r.shape[1], entr(r).sum(1)
    most = np.log(number) if number > 1 else 1.0
    counts, edges = np.histogram(each.clip(0, most), BINS, (0, most))
    axes.stairs(counts, edges, fill=True, color=OKABE_ITO[0])
    used = np.exp(entr(r.mean(0)).sum())
    label(
        axes,
        f"entropy of p(z | y, x), nats; log {number} at most",
        "rows",
        f"{used:.2f} of {number} experts in use; mean entropy {each.mean():.3f} nats",
    )
    grid(axes)
    axes.set_xlim(0, most)
    return axes


def plot_partition(
    axes: Axes,
    x: FloatArray,
    responsibilities: FloatArray,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw rows on the two principal components of x, coloured by their leading expert.

    The fainter a row, the less certain its expert. Columns are first divided by their standard
    deviations; rows with a missing number are left out.

    Args:
        axes: where to draw.
        x: what is projected, (N, D).
        responsibilities: r, (N, K).
        colours: of the experts; see `palette`.

    Raises:
        ValueError: for fewer than two columns that differ between rows.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_partition
    >>> rng = np.random.default_rng(0)
    >>> x, r = rng.normal(size=(50, 3)), rng.dirichlet([1, 1], 50)  # (N, D) and (N, K)
    >>> axes = plot_partition(new_figure().subplots(), x, r)
    >>> axes.get_xlabel()[:21]
    'principal component 1'
    """
    from sklearn.decomposition import PCA

    values, r = np.asarray(x, np.float64), np.asarray(responsibilities, np.float64)
    there = np.isfinite(values).all(1)
    values, r = values[there], r[there]
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 0] / spread[spread > 0]
    if values.shape[1] < 2:
        raise ValueError("a projection needs two columns; one can be drawn as it is")
    found = PCA(2, svd_solver="full")
    first, second = found.fit_transform(values).T
    own = to_array(colours or palette(r.shape[1], r.mean(0)))
    opacity = FAINTEST + (1 - FAINTEST) * certainty(r)
    points = np.concatenate([own[r.argmax(1)], opacity[:, None]], 1)
    many = len(r) > MANY
    axes.scatter(first, second, 6 if many else 14, points, linewidths=0, rasterized=many)
    parts = found.explained_variance_ratio_
    label(axes, *(f"principal component {i + 1}, {parts[i]:.0%} of variance" for i in range(2)))
    expert_legend(axes, colours or palette(r.shape[1], r.mean(0)), r.mean(0))
    return axes
