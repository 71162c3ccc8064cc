"""q(weights) = a point: maximum a posteriori."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from pyromoe.guides.noise import Noise


class PointGuide(PyroModule):
    """A Delta distribution for each latent weight.

    Args:
        values: where each site starts, by the site's name.
        positive: the sites that are above 0; what is trained is their logarithm.

    >>> import torch
    >>> from pyromoe.guides import PointGuide
    >>> guide = PointGuide({"w": torch.zeros(2, 3), "scale": torch.ones(2)}, positive=["scale"])
    >>> guide()["scale"].tolist(), guide.vector().shape  # (P,)
    ([1.0, 1.0], torch.Size([8]))
    """

    spread = False
    """Whether draws differ from each other."""
    chains = 1
    """Draws come in so many runs of one length."""
    of_vector = False
    """Whether the mode is that of the vector of logarithms, which curvature and samplers need."""

    def __init__(self, values: dict[str, Tensor], positive: Collection[str] = ()) -> None:
        super().__init__()
        self.names, self.positive = list(values), frozenset(positive)
        # A parameter's name may not hold a dot, a site's does.
        for i, (name, value) in enumerate(values.items()):
            start = value.log() if name in self.positive else value.clone()
            setattr(self, f"point_{i}", nn.Parameter(start))

    def tensors(self) -> dict[str, Tensor]:
        """Return what is trained, by the site's name; logarithms of what is above 0."""
        return {name: getattr(self, f"point_{i}") for i, name in enumerate(self.names)}

    def stored(self) -> dict[str, Tensor]:
        """Return what belongs to a fit beside the points, by name."""
        return {}

    def values(self) -> dict[str, Tensor]:
        """Return the points, by the site's name."""
        return {n: v.exp() if n in self.positive else v for n, v in self.tensors().items()}

    def weights_at(self, v: Tensor) -> dict[str, Tensor]:
        """Return the weights, by the site's name, at all of them as one vector, (P,).

        Args:
            v: with the logarithms of the sites that are above 0.
        """
        known = self.tensors()
        parts = v.split([known[name].numel() for name in self.names])
        shaped = {n: p.view_as(known[n]) for n, p in zip(self.names, parts, strict=True)}
        return {n: p.exp() if n in self.positive else p for n, p in shaped.items()}

    def vector(self) -> Tensor:
        """Return the point as one vector, (P,)."""
        known = self.tensors()
        if not known:
            return torch.zeros(0)
        return torch.cat([known[n].detach().reshape(-1) for n in self.names])

    def draws(self, noise: Noise, number: int) -> tuple[Tensor, Tensor]:
        """Return the point as the one draw there is, (1, P), and 0 as its log density, (1,)."""
        v = self.vector()
        return v[None], v.new_zeros(1)

    def log_density(self) -> dict[str, Tensor]:
        """Return log q of the points, a scalar by the site's name: where it is not 0."""
        if not self.of_vector:
            return {}
        return {name: -v.sum() for name, v in self.tensors().items() if name in self.positive}

    def forward(self) -> dict[str, Tensor]:
        """Return the weights."""
        found, of = {}, self.log_density()
        for name, value in self.values().items():
            law = dist.Delta(value, log_density=of.get(name, 0.0), event_dim=value.dim())
            found[name] = pyro.sample(name, law)
        return found
