r"""The favoured expert alone, with a balancing loss (Switch), beside a likelihood.

    z    = argmax_k p(z = k | x),    F_k = share of the data with z = k,    P_k = mean p(z = k | x)
    grad = grad log p(z | x) p(y | z, x) - N lambda grad (K sum_k F_k P_k - 1)

The router of Switch transformers. Not an estimate of log p(y | x): the gate learns to favour what
it favours already, held back by the balance alone. One evaluation. Fedus, Zoph and Shazeer (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import one_hot
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """lambda, the weight of the balance."""

    balance: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.balance < float("inf"):
            raise ValueError(f"balance must be positive and finite, got {self.balance}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return log p(y, z | x) of the favoured expert less the penalty; logits is None."""
    gate = log_joint.log_prior  # (N, K)
    log_p, z = gate.max(-1)
    value = log_joint.likelihood(z[None])[0] + log_p
    share = one_hot(z[None], gate.shape[-1], gate)[0].mean(0)
    number = (gate > -torch.inf).any(0).sum()
    penalty = number * (share * gate.exp().mean(0)).sum() - 1
    return value - config.balance * penalty, state


TREATMENT = Treatment(
    "switch",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: 1,
    exact_value=False,
)
