"""q(weights) = draws of the posterior itself, as a sampler has left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyromoe.guides.point import PointGuide
from pyromoe.models.trace import Draw

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyromoe.guides.noise import Noise
    from pyromoe.models.trace import Weights


class DrawnGuide(PointGuide):
    """A point, where a sampler starts, and what it has drawn.

    Args:
        values: where each site starts, by the site's name.
        positive: the sites that are above 0.
        chains: C.
        draws: S, of each chain.
        experts: K.

    Attributes:
        kept: the draws as vectors, (C, S, P); zeros at first.
        diverging: whether the sampler diverged on its way to each, (C, S).
        order: which expert of a draw is the expert k of the point, (C, S, K): k itself at first.

    >>> import torch
    >>> from pyromoe.guides import DrawnGuide, Seeded
    >>> guide = DrawnGuide({"w": torch.zeros(3)}, positive=[], chains=4, draws=50, experts=3)
    >>> guide.draws(Seeded(0), 1)[0].shape  # all of them, (C S, P)
    torch.Size([200, 3])
    """

    spread = True
    of_vector = True

    def __init__(
        self,
        values: dict[str, Tensor],
        positive: Collection[str],
        chains: int,
        draws: int,
        experts: int,
    ) -> None:
        super().__init__(values, positive)
        size = sum(value.numel() for value in values.values())
        like = next(iter(values.values()))
        self.chains = chains
        self.register_buffer("kept", like.new_zeros(chains, draws, size))
        self.register_buffer("diverging", torch.zeros(chains, draws, dtype=torch.bool))
        self.register_buffer("order", torch.arange(experts).repeat(chains, draws, 1))

    def stored(self) -> dict[str, Tensor]:
        """Return what belongs to a fit beside the point."""
        names = ("kept", "diverging", "order")
        return {f"guide.weights.{name}": getattr(self, name) for name in names}

    def draws(self, noise: Noise, number: int) -> tuple[Tensor, Tensor]:
        """Return all draws, (C S, P); their density is not known: NaN, (C S,)."""
        v = self.kept.flatten(0, 1)
        return v, v.new_full((len(v),), torch.nan)

    def numbered(self, draws: list[Weights]) -> list[Weights]:
        """Return all draws with the order of their experts."""
        orders = self.order.flatten(0, 1)
        return [Draw(one, order) for one, order in zip(draws, orders, strict=True)]
