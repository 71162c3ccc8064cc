r"""Standard errors by the nonparametric bootstrap.

    data drawn with replacement  ->  maximum of their likelihood, from the fitted parameters  ->
    experts numbered as in the fit  ->  standard deviation of each parameter over the samples

What is drawn are the data: rows, or groups that share a z. Efron (1979). Each sample starts from
the fitted parameters, so that it stays with the same mode where it can; experts are then matched by
the rows of the fit that they claim (`pyromoe.inference.fitting.labels`).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.fitting.labels import match
from pyromoe.inference.fitting.natural import Named, Natural
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.maximum_likelihood.maximise import maximise
from pyromoe.inference.maximum_likelihood.score import Score

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.tables.columns import IntArray

TOLERANCE = 1e-6
"""The gradient's norm at which a sample's search ends, nats a row: far below its own error."""
MOST = 500
"""Iterations of a search at most."""


def bootstrap(fit: Fit, draws: int, report: Callable[[float, str], None]) -> Named:
    """Return the standard error of every parameter in natural units, see `natural`.

    Args:
        fit: with its data.
        draws: how many samples.
        report: called with the share that is done and what is being done.

    Raises:
        ValueError: for a fit without its data.
    """
    if fit.data is None:
        raise ValueError("a fit without its data has no standard errors")
    model, guide = copy.deepcopy((fit.model, fit.guide))
    x, y = to_tensors(fit.data.whole("a bootstrap"), fit.spec)
    model, guide = model.double(), guide.double()
    x, y = x.double(), y.double() if y.is_floating_point() else y
    score = Score([(model, guide)], x, y, 1)
    reference = score(score.values).joint[0].softmax(0).T.numpy()  # (N, K)
    generator = torch.Generator().manual_seed(fit.spec.seed)
    found: list[Named] = []
    for number in range(draws):
        rows = torch.randint(len(x), (len(x),), generator=generator)
        values = _highest(score, x[rows], y[rows])
        score.x, score.y = x, y
        shares = score(values).joint[0].softmax(0).T.numpy()
        score.hand_over(model, guide, values[0])
        with torch.no_grad():
            named = Natural(model, guide, fit.encoding)()
        found.append(_renumbered(named, match(reference, shares)))
        report((number + 1) / draws, f"sample {number + 1} of {draws}")
    return {
        name: (dims, torch.stack([one[name][1] for one in found]).std(0))
        for name, (dims, _) in found[0].items()
    }


def _highest(score: Score, x: Tensor, y: Tensor) -> Tensor:
    """Return the parameters of the highest likelihood of some rows, (1, P)."""
    score.x, score.y = x, y

    def value_and_gradient(values: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        found = score(values)
        return found.value / len(x), found.gradient / len(x)

    start = score.values
    return maximise(value_and_gradient, start, tolerance=TOLERANCE, iterations=MOST).values


def _renumbered(named: Named, order: IntArray) -> Named:
    """Return parameters with the experts in another order; the gate's are differences again."""
    found: Named = {}
    for name, (dims, value) in named.items():
        moved = value[torch.from_numpy(order)] if dims[:1] == ("expert",) else value
        found[name] = dims, moved - moved[0] if name.startswith("gate_") else moved
    return found
