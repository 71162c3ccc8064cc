"""q(weights) = a point: maximum a posteriori."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class PointGuide(PyroModule):
    """A Delta distribution for each latent weight.

    Args:
        values: where each site starts, by the site's name.
    """

    def __init__(self, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = list(values)
        # A parameter's name may not hold a dot, a site's does.
        for i, value in enumerate(values.values()):
            setattr(self, f"point_{i}", nn.Parameter(value.clone()))

    def values(self) -> dict[str, Tensor]:
        """Return the points, by the site's name."""
        return {name: getattr(self, f"point_{i}") for i, name in enumerate(self.names)}

    def forward(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {
            name: pyro.sample(name, dist.Delta(value, event_dim=value.dim()))
            for name, value in self.values().items()
        }
