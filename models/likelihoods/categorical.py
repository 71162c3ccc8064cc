"""Categorical over C classes: a logit for each class from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyromoe.models import categorical
from pyromoe.models.likelihoods.likelihood import NONE, Likelihood
from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Categorical(Likelihood):
    """Experts for one of `num_classes` classes, C.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Categorical
    >>> family = Categorical(num_classes=2)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]]]))
    >>> family.mean(**parameters)[:, 0].detach()  # p(y = c | z = k, x) of the first row, (K, C)
    tensor([[0.5000, 0.5000],
            [0.1192, 0.8808]])
    """

    family = "categorical"
    arguments = ("num_classes",)
    redundant = 1
    offset_places = ()  # the same number for every class changes nothing

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.outputs = self.encoded = num_classes

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the logits, (K, N, C); what is added to all classes cancels, mixed or not."""
        return {"logits": outputs}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Categorical(softmax(logits))."""
        return Classes(parameters["logits"])

    def mean(self, **parameters: Tensor) -> Tensor:
        """Return the class probabilities, (..., C)."""
        return softmax(parameters["logits"])

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the classes one-hot, (N, C)."""
        return _is_class(y, self.encoded).to(torch.get_default_dtype())


class Classes(categorical.Categorical):
    """Its density by comparison: a gather's gradient is a slow scatter."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of classes, nats."""
        is_class = _is_class(value, self.logits.shape[-1])
        log_probability: Tensor = torch.where(is_class, self.logits, 0.0).sum(-1)
        return log_probability


def _is_class(y: Tensor, number: int) -> Tensor:
    """Return whether each datum is in each class, (..., C)."""
    # Not torch's one_hot: it looks at the values, which a captured graph cannot.
    return y.long()[..., None] == torch.arange(number, device=y.device)
