"""Poisson: the log rate from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Poisson(Likelihood):
    """Experts for counts."""

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
