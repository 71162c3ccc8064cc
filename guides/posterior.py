"""q(z | x, y) = p(z | y, x): the responsibilities, held fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyromoe.guides.prior import PriorGuide
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models.trace import Weights


class PosteriorGuide(PriorGuide):
    """The exact posterior of z as guide, detached.

    The ELBO under it equals log p(y | x), and so does its gradient (Fisher's identity).
    """

    objective = "elbo"

    @torch.no_grad()
    def logits(self, x: Tensor, y: Tensor | None, size: int | None, weights: Weights) -> Tensor:
        """Return log p(z | y, x), (N, K)."""
        joint = log_joint(self.model[0], x, y, size, weights=weights).enumerate()
        return joint.log_softmax(0).T
