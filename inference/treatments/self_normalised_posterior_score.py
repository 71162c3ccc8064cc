r"""Draws from the gate, weighted into draws from the posterior.

    z_s  ~ p(z | x),    w_s = p(y | z_s, x), normalised for each datum
    grad = sum_s w_s grad (log p(z_s | x) + log p(y | z_s, x))

Fisher's identity with the responsibilities replaced by importance weights. Biased by O(1 / S) for
log p(y | x); with one draw the gate's gradient would have mean 0. S evaluations of the likelihood,
and no guide. Self-normalised importance sampling: Owen (2013), chapter 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import log_prob
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum."""

    num_samples: int = 8

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return log 1/S sum_s p(y | z_s, x), which is too low on average; logits is None."""
    gate = log_joint.log_prior  # (N, K)
    z = noise.categorical(gate, config.num_samples)  # (S, N)
    log_w = log_joint.likelihood(z)
    bound = log_w.logsumexp(0) - math.log(config.num_samples)
    log_p = log_prob(gate, z)
    chosen = (log_w.softmax(0).detach() * (log_p - log_p.detach())).sum(0)
    return bound + chosen, state


TREATMENT = Treatment(
    "self_normalised_posterior_score",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: config.num_samples,
    exact_value=False,
)
