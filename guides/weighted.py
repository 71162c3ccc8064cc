"""The guide of a whole model: its weights first, then z given them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyro.nn import PyroModule

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.guides.gaussian import WeightGuide
    from pyromoe.guides.point import PointGuide
    from pyromoe.guides.prior import PriorGuide


class WeightedGuide(PyroModule):
    """q(weights) q(z | x, y, weights).

    Args:
        weights: the guide of the model's latent weights.
        latent: the guide of z; where it is None, z is left to be summed out.

    >>> import torch
    >>> from pyromoe.guides import PointGuide, WeightedGuide
    >>> guide = WeightedGuide(PointGuide({"w": torch.zeros(2, 3)}), latent=None)
    >>> guide.objective  # no guide of z: it is summed out
    'marginal'
    """

    def __init__(self, weights: PointGuide | WeightGuide, latent: PriorGuide | None) -> None:
        super().__init__()
        self.weights, self.latent = weights, latent
        self.objective = latent.objective if latent is not None else "marginal"

    def forward(self, x: Tensor, y: Tensor | None = None, size: int | None = None) -> Tensor | None:
        """Draw the weights, then z, (N,), at x, (N, D), and y, (N,)."""
        weights = self.weights()
        return None if self.latent is None else self.latent(x, y, size, weights)
