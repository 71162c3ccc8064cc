"""What the experts and the gate do as predictors change."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection

from pyromoe.inference.pictures.colours import (
    LEADING,
    certainty,
    expert_legend,
    leading,
    paled,
    palette,
    to_array,
)
from pyromoe.inference.pictures.frame import MANY, grid, label, name_columns, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

FAINTEST = 0.12
"""Opacity of an expert where the gate never chooses it."""
OPACITIES = 12
"""Steps of it."""
CHOSEN = 0.05
"""Probability from which on a gate counts as choosing an expert."""
ROOM = 0.05
"""Beside the data, as a part of their range."""


@dataclass(frozen=True)
class Curves:
    """Experts and gate at G values of one predictor, others held where they were.

    Attributes:
        predictor: its name.
        response: the name of what the experts predict, or "p(class)".
        values: of the predictor on its original scale, (G,): numbers, or names of levels.
        means: E(y | z = k, x), (K, G), on the original scale of the response.
        gate: p(z = k | x), (K, G).
        low: the lower end of each expert's predictive interval, (K, G); None for classes.
        high: its upper end, (K, G).
        mean_low: the lower end of the means over draws of the weights, (K, G); None where they
            are a point.
        mean_high: the upper end, (K, G).
        level: the probability of the intervals.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import Curves
    >>> x, means = np.array([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])  # (G,) and (K, G)
    >>> curves = Curves("x", "y", x, means, gate=np.full((2, 2), 0.5))
    >>> (curves.means * curves.gate).sum(0)  # E(y | x), (G,)
    array([0.5, 0.5])
    """

    predictor: str
    response: str
    values: NDArray[np.float64] | NDArray[np.str_]
    means: FloatArray
    gate: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    mean_low: FloatArray | None = None
    mean_high: FloatArray | None = None
    level: float = 0.9


def plot_curves(
    axes: Axes,
    curves: Curves,
    x: NDArray[np.float64] | NDArray[np.str_] | None = None,
    y: FloatArray | None = None,
    responsibilities: FloatArray | None = None,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw each expert's mean, faint where the gate does not choose it, over the rows.

    A band is the predictive interval of a leading expert where the gate chooses it; a darker one
    within it is what draws of the weights leave open of its mean. Rows are coloured by their
    responsibilities, mixed.

    Args:
        axes: where to draw.
        curves: see `curves_of`.
        x: the predictor of each row, (N,), on the scale of `curves.values`; None for no rows.
        y: the response of each row, (N,); where curves are of a class, 1 for that class, else 0.
        responsibilities: r, (N, K).
        colours: of the experts; see `palette`.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import Curves, new_figure, plot_curves
    >>> x, means = np.array([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])  # (G,) and (K, G)
    >>> curves = Curves("x", "y", x, means, gate=np.full((2, 2), 0.5))
    >>> axes = plot_curves(new_figure().subplots(), curves)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('x', 'y')
    """
    shares = curves.gate.mean(1) if responsibilities is None else responsibilities.mean(0)
    own = colours or palette(len(shares), shares)
    if x is not None and y is not None:
        # Rows of a class and of the others would cover each other.
        aside = 0.0 if curves.low is not None else np.linspace(-0.04, 0.04, len(y))
        _rows(axes, _on(x, curves.values), y + aside, responsibilities, own)
    label(axes, shortened(curves.predictor), shortened(curves.response))
    if curves.values.dtype.kind == "U":
        _levels(axes, curves, own)
        name_columns(axes, _places(curves.values), curves.values.astype(str).tolist())
    else:
        _lines(axes, curves, shares, own)
    _limits(axes, curves, y)
    expert_legend(axes, own, shares, written=responsibilities is not None)
    grid(axes)
    return axes


def plot_gate(
    axes: Axes,
    predictor: str,
    values: NDArray[np.float64] | NDArray[np.str_],
    gate: FloatArray,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw p(z = k | x) of the experts on top of each other, from 0 to 1.

    Args:
        axes: where to draw.
        predictor: its name.
        values: of it, (G,): numbers, or names of levels.
        gate: p(z = k | x), (K, G).
        colours: of the experts; see `palette`.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_gate
    >>> values, gate = np.array([0.0, 1.0]), np.array([[0.2, 0.7], [0.8, 0.3]])  # (G,) and (K, G)
    >>> axes = plot_gate(new_figure().subplots(), "income", values, gate)
    >>> axes.get_xlabel()
    'income'
    """
    places, shares = _places(values), gate.mean(1)
    own = colours or palette(len(gate), shares)
    if values.dtype.kind == "U":
        bottom = np.zeros(len(places))
        for k, share in enumerate(gate):
            axes.bar(places, share, 0.8, bottom, color=own[k])
            bottom += share
        name_columns(axes, places, values.astype(str).tolist())
    else:
        for area in axes.stackplot(places, gate, colors=own, linewidth=0):
            area.set_rasterized(len(gate) > LEADING)
        axes.set_xlim(places[0], places[-1])
    axes.set_ylim(0, 1)
    label(axes, shortened(predictor), "gate p(z | x)")
    expert_legend(axes, own, shares, written=False)
    return axes


def plot_gate_map(
    axes: Axes,
    predictors: tuple[str, str],
    values: tuple[FloatArray, FloatArray],
    gate: FloatArray,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw the expert that the gate prefers at every point, paler where it prefers it less.

    Args:
        axes: where to draw.
        predictors: the names of both.
        values: of each, (G,) and (H,), evenly spaced.
        gate: p(z = k | x), (K, H, G).
        colours: of the experts; see `palette`.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import new_figure, plot_gate_map
    >>> along = np.linspace(0, 1, 4)
    >>> gate = np.stack([np.full((4, 4), 0.3), np.full((4, 4), 0.7)])  # (K, H, G)
    >>> axes = plot_gate_map(new_figure().subplots(), ("a", "b"), (along, along), gate)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('a', 'b')
    """
    shares = gate.mean((1, 2))
    own = colours or palette(len(gate), shares)
    of_points = np.moveaxis(gate, 0, -1)  # (H, G, K)
    strength = 0.2 + 0.8 * certainty(of_points)
    image = paled(to_array(own)[of_points.argmax(-1)], strength)
    ends = [v for along in values for v in (along[0], along[-1])]
    axes.imshow(image, origin="lower", aspect="auto", interpolation="none", extent=tuple(ends))
    label(axes, *map(shortened, predictors))
    expert_legend(axes, own, shares, written=False)
    return axes


def _places(values: NDArray[np.float64] | NDArray[np.str_]) -> FloatArray:
    """Return where values are on the axis; levels stand beside each other."""
    return np.arange(len(values), dtype=float) if values.dtype.kind == "U" else values.astype(float)


def _on(
    x: NDArray[np.float64] | NDArray[np.str_], values: NDArray[np.float64] | NDArray[np.str_]
) -> FloatArray:
    """Return where rows are on the axis; those of a level are spread about it."""
    if values.dtype.kind != "U":
        return x.astype(float)
    place = {level: i for i, level in enumerate(values.tolist())}
    spread = np.linspace(-0.3, 0.3, len(x))
    return np.array([place[level] for level in x.tolist()], dtype=float) + spread


def _rows(
    axes: Axes, x: FloatArray, y: FloatArray, r: FloatArray | None, colours: Sequence[str]
) -> None:
    points = "0.5" if r is None else (r @ to_array(colours)).clip(0, 1)
    many = len(x) > MANY
    axes.scatter(x, y, 5 if many else 10, points, alpha=0.7, linewidths=0, rasterized=many)


def _lines(axes: Axes, curves: Curves, shares: FloatArray, colours: Sequence[str]) -> None:
    """Draw experts as lines, the leading ones with bands."""
    for k in leading(shares):
        for low, high, opacity in (
            (curves.low, curves.high, 0.12),
            (curves.mean_low, curves.mean_high, 0.3),
        ):
            if low is not None and high is not None:
                axes.fill_between(
                    curves.values.astype(float),
                    low[k],
                    high[k],
                    where=curves.gate[k] >= CHOSEN,
                    color=colours[k],
                    alpha=opacity,
                    linewidth=0,
                )
    for k, mean in enumerate(curves.means):
        _line(axes, curves.values.astype(float), mean, curves.gate[k], colours[k])


def _levels(axes: Axes, curves: Curves, colours: Sequence[str]) -> None:
    """Draw experts side by side at each level, with bars for bands."""
    number = len(colours)
    for k, mean in enumerate(curves.means):
        x = np.arange(len(mean)) + 0.7 * ((k + 0.5) / number - 0.5)
        opacity = FAINTEST + (1 - FAINTEST) * np.sqrt(curves.gate[k])
        axes.scatter(x, mean, 30, colours[k], alpha=opacity, linewidths=0, zorder=3)
        for low, high, width in (
            (curves.low, curves.high, 1.2),
            (curves.mean_low, curves.mean_high, 3.0),
        ):
            if low is not None and high is not None:
                axes.vlines(x, low[k], high[k], colours[k], linewidth=width, alpha=opacity)


def _line(axes: Axes, x: FloatArray, y: FloatArray, gate: FloatArray, colour: str) -> None:
    """Draw a line that is as opaque as the gate is sure of an expert, in steps."""
    steps = np.round(OPACITIES * np.sqrt((gate[1:] + gate[:-1]) / 2)) / OPACITIES
    breaks = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    points = np.stack([x, y], 1)
    runs = [points[first : last + 1] for first, last in pairwise(breaks)]
    opacity = FAINTEST + (1 - FAINTEST) * steps[breaks[:-1]]
    lines = LineCollection(runs, colors=colour, alpha=opacity, linewidths=2, capstyle="butt")
    axes.add_collection(lines)


def _limits(axes: Axes, curves: Curves, y: FloatArray | None) -> None:
    """Show the rows and the experts where they are chosen: elsewhere they may be anywhere."""
    shown = [curves.means[curves.gate >= CHOSEN], *([] if y is None else [y[np.isfinite(y)]])]
    every = np.concatenate(shown) if sum(map(len, shown)) else curves.means.ravel()
    room = ROOM * (every.max() - every.min()) or 1.0
    axes.set_ylim(every.min() - room, every.max() + room)
    places = _places(curves.values)
    side = 0.5 if curves.values.dtype.kind == "U" else 0.02 * (places[-1] - places[0])
    axes.set_xlim(places[0] - side, places[-1] + side)
