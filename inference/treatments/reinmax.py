r"""Straight-through of second order (ReinMax).

    z    ~ q, as a corner of the simplex,    m = (q + z) / 2
    grad = (d log p(y | z, x) / dz) (2 J_m - J_q / 2) - grad KL(q || p),    J_m = diag(m) - m m^T

J_m is the derivative of softmax at m. The mean is the trapezoid rule over each pair of experts:
exact for a likelihood quadratic in z, biased otherwise; all K experts run. Liu, Dong, Liu, Yu and
Gao (2023), at temperature 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import gradient_only, kl_divergence
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


def softmax_at(m: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return zeros, (S, N, K), with the derivative of softmax at m: diag(m) - m m^T."""
    moved, m = gradient_only(logits), m.detach()
    return m * (moved - (m * moved).sum(-1, keepdim=True))


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    q = logits.exp()
    z = one_hot(noise.categorical(logits, config.num_samples), logits.shape[-1], q)  # (S, N, K)
    middle = (q.detach() + z) / 2
    f = log_joint.likelihood(z + 2 * softmax_at(middle, logits) - softmax_at(q, logits) / 2)
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "reinmax",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
