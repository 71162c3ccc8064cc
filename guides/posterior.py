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

    >>> import torch
    >>> from pyromoe.guides import PosteriorGuide
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> guide = PosteriorGuide(model)
    >>> guide.logits(x, y, None, {}).shape  # log p(z = k | y, x), (N, K)
    torch.Size([5, 3])
    """

    objective = "elbo"

    @torch.no_grad()
    def logits(self, x: Tensor, y: Tensor | None, size: int | None, weights: Weights) -> Tensor:
        """Return log p(z | y, x), (N, K)."""
        joint = log_joint(self.model[0], x, y, size, weights=weights).enumerate()
        return joint.log_softmax(0).T
