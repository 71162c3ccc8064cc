"""A model and the guide of its weights as one function of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyromoe.models import log_joint

if TYPE_CHECKING:
    from pyromoe.guides import WeightedGuide
    from pyromoe.models import MixtureOfExperts


class Joint(nn.Module):
    """A model and the guide of its weights as a function of rows."""

    def __init__(self, model: MixtureOfExperts, guide: WeightedGuide) -> None:
        super().__init__()
        self.model, self.guide = model, guide

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log p(y, z = k | x), (K, N), the gate, (N, K), the scale and the log prior."""
        weights = self.guide.weights
        joint = log_joint(self.model, x, y, weights=weights.values())
        enumerated = joint.enumerate()
        scale = torch.as_tensor(joint.scale, dtype=enumerated.dtype)
        of_weights = joint.log_prior_of_weights - sum(weights.log_density().values())
        prior = torch.as_tensor(of_weights, dtype=enumerated.dtype)
        return enumerated, joint.log_prior, scale, prior
