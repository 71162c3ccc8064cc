r"""The bootstrap likelihood ratio test of a number of experts (McLachlan, 1987).

    2 (log p of the larger model - log p of the smaller one)  on the data, and on data drawn from
    the smaller model:   p = (1 + how many of B are at least as large) / (B + 1)

The usual chi-squared law does not hold: a mixture is at the edge of its parameters where an expert
is not needed. Both models are fitted anew to every sample, from the starts that the spec names.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.guides import Seeded
from pyromoe.inference.distributed.processes import ALONE
from pyromoe.inference.distributed.spreading import spread
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.posterior.simulation import simulated
from pyromoe.inference.svi import fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.divide import Data


@dataclass(frozen=True)
class LikelihoodRatio:
    """A test of a larger against a smaller model.

    Attributes:
        statistic: twice the difference of their log p(y | x), nats.
        samples: the same of every sample, (B,); fewer where a fit broke down.
        p_value: the share of samples that reach the statistic, itself counted.
    """

    statistic: float
    samples: list[float]

    @property
    def p_value(self) -> float:
        """The share of samples, the data among them, whose statistic is at least as large."""
        return (1 + sum(s >= self.statistic for s in self.samples)) / (1 + len(self.samples))


def bootstrap_test(
    smaller: Fit,
    larger: Fit,
    draws: int,
    report: Callable[[float, str], None],
    processes: Processes = ALONE,
    checkpoints: Checkpoints | None = None,
) -> LikelihoodRatio:
    """Test a larger model against a smaller one, both fitted to the same training data.

    Args:
        smaller: from which the samples are drawn.
        larger: of which the smaller one is a case.
        draws: B.
        report: called with the share that is done and what is being done.
        processes: over which the samples are spread; each returns the same.
        checkpoints: where what came of each sample is kept.

    Raises:
        ValueError: for a fit without its data.
    """
    of_smaller = smaller.data
    if of_smaller is None:
        raise ValueError("a fit without its data cannot be tested")
    ended = set[int]()

    def of_sample(number: int) -> Saved:
        data = sample(smaller, of_smaller, number)
        try:
            totals = [_total(fit(each.spec, data=data)) for each in (smaller, larger)]
        except NumericalError:
            return Saved(values={"statistic": None})
        return Saved(values={"statistic": 2 * (totals[1] - totals[0])})

    def arrived(number: int, found: Saved) -> None:
        ended.add(number)
        report(len(ended) / draws, f"sample {len(ended)} of {draws}")

    experts = larger.spec.experts.number
    names = [f"{experts}-sample-{number + 1}" for number in range(draws)]
    each = spread(processes, names, of_sample, arrived, checkpoints)
    found = [one.values["statistic"] for one in each]
    statistic = 2 * (_total(larger) - _total(smaller))
    return LikelihoodRatio(statistic, [value for value in found if value is not None])


def sample(found: Fit, data: Data, number: int) -> Data:
    """Return data with the same predictors whose responses are drawn from a fit.

    Args:
        found: the fit.
        data: its data.
        number: of the sample; each has a seed of its own.
    """
    x, y = to_tensors(data.whole("a test by simulation"), found.spec)
    seed = int(np.random.SeedSequence([found.spec.seed, number]).generate_state(1)[0])
    drawn = simulated(found, x, 1, Seeded(seed), found.weights, seed)[0]
    if y.is_floating_point():
        drawn = torch.where(y.isnan(), y, drawn.to(y))
    floating = data.train.y.dtype == np.float64
    values = drawn.numpy().astype(np.float64) if floating else drawn.numpy().astype(np.int64)
    train = dataclasses.replace(data.train, y=values)
    return dataclasses.replace(data, train=train)


def _total(found: Fit) -> float:
    total: float = found.metrics["log_likelihood"]["train"]
    return total
