r"""q(weights): normal around the mode, with the curvature there.

    q(v) = Normal(v*, H^-1),    H = -d^2/dv^2 log p(y, v | x)  at the mode v*

v are the weights as one vector, scales by their logarithm. While it is trained this guide is a
point whose density takes the Jacobian of the scales into account, so that v* is the mode in v.
MacKay (1992); Tierney and Kadane (1986).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyromoe.guides.gaussian import log_normal
from pyromoe.guides.point import PointGuide

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyromoe.guides.noise import Noise


class LaplaceGuide(PointGuide):
    """A point, until its curvature is known.

    Args:
        values: where each site starts, by the site's name.
        positive: the sites that are above 0.

    Attributes:
        root: a matrix, (P, P), whose product with its transpose is the covariance; zeros at first.

    >>> import torch
    >>> from pyromoe.guides import LaplaceGuide, Seeded
    >>> guide = LaplaceGuide({"w": torch.zeros(3)})
    >>> _ = guide.root.copy_(torch.eye(3))
    >>> v, log_q = guide.draws(Seeded(0), 5)
    >>> v.shape, log_q.shape  # (S, P) and (S,)
    (torch.Size([5, 3]), torch.Size([5]))
    """

    spread = True
    of_vector = True

    def __init__(self, values: dict[str, Tensor], positive: Collection[str] = ()) -> None:
        super().__init__(values, positive)
        size = sum(value.numel() for value in values.values())
        like = next(iter(values.values()))
        self.register_buffer("root", like.new_zeros(size, size))

    def stored(self) -> dict[str, Tensor]:
        """Return what belongs to a fit beside the mode."""
        return {"guide.weights.root": self.root}

    @torch.no_grad()
    def draws(self, noise: Noise, number: int) -> tuple[Tensor, Tensor]:
        """Return draws of the vector v, (S, P), and their log q(v), (S,), nats."""
        mode = self.vector()
        e = noise.normal(mode, number)
        log_det = torch.linalg.slogdet(self.root)[1]
        return mode + e @ self.root.mT, log_normal(e) - log_det
