"""Binomial: y successes in n trials, the log odds of a success from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch

from pyromoe.models.incomplete_functions import incomplete_beta
from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Binomial(Likelihood):
    """Experts for successes among the trials of each row, which are extras.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Binomial
    >>> family, trials = Binomial(), {"trials": torch.tensor([5.0])}
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]), extras=trials)
    >>> family.mean(**parameters)  # (K, N)
    tensor([[2.5000],
            [4.4040]])
    """

    family = "binomial"
    required = ("trials",)

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return log odds and trials, (K, N); mixing experts off the corners mixes log odds."""
        logits = outputs[..., 0]
        return {"logits": logits, "trials": extras["trials"].expand_as(logits)}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return Binomial(trials, sigmoid(logits))."""
        # All experts have the same trials, but their weights need not add up to 1 to the last bit.
        binomial: TorchDistribution = dist.Binomial(
            parameters["trials"].round(), logits=parameters["logits"]
        )
        return binomial

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the log odds of the row itself, drawn in by half a row each way, (N, 1)."""
        return ((y + 0.5) / (extras["trials"] - y + 0.5)).log()[:, None]

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the same law, with its distribution function."""
        return [_Binomial(parameters["trials"].round(), logits=parameters["logits"])]


class _Binomial(dist.Binomial):
    """A binomial that has its distribution function."""

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        successes = value.clamp_min(0).floor().minimum(self.total_count)
        failures = self.total_count - successes
        at = incomplete_beta(
            failures, successes + 1, (-self.logits).sigmoid(), self.logits.sigmoid()
        )
        return torch.where(value < 0, 0.0, torch.where(failures == 0, 1.0, at))
