r"""The most probable experts summed out, the rest sampled.

    T    = the c most probable experts,    z ~ q given not in T,    w = 1 - q(T)
    grad = sum_{k in T} q_k (f_k - b) grad log q_k + w (f_z - b) grad log q_z + the same of grad f

b, the mean of f over T, does not depend on z. Unbiased, and exact where T is everything; c + 1
evaluations of the joint. Liu, Regier, Tripuraneni, Jordan and McAuliffe (2019), who have no b.
"""

from __future__ import annotations

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
    """c, the number of experts summed out, and which baseline: the mean over these, or none."""

    num_exact: int = 1
    baseline: Literal["exact", "none"] = "exact"

    def __post_init__(self) -> None:
        if self.num_exact < 1:
            raise ValueError(f"num_exact must be at least 1, got {self.num_exact}")
        if self.baseline not in ("exact", "none"):
            raise ValueError(f"baseline must be 'exact' or 'none', got {self.baseline!r}")


def choose(logits: torch.Tensor, num_exact: int, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the experts to evaluate, (C, N), the exact ones first, and their weights, (C, N)."""
    log_top, top = logits.topk(min(num_exact, logits.shape[-1]), -1)
    z, weight = top.T, log_top.exp().T
    if num_exact < logits.shape[-1]:
        tail = logits.scatter(-1, top, -torch.inf)
        mass = tail.exp().sum(-1)
        tail = torch.where(mass[:, None] > 0, tail, 0.0)  # any law will do for a weight of 0
        z = torch.cat([z, noise.categorical(tail, 1)])
        weight = torch.cat([weight, mass[None]])
    return torch.where(weight > 0, z, z[:1]), weight


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    z, weight = choose(logits.detach(), config.num_exact, noise)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    exact = slice(config.num_exact)
    baseline = (weight[exact] * f[exact]).sum(0) / weight[exact].sum(0)
    if config.baseline == "none":
        baseline = torch.zeros_like(baseline)
    score = (f - baseline).detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    return weight * (f + score), state


TREATMENT = Treatment(
    "sum_and_sample",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: min(config.num_exact + 1, k),
)
