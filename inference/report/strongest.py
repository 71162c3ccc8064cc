"""Which predictors to draw: those in which experts, or responses, differ most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyromoe.inference.summaries.assignments import Assignments

    FloatArray = NDArray[np.float64]


def strongest(of: Assignments, response: int, most: int) -> list[str]:
    """Return the names of predictors, the strongest first.

    The strength of one is the part of its variance that lies between experts, or between the
    classes of the response, or its squared correlation with a number, whichever is largest.

    Args:
        of: the training data.
        response: which of them.
        most: how many.
    """
    y, target = of.y[:, response], of.encoding.targets[response]
    there = np.isfinite(y)
    x, r, y = of.x[there], of.of_rows[there], y[there]
    classes = np.eye(len(target.labels))[y.astype(int)] if target.labels else None
    of_columns = np.maximum(
        _between(x, r), _correlation(x, y) if classes is None else _between(x, classes)
    )
    strength, start = dict[str, float](), 0
    for part in of.encoding.predictors:
        end = start + len(part.columns)
        strength[part.name] = float(of_columns[start:end].max(initial=0.0))
        start = end
    return sorted((n for n, s in strength.items() if s > 0), key=lambda n: -strength[n])[:most]


def _between(x: FloatArray, r: FloatArray) -> FloatArray:
    """Return the part of each column's variance, (D,), that is between groups with weights r."""
    total, size = x.var(0), r.sum(0)
    means = r.T @ x / np.where(size > 0, size, 1)[:, None]  # (K, D)
    between = size @ (means - x.mean(0)) ** 2 / len(x)
    part: FloatArray = np.where(total > 0, between / np.where(total > 0, total, 1), 0)
    return part


def _correlation(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the squared correlation of each column with y, (D,)."""
    spread = x.var(0) * y.var()
    product = (x - x.mean(0)).T @ (y - y.mean()) / len(x)
    part: FloatArray = np.where(spread > 0, product**2 / np.where(spread > 0, spread, 1), 0)
    return part
