"""Normal(loc, scale^2): the mean from the expert, a scale for each expert or one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist

from pyromoe.models.likelihoods.likelihood import NONE, LocationScale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Normal(LocationScale):
    """Normal experts."""

    family = "normal"

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return loc and scale, (K, N); mixing experts off the corners mixes both."""
        return self.loc_and_scale(outputs, z)

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Normal(loc, scale^2)."""
        return dist.Normal(parameters["loc"], parameters["scale"])
