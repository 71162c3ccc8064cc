r"""Angles between a projection of the predictors and a direction for each expert.

    log p(z = k | x) = s cos(W x + b, e_k) + constant,    s = 100 sigmoid(r)

The length of x does not matter once it is large, and the logits stay within s, which is learned
and below 100; it starts at 5. Chi et al. (2022), who clip log s where this bends it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from pyro.nn import PyroSample
from torch import Tensor, nn

from pyromoe.models.gates.gate import Gate
from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from pyromoe.models.priors import Kind

LARGEST = 100.0
FIRST_LOGIT = math.log(5 / 95)


class Cosine(Gate):
    """A projection, K directions and a scale.

    Args:
        inputs: D.
        num_experts: K.
        generator: where the first values are drawn from.
        dimensions: E, the width of the projection.

    >>> import torch
    >>> from pyromoe.models.gates import Cosine
    >>> gate = Cosine(inputs=2, num_experts=3, dimensions=4)
    >>> bool((gate(torch.randn(5, 2)).abs() <= 5.001).all())  # the scale at first
    True
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        dimensions: int = 8,
    ) -> None:
        super().__init__()
        self.projection = Networks(1, [inputs, dimensions], generator=generator)
        value = torch.empty(num_experts, dimensions).normal_(generator=generator)
        self.directions = nn.Parameter(value)
        self.scale_logit = nn.Parameter(torch.tensor(FIRST_LOGIT))

    def forward(self, x: Tensor) -> Tensor:
        """Return s times the cosines, (N, K)."""
        unit = nn.functional.normalize
        cosines = unit(self.projection(x)[0], dim=-1) @ unit(self.directions, dim=-1).T
        return LARGEST * self.scale_logit.reshape(()).sigmoid() * cosines

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make the logit of the scale a latent site: Normal(its first value, scale^2).

        Lengths of projection and directions change nothing, and a prior on them would only shrink
        them to where the gradient is noise: directions are uniform.
        """
        start = self.scale_logit.detach().clone()
        first = torch.full_like(start, FIRST_LOGIT)
        del self.scale_logit
        setattr(self, "scale_logit", PyroSample(dist.Normal(first, scale)))  # noqa: B010
        return {"scale_logit": start}
