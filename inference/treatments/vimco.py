r"""Importance-weighted bound with leave-one-out baselines (VIMCO).

    L    = log 1/S sum_s w_s,    w_s = p(y, z_s) / q(z_s),    z_s ~ q
    grad = sum_s (L - L_-s) grad log q(z_s) + sum_s w_s / sum_r w_r grad log w_s

L_-s is L with w_s replaced by a mean of the others: arithmetic, of lower variance, or geometric, as
published; for S = 2 they are one. Unbiased for the bound, whose distance from log p(y | x) falls as
1 / S; S evaluations of the joint. Mnih and Rezende (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pyromoe.guides import log_prob
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum, and which mean of the others."""

    num_samples: int = 8
    mean: Literal["arithmetic", "geometric"] = "arithmetic"

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"leave-one-out needs num_samples >= 2, got {self.num_samples}")
        if self.mean not in ("arithmetic", "geometric"):
            raise ValueError(f"mean must be 'arithmetic' or 'geometric', got {self.mean!r}")


def without_each(log_w: torch.Tensor, mean: str) -> torch.Tensor:
    """Return L_-s, (S, N), for log weights, (S, N): sums of the others, never a difference."""
    number = len(log_w)
    diagonal = torch.eye(number, dtype=torch.bool, device=log_w.device)[..., None]
    if mean == "arithmetic":
        return torch.where(diagonal, -torch.inf, log_w).logsumexp(1) - math.log(number - 1)
    others = torch.where(diagonal, 0.0, log_w).sum(1, keepdim=True) / (number - 1)
    return torch.where(diagonal, others, log_w).logsumexp(1) - math.log(number)


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the importance-weighted bound; logits are (N, K)."""
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    log_w = log_joint(z) - log_q
    bound = log_w.logsumexp(0) - math.log(config.num_samples)
    signal = (bound - without_each(log_w, config.mean)).detach()
    score = (signal * (log_q - log_q.detach())).sum(0)  # zero in value, not in gradient
    return bound + score, state


TREATMENT = Treatment(
    "vimco",
    Config,
    objective,
    objectives=("iwae",),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
)
