r"""Noisy top-k gating with balanced importance and load, beside a likelihood.

    h    = log p + sigma e,    e ~ Normal(0, 1),    T = the c largest of h
    w    = softmax of h over T
    grad = grad log sum_{k in T} w_k p(y | z = k, x) - N lambda grad (CV^2(sum w) + CV^2(load))

The router of sparsely gated networks; load_k sums the probability that expert k is kept, CV is the
coefficient of variation over the experts. Not an estimate of log p(y | x): the choice of T has no
gradient, and the balance is part of what is optimised. c evaluations. Shazeer et al. (2017), with a
fixed sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import log_softmax

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """c, experts kept for each datum; sigma, of the noise; lambda, the weight of the balance."""

    num_evaluated: int = 2
    standard_deviation: float = 0.1
    balance: float = 0.01

    def __post_init__(self) -> None:
        if self.num_evaluated < 1:
            raise ValueError(f"num_evaluated must be at least 1, got {self.num_evaluated}")
        for name in ("standard_deviation", "balance"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")


def load(gate: torch.Tensor, h: torch.Tensor, kept: int, sigma: float) -> torch.Tensor:
    """Return the probability, (N, K), that other noise on one expert alone would keep it."""
    if kept >= h.shape[-1]:
        return torch.ones_like(h)
    highest = h.detach().topk(kept + 1, -1).values
    inside = h.detach() >= highest[:, kept - 1 : kept]
    needed = torch.where(inside, highest[:, kept:], highest[:, kept - 1 : kept])
    certain = needed == -torch.inf
    margin = gate - torch.where(certain, 0.0, needed)
    return torch.where(certain, 1.0, torch.special.ndtr(margin / sigma))


def squared_variation(use: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
    """Return CV^2 over the experts, a scalar, of the use of each, (K,)."""
    use, number = torch.where(possible, use, 0.0), possible.sum()
    mean = use.sum() / number
    return torch.where(possible, use - mean, 0.0).square().sum() / number / mean.square()


def objective(
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return the log-likelihood of the kept experts less the penalty; logits is None."""
    gate = log_joint.log_prior  # (N, K)
    kept = min(config.num_evaluated, gate.shape[-1])
    h = gate + config.standard_deviation * noise.normal(gate, 1)[0]
    values, z = h.topk(kept, -1)
    log_w = log_softmax(values)
    value = (log_joint.likelihood(z.T) + log_w.T).logsumexp(0)
    importance = torch.zeros_like(gate).scatter(-1, z, log_w.exp()).sum(0)
    possible = (gate > -torch.inf).any(0)
    chances = load(gate, h, kept, config.standard_deviation).sum(0)
    penalty = squared_variation(importance, possible) + squared_variation(chances, possible)
    return value - config.balance * penalty, state


TREATMENT = Treatment(
    "noisy_top_k",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: min(config.num_evaluated, k),
    exact_value=False,
)
