r"""Score function with a running mean as baseline.

    f    = log p(y, z) - log q(z),    z ~ q
    grad = (f - b) grad log q(z) + grad f
    b   <- decay b + (1 - decay) mean f, over the batch, divided by the weights' sum

Unbiased, since b is fixed before z is drawn, and a number, so that a batch may have any size;
S evaluations of the joint. Williams (1992); the correction for the start is Adam's.
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

    num_samples: int = 1
    decay: float = 0.9

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")


def init(config: Config, log_joint: LogJoint, logits: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return the weighted sum of past f and of the weights, (2,), both 0."""
    return logits.new_zeros(2)


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: torch.Tensor, noise: Noise
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an estimate of the ELBO and the next state; logits are (N, K)."""
    baseline = state[0] / state[1].clamp_min(1 - config.decay)
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    score = (f - baseline).detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    seen = torch.stack([f.detach().mean(), torch.ones_like(baseline)])
    return (f + score).mean(0), torch.lerp(seen, state, config.decay)


TREATMENT = Treatment(
    "reinforce_decaying_baseline",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
