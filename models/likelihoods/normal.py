"""Normal(loc, scale^2): the mean from the expert, a scale for each expert or one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyromoe.models.likelihoods.likelihood import Likelihood

if TYPE_CHECKING:
    from pyro.distributions import TorchDistribution

SMALLEST_SCALE = 1e-4
"""Keeps the density bounded when an expert sits on a single row; in units of the response."""


class Normal(Likelihood):
    """Normal experts.

    Args:
        num_experts: K.
        scale: "per_expert" or "shared".
    """

    family = "normal"

    def __init__(
        self, num_experts: int, scale: Literal["per_expert", "shared"] = "per_expert"
    ) -> None:
        super().__init__()
        self.outputs = 1
        self.log_scale = nn.Parameter(torch.zeros(num_experts if scale == "per_expert" else 1, 1))

    def parameters_of(self, outputs: Tensor, z: Tensor | None = None) -> dict[str, Tensor]:
        """Return loc and scale, (K, N), or (..., N) of the chosen experts z."""
        loc, scale = outputs[..., 0], self.log_scale.exp() + SMALLEST_SCALE
        if z is not None and len(scale) > 1:
            scale = scale[:, 0].index_select(0, z.flatten()).reshape(z.shape)
        return {"loc": loc, "scale": scale.expand_as(loc)}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Normal(loc, scale^2)."""
        return dist.Normal(parameters["loc"], parameters["scale"])
