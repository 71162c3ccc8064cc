r"""Score function with one draw from each stratum of q.

    z_s  = F^-1((s + u_s) / S),    u_s ~ Uniform(0, 1),    s = 0..S-1
    grad = 1/S sum_s (f_s - b) grad log q(z_s) + grad f_s

F is the distribution function of q over the experts, the most probable first, and b a running mean
of past f, as in `reinforce_decaying_baseline`. Unbiased, since the S strata together are q; S
evaluations of the joint. Stratified sampling: Cochran (1977), chapter 5; Owen (2013), chapter 8.
"""

from __future__ import annotations

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
    """S, the number of draws for each datum, and how slowly the baseline follows."""

    num_samples: int = 4
    decay: float = 0.9

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")


def strata(logits: torch.Tensor, number: int) -> torch.Tensor:
    """Return the log probabilities of the experts in each stratum, (S, N, K)."""
    q, order = logits.exp().sort(-1, descending=True)
    high = q.cumsum(-1)
    edges = torch.arange(number + 1, dtype=q.dtype, device=q.device)[:, None, None] / number
    overlap = torch.minimum(high, edges[1:]) - torch.maximum(high - q, edges[:-1])
    by_rank = (number * overlap.clamp_min(0)).log()
    return by_rank.new_empty(by_rank.shape).scatter(-1, order.expand_as(by_rank), by_rank)


def init(config: Config, log_joint: LogJoint, logits: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return the weighted sum of past f and of the weights, (2,), both 0."""
    return logits.new_zeros(2)


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: torch.Tensor, noise: Noise
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an estimate of the ELBO and the next state; logits are (N, K)."""
    baseline = state[0] / state[1].clamp_min(1 - config.decay)
    within = strata(logits.detach(), config.num_samples)
    z = noise.categorical(within.flatten(0, 1), 1).reshape(within.shape[:-1])  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    score = (f - baseline).detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    seen = torch.stack([f.detach().mean(), torch.ones_like(baseline)])
    return (f + score).mean(0), torch.lerp(seen, state, config.decay)


TREATMENT = Treatment(
    "stratified",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
