r"""Ordinal: C ordered classes, by cumulative logits (McCullagh, 1980).

    p(y <= j | x) = sigmoid(c_j - eta),    c_1 < ... < c_{C-1},    j = 1..C-1

eta is the expert's first output: the larger it is, the higher the class. The cutpoints c are
learned for each expert, through the C - 2 gaps between them. Their mean is 0: moving all of them
would be the same as moving the expert's intercept, which is thus the only one. They start where all
classes are equally probable at eta = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, of_experts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyro.distributions import TorchDistribution

SMALLEST_GAP = 1e-4
"""Keeps the log probability of a class finite, in logits."""


class Ordinal(Likelihood):
    """Experts for one of `num_classes` ordered classes, C; cutpoints for each expert.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Ordinal
    >>> family = Ordinal(num_experts=2, num_classes=3)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.mean(**parameters)[:, 0].detach()  # p(y = c | z = k, x) of the first row, (K, C)
    tensor([[0.3333, 0.3333, 0.3333],
            [0.0634, 0.1496, 0.7870]])
    """

    family = "ordinal"
    arguments = ("num_experts", "num_classes")

    def __init__(self, num_experts: int, num_classes: int) -> None:
        super().__init__()
        self.encoded = num_classes
        equal = torch.arange(1, num_classes) / num_classes
        gaps = (equal.logit().diff() - SMALLEST_GAP).log()
        self.log_gap = nn.Parameter(gaps.expand(num_experts, 1, num_classes - 2).clone())

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return eta, (K, N), and cutpoints, (K, N, C - 1); off the corners both are mixed."""
        location = outputs[..., 0]
        cutpoints = of_experts(self._cutpoints(), z)
        return {
            "location": location,
            "cutpoints": cutpoints.expand(location.shape + cutpoints.shape[-1:]),
        }

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the law of the classes 0..C-1."""
        return dist.Categorical(logits=log_probabilities(**parameters))

    def mean(self, **parameters: Tensor) -> Tensor:
        """Return the class probabilities, (..., C)."""
        return log_probabilities(**parameters).exp()

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the classes one-hot, (N, C)."""
        classes = torch.arange(self.encoded, device=y.device)
        return (y.long()[:, None] == classes).to(torch.get_default_dtype())

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return the cutpoints, (K, C - 1)."""
        return {"cutpoints": self._cutpoints()[:, 0]}

    def _cutpoints(self) -> Tensor:
        """Return the cutpoints, (K, 1, C - 1)."""
        gaps = self.log_gap.exp() + SMALLEST_GAP
        raw = pad(gaps.cumsum(-1), (1, 0))
        return raw - raw.mean(-1, keepdim=True)


def log_probabilities(location: Tensor, cutpoints: Tensor) -> Tensor:
    """Return the log probability of each class, (..., C).

    Uses sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), which has no difference
    of nearly equal numbers in the tails.
    """
    below = cutpoints - location[..., None]  # (..., C - 1)
    between = (-torch.expm1(-cutpoints.diff())).log()
    return pad(logsigmoid(below), (0, 1)) + pad(logsigmoid(-below), (1, 0)) + pad(between, (1, 1))
