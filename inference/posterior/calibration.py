r"""Simulation-based calibration: is what a sampler draws the posterior?

    theta ~ p(theta),    y ~ p(y | theta),    theta_1..L ~ p(theta | y)
    rank = #{g(theta_l, y) < g(theta, y)},    u = (rank + U) / (L + 1) ~ Uniform(0, 1)

whatever the quantity g, where the draws are independent and from the posterior. Ties are broken at
random. u is tested as it is, by chi2 of equal bins, and by mean and variance of its normal scores,
which see a posterior that is shifted, or too narrow, with fewer simulations. A quantity must not
depend on how experts are numbered; log p(y | theta) sees what parameters alone do not. Cook, Gelman
and Rubin (2006); Talts et al. (2018); Modrak et al. (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats  # type: ignore[import-untyped]  # no stubs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

BINS = 20
"""Of chi2."""


@dataclass(frozen=True, slots=True)
class Uniformity:
    """What says whether numbers are uniform on (0, 1).

    Attributes:
        mean: of the normal scores, in standard errors: Normal(0, 1) where they are.
        variance: their mean square less 1, in standard errors, so that chi2 is exact.
        p_mean: two-sided, of the mean.
        p_variance: two-sided, of the variance.
        p_bins: of chi2 with `BINS` equal bins.
    """

    mean: float
    variance: float
    p_mean: float
    p_variance: float
    p_bins: float

    @property
    def smallest(self) -> float:
        """The smallest of the three p-values."""
        return min(self.p_mean, self.p_variance, self.p_bins)


def positions(true: FloatArray, draws: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return where true values, (n,), stand among their draws, (n, L), from 0 to 1, (n,).

    Args:
        true: a quantity at what the data were simulated from.
        draws: the same quantity at draws of the posterior, as nearly independent as can be.
        rng: breaks ties, and spreads ranks over (0, 1).
    """
    below = (draws < true[:, None]).sum(1)
    ties = (draws == true[:, None]).sum(1)
    rank = below + rng.integers(0, ties + 1)
    place: FloatArray = (rank + rng.random(len(true))) / (draws.shape[1] + 1)
    return place


def uniformity(u: FloatArray) -> Uniformity:
    """Test whether numbers, (n,), are uniform on (0, 1)."""
    scores = stats.norm.ppf(u)
    n = len(u)
    mean = float(scores.mean() * np.sqrt(n))
    below = float(stats.chi2.cdf(np.square(scores).sum(), n))
    counts, _ = np.histogram(u, BINS, (0.0, 1.0))
    return Uniformity(
        mean,
        float(np.square(scores).mean() - 1) * np.sqrt(n / 2),
        2 * float(stats.norm.sf(abs(mean))),
        2 * min(below, 1 - below),
        float(stats.chisquare(counts).pvalue),
    )


def calibrated(tests: Mapping[str, Uniformity], level: float = 0.001) -> bool:
    """Return whether no test of any quantity fails, at a level for all of them together."""
    return all(test.smallest > level / (3 * len(tests)) for test in tests.values())
