"""Bernoulli: the log odds of y = 1 from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Bernoulli(Likelihood):
    """Experts for a response of 0 or 1.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Bernoulli
    >>> family = Bernoulli()
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.mean(**parameters)  # p(y = 1 | z = k, x), (K, N)
    tensor([[0.5000],
            [0.8808]])
    """

    family = "bernoulli"

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the log odds, (K, N)."""
        return {"logits": outputs[..., 0]}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(sigmoid(logits))."""
        bernoulli: TorchDistribution = dist.Bernoulli(logits=parameters["logits"])
        return bernoulli
