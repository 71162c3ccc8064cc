r"""What R draws of a gradient tell of its bias and its noise.

    d_r    = g_r - exact gradient,    D = mean d_r
    bias   = |D|, which without any bias is about sqrt(tr Cov / R), the Monte Carlo floor
    bias^2 = |D|^2 - tr Cov / R, without that floor: the mean of d_r . d_s over r != s

Draws are gathered into groups, so that memory does not grow with R; the interval of bias^2 is that
of the U-statistic over the groups' means (Hoeffding, 1948).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

GROUPS = 20
NORMAL = 1.96
"""Of a two-sided interval of 95%."""


class Moments:
    """Running sums of a gradient's draws.

    Args:
        exact: the gradient that is estimated, (P,).
    """

    def __init__(self, exact: Tensor) -> None:
        self.exact = exact.double()
        self.sums = torch.zeros(GROUPS, len(exact), dtype=torch.double)
        self.counts = torch.zeros(GROUPS, dtype=torch.double)
        self.squares = 0.0
        self.draws = 0

    def add(self, gradient: Tensor) -> None:
        """Take another draw, (P,), into account."""
        deviation = gradient.double() - self.exact
        self.sums[self.draws % GROUPS] += deviation
        self.counts[self.draws % GROUPS] += 1
        self.squares += float(deviation.square().sum())
        self.draws += 1

    @property
    def deviation(self) -> Tensor:
        """The mean draw less the exact gradient, (P,)."""
        return self.sums.sum(0) / self.draws

    @property
    def variance(self) -> float:
        """The trace of the covariance of one draw; 0 for a single draw."""
        if self.draws < 2:
            return 0.0
        centred = self.squares - self.draws * float(self.deviation.square().sum())
        # Below the rounding of a sum of squares nothing is left.
        return 0.0 if centred < 1e-12 * self.squares else centred / (self.draws - 1)

    def squared_bias(self, aim: Tensor | None = None) -> tuple[float, float, float]:
        """Return |E g - aim|^2 without the floor, and the ends of its interval of 95%.

        The estimate may be below 0, where the bias is below what R draws can tell.

        Args:
            aim: another gradient than the exact one, (P,).
        """
        offset = 0.0 if aim is None else self.exact - aim.double()
        if self.variance == 0:
            value = float((self.deviation + offset).square().sum())
            return value, value, value
        used = self.counts > 0
        means = self.sums[used] / self.counts[used, None] + offset
        number = len(means)
        products = means @ means.T
        pairs = (products.sum(1) - products.diagonal()) / (number - 1)
        value = float(pairs.mean())
        rest = products - pairs[:, None] - pairs[None, :] + value
        rest.fill_diagonal_(0)
        degenerate = rest.square().sum() / (number * (number - 1))
        linear = (pairs.var() - degenerate / (number - 1)).clamp_min(0)
        spread = 4 * linear / number + 2 * degenerate / (number * (number - 1))
        half = NORMAL * float(spread.sqrt())
        return value, value - half, value + half

    def measures(self) -> dict[str, float | None]:
        """Return bias and noise as multiples of the exact gradient's length; None where it is 0."""
        length = float(self.exact.norm())
        if length == 0:
            return dict.fromkeys(MEASURES)
        mean, spread = self.deviation + self.exact, math.sqrt(self.variance)
        _, low, high = self.squared_bias()
        size = float(mean.norm())
        along = float(mean @ self.exact)
        return {
            "estimator_bias": float(self.deviation.norm()) / length,
            "estimator_bias_mc_floor": spread / math.sqrt(self.draws) / length,
            "estimator_bias_low": math.sqrt(max(0.0, low)) / length,
            "estimator_bias_high": math.sqrt(max(0.0, high)) / length,
            "slope": along / length**2,
            "cosine": along / (size * length) if size else None,
            "relative_std": spread / length,
            "signal_to_noise": size / spread if spread else None,
        }


MEASURES = (
    "estimator_bias",
    "estimator_bias_mc_floor",
    "estimator_bias_low",
    "estimator_bias_high",
    "slope",
    "cosine",
    "relative_std",
    "signal_to_noise",
)
