r"""Straight-through with logits moved, without noise, until the draw leads (GST).

    z    ~ q,    m moves log q_z up to the largest, and the others down to g below it
    grad = (d log p(y | z, x) / dz) grad softmax((log q + m) / t) - grad KL(q || p)

m is held fixed. Biased, with less variance than Gumbel noise; all K experts run, since the
derivative in z asks each of them. Fan, Chi, Sun and Wang (2022), with the constant gap g = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import kl_divergence
from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; g, the gap, in nats; S, draws for each datum."""

    temperature: float = 1.0
    gap: float = 1.0
    num_samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if not 0 <= self.gap < float("inf"):
            raise ValueError(f"gap must be at least 0 and finite, got {self.gap}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")


def moved(log_q: torch.Tensor, corners: torch.Tensor, gap: float) -> torch.Tensor:
    """Return m, (S, N, K), for corners of the simplex, (S, N, K)."""
    largest = log_q.amax(-1, keepdim=True)
    up = corners * (largest - log_q).nan_to_num(posinf=0.0)
    down = (1 - corners) * (log_q + gap - largest).clamp_min(0)
    return up - down


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    hard = one_hot(z, logits.shape[-1], logits)
    m = moved(logits.detach(), hard, config.gap)
    soft = softmax((logits + m) / config.temperature)  # (S, N, K)
    f = log_joint.likelihood(hard + (soft - soft.detach()))
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "gapped_straight_through",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
