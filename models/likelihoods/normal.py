"""Normal(loc, scale^2): the mean from the expert, a scale for each expert or one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch

from pyromoe.models.likelihoods.likelihood import NONE, LocationScale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Normal(LocationScale):
    """Normal experts.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Normal
    >>> family = Normal(num_experts=2, scale="shared")
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.distribution(**parameters).mean  # of y on its encoded scale, (K, N)
    tensor([[0.],
            [2.]])
    """

    family = "normal"

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return loc and scale, (K, N); mixing experts off the corners mixes both."""
        return self.loc_and_scale(outputs, z)

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Normal(loc, scale^2)."""
        return dist.Normal(parameters["loc"], parameters["scale"])

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the same law, with a distribution function that keeps its digits in the tail."""
        return [NormalLaw(parameters["loc"], parameters["scale"])]


class NormalLaw(dist.Normal):
    """A normal whose distribution function keeps its digits in the lower tail."""

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        below: Tensor = torch.special.ndtr((value - self.loc) / self.scale)
        return below
