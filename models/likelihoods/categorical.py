"""Categorical over C classes: a logit for each class from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Categorical(Likelihood):
    """Experts for one of `num_classes` classes, C."""

    family = "categorical"
    arguments = ("num_classes",)
    takes_offset = False  # the same number for every class changes nothing

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.outputs = self.encoded = num_classes

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the normalised logits, (K, N, C)."""
        return {"logits": outputs.log_softmax(-1)}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Categorical(softmax(logits))."""
        return dist.Categorical(logits=parameters["logits"])

    def mean(self, **parameters: Tensor) -> Tensor:
        """Return the class probabilities, (..., C)."""
        return parameters["logits"].softmax(-1)

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the classes one-hot, (N, C)."""
        # By comparison: torch's own looks at the values, which a captured graph cannot.
        classes = torch.arange(self.encoded, device=y.device)
        return (y.long()[:, None] == classes).to(torch.get_default_dtype())
