"""What each expert of a run does: its share, its responses, and where its rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.summary import Bar
from pyromoe.models.data.predictors import Numeric
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyromoe.inference.summaries.assignments import Assignments
    from pyromoe.models.data.encoding import Target

    FloatArray = NDArray[np.float64]

CLASSES, COLUMNS, RESPONSES = 3, 2, 3
"""Most that is said of an expert: classes of its rows, predictors, responses."""
APART = 0.5
"""An expert's rows differ in a predictor whose mean is so many standard deviations off."""
NAME = 30
"""Letters of a name from the data."""


def pruned_below(number: int) -> float:
    """Return the share of the rows below which one of K experts counts as pruned.

    1%, or a tenth of an equal share where there are many experts.

    >>> pruned_below(8)
    0.01
    """
    return min(0.01, 0.1 / number)


def expert_bars(of: Assignments) -> tuple[Bar, ...]:
    """Return every expert's share of the training data and what it does, the largest first."""
    shares, owned = of.shares, np.bincount(of.leader, minlength=of.number)
    found = []
    for k in np.argsort(-shares, kind="stable").tolist():
        pruned = shares[k] < pruned_below(of.number)
        said = ["pruned"] if pruned else [f"leads in {counted(owned[k], of.unit)}", *does(of, k)]
        found.append(Bar(f"expert {k}", float(shares[k]), "; ".join(said), k))
    return tuple(found)


def counted(number: int, unit: str) -> str:
    """Return a number of rows or groups.

    >>> counted(1, "rows"), counted(2, "groups")
    ('1 row', '2 groups')
    """
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def does(of: Assignments, expert: int) -> Iterator[str]:
    """Yield the responses of an expert's rows, and the predictors in which they differ most."""
    weight = of.of_rows[:, expert]
    for r, target in enumerate(of.encoding.targets[:RESPONSES]):
        there = np.isfinite(of.y[:, r])
        if weight[there].sum() > 0:
            yield _responses(target, of.y[there, r], weight[there])
    if of.number > 1:
        yield from _predictors(of, weight)


def _responses(target: Target, y: FloatArray, weight: FloatArray) -> str:
    name = one_line(target.name, NAME)
    if target.labels:
        share = np.bincount(y.astype(int), weight, len(target.labels)) / weight.sum()
        first = [c for c in np.argsort(-share, kind="stable")[:CLASSES] if share[c] >= 0.005]
        classes = ", ".join(f"{one_line(target.labels[c], NAME)} ({share[c]:.0%})" for c in first)
        return f"{name}: {classes}"
    mean, sd = moments(y, weight)
    return f"{name} {number(mean)} on average (sd {number(sd)})"


def _predictors(of: Assignments, weight: FloatArray) -> Iterator[str]:
    """Yield the predictors whose mean is furthest from that of all rows, in units of the table."""
    if not of.x.shape[1] or not weight.sum():
        return
    mean, sd = of.x.mean(0), of.x.std(0)
    own = weight @ of.x / weight.sum()
    off = np.abs(own - mean) / np.where(sd > 0, sd, np.inf)
    units = {
        part.name: (part.mean, part.sd)
        for part in of.encoding.predictors
        if isinstance(part, Numeric)
    }
    for c in np.argsort(-off, kind="stable")[:COLUMNS]:
        if off[c] >= APART:
            name = of.encoding.columns[c]
            origin, unit = units.get(name, (0.0, 1.0))
            here, all_rows = (origin + unit * value for value in (own[c], mean[c]))
            yield f"{one_line(name, NAME)} {number(here)} (all rows {number(all_rows)})"


def moments(values: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of values, (N,)."""
    mean = float(np.average(values, weights=weight))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))


def number(value: float) -> str:
    """Return a number in few digits, and not as a power of ten where it is a thousand.

    >>> number(1776.4), number(0.25)
    ('1776', '0.25')
    """
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
