r"""Importance-weighted bound with the optimal control variate (OVIS).

    L    = log 1/S sum_s w_s,    v_s = w_s / sum_r w_r,    z_s ~ q
    c_s  = the mean of L - v_s when z_s is drawn anew, over A auxiliary draws (q the gate: of L)
    grad = sum_s (L - c_s) grad log q(z_s) + sum_s v_s grad log w_s

Unbiased for the bound, since c_s does not depend on z_s; S + A evaluations of the joint. Liévin,
Dittadi, Christensen and Winther (2020), equation 12.
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
    """S, the number of draws for each datum, and A, that of the auxiliary ones."""

    num_samples: int = 8
    num_auxiliary: int = 4

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, got {self.num_samples}")
        if self.num_auxiliary < 1:
            raise ValueError(f"num_auxiliary must be at least 1, got {self.num_auxiliary}")


def control(log_w: torch.Tensor, auxiliary: torch.Tensor, shared: bool) -> torch.Tensor:
    """Return c_s, (S, N), from the log weights of the draws, (S, N), and of others, (A, N).

    Args:
        log_w: of the draws.
        auxiliary: of the auxiliary draws.
        shared: whether q is the gate, so that v_s grad log w_s holds no gradient of log q.
    """
    diagonal = torch.eye(len(log_w), dtype=torch.bool, device=log_w.device)[..., None]
    others = torch.where(diagonal, -torch.inf, log_w).logsumexp(1)  # (S, N)
    total = torch.logaddexp(others, auxiliary[:, None])  # (A, S, N)
    bound = total - math.log(len(log_w))
    return (bound if shared else bound - (auxiliary[:, None] - total).exp()).mean(0)


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the importance-weighted bound; logits are (N, K)."""
    z = noise.categorical(logits, config.num_samples + config.num_auxiliary)  # (S + A, N)
    log_q = log_prob(logits, z)
    log_w = log_joint(z) - log_q
    log_w, auxiliary = log_w[: config.num_samples], log_w[config.num_samples :]
    log_q = log_q[: config.num_samples]
    bound = log_w.logsumexp(0) - math.log(config.num_samples)
    signal = (bound - control(log_w, auxiliary, log_joint.log_prior is logits)).detach()
    score = (signal * (log_q - log_q.detach())).sum(0)  # zero in value, not in gradient
    return bound + score, state


TREATMENT = Treatment(
    "ovis",
    Config,
    objective,
    objectives=("iwae",),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples + config.num_auxiliary,
)
