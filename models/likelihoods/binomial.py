"""Binomial: y successes in n trials, the log odds of a success from the expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Binomial(Likelihood):
    """Experts for successes among the trials of each row, which are extras."""

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
