r"""Score function with a leave-one-out baseline.

    f_s  = log p(y, z_s) - log q(z_s),    z_s ~ q,    s = 1..S
    grad = 1/S sum_s (f_s - mean_{r != s} f_r) grad log q(z_s) + grad f_s

Unbiased; S evaluations of the joint. Kool, van Hoof and Welling (2019).
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

    num_samples: int = 2

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"leave-one-out needs num_samples >= 2, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    others = (f.sum(0) - f) / (config.num_samples - 1)
    score = (f - others).detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    return (f + score).mean(0), state


TREATMENT = Treatment(
    "leave_one_out",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
)
