r"""Score function, without a baseline.

    f    = log p(y, z) - log q(z),    z ~ q
    grad = f grad log q(z) + grad f

Averaged over S draws. Unbiased; S evaluations of the joint. The variance grows with the level of
the log-likelihood. Williams (1992).
"""

from __future__ import annotations

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

    num_samples: int = 1

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    score = f.detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    return (f + score).mean(0), state


TREATMENT = Treatment(
    "reinforce",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
)
