"""Poisson: the log rate from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch

from pyromoe.models.incomplete_functions import upper_gamma
from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor

LARGEST_COUNT = 2.0**53
"""From here on doubles do not tell neighbouring counts apart."""


class Poisson(Likelihood):
    """Experts for counts.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Poisson
    >>> family = Poisson()
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.mean(**parameters)  # (K, N)
    tensor([[1.0000],
            [7.3891]])
    """

    family = "poisson"

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the log rate, (K, N); mixing experts off the corners mixes log rates."""
        return {"log_rate": outputs[..., 0]}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Poisson(exp(log_rate))."""
        return dist.Poisson(parameters["log_rate"].exp())

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return log(1 + y), (N, 1): counts span orders of magnitude."""
        return y.log1p()[:, None]

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the same law, with its distribution function."""
        law: TorchDistribution = _Poisson(parameters["log_rate"].exp())  # type: ignore[no-untyped-call]
        return [law]


class _Poisson(dist.Poisson):
    """A Poisson that has its distribution function."""

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        return poisson_cdf(value, self.rate)


def poisson_cdf(value: Tensor, rate: Tensor) -> Tensor:
    """Return P(Y <= value) of a Poisson, (...)."""
    at = upper_gamma(value.clamp(0, LARGEST_COUNT).floor() + 1, rate)
    return torch.where(value < 0, 0.0, at)
