"""q(z | x, y) = p(z | x): the gate itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
from pyro.nn import PyroModule

from pyromoe.models import latent_logits
from pyromoe.models.categorical import Categorical

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models.trace import Program, Weights


class PriorGuide(PyroModule):
    """The gate as guide; the ELBO under it is the Jensen bound sum_k p_k log p(y | z = k, x).

    Args:
        model: a program whose latent site is "z"; it is shared, not owned.

    >>> import torch
    >>> from pyromoe.guides import PriorGuide
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> guide = PriorGuide(model)
    >>> guide.objective, guide(x, y).shape  # z, (N,)
    ('jensen', torch.Size([5]))
    """

    objective = "jensen"

    def __init__(self, model: Program) -> None:
        super().__init__()
        self.model = (model,)  # in a tuple, so that its parameters are not counted twice

    def logits(self, x: Tensor, y: Tensor | None, size: int | None, weights: Weights) -> Tensor:
        """Return log q(z | x, y), (N, K), at x, (N, D), and y, (N,)."""
        return latent_logits(self.model[0], x, y, size, weights=weights)

    def forward(
        self,
        x: Tensor,
        y: Tensor | None = None,
        size: int | None = None,
        weights: Weights | None = None,
    ) -> Tensor:
        """Draw z, (N,), at x, (N, D), and y, (N,), given the values of the model's weights."""
        logits = self.logits(x, y, size, weights or {})
        with pyro.plate("data", size or len(x), subsample=x if size else None, dim=-1):
            z: Tensor = pyro.sample("z", Categorical(logits))
        return z
