r"""Model and guide trained on importance-weighted draws (reweighted wake-sleep).

    z_s  ~ r = (1 - d) q + d uniform,    w_s = p(y, z_s) / r(z_s), normalised for each datum
    grad = sum_s w_s grad log p(y, z_s) + sum_s w_s grad log q(z_s)

The model follows the importance-weighted bound, the guide the inclusive divergence KL(p || q), so
that it covers the posterior. Biased by O(1 / S) for both, and for the bound, whose score term is
left out; S evaluations of the joint. d > 0 (a defensive mixture) keeps experts that q has given up
within reach. Bornschein and Bengio (2015); Le, Kosiorek, Siddharth, Teh and Wood (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum, and d, the share of the uniform distribution."""

    num_samples: int = 8
    defensive: float = 0.0

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, got {self.num_samples}")
        if not 0 <= self.defensive < 1:
            raise ValueError(f"defensive must be in [0, 1), got {self.defensive}")


def with_uniform(logits: torch.Tensor, share: float) -> torch.Tensor:
    """Return the logits of q mixed with the uniform distribution of the possible experts."""
    possible = logits > -torch.inf
    uniform = possible.to(logits) / possible.sum(-1, keepdim=True)
    return ((1 - share) * logits.exp() + share * uniform).log()


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the importance-weighted bound; logits are (N, K)."""
    proposal = with_uniform(logits.detach(), config.defensive)
    z = noise.categorical(proposal, config.num_samples)  # (S, N)
    log_w = log_joint(z) - log_prob(proposal, z)
    bound = log_w.logsumexp(0) - math.log(config.num_samples)
    log_q = log_prob(logits, z)
    wake = (log_w.softmax(0).detach() * (log_q - log_q.detach())).sum(0)
    return bound + wake, state


TREATMENT = Treatment(
    "reweighted_wake_sleep",
    Config,
    objective,
    objectives=("iwae",),
    unbiased=False,
    evaluations=lambda config, k: config.num_samples,
    needs_own_guide=True,
)
