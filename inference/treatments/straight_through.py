r"""Draws of z forward, the gradient of q backward.

    z    ~ q, as a corner of the simplex
    grad = (d log p(y | z, x) / dz) grad q - grad KL(q || p)

Exact for a likelihood that is linear in z, biased otherwise; all K experts run, since the
derivative in z asks each of them. Bengio, Leonard and Courville (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import kl_divergence
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
    q = logits.exp()
    hard = one_hot(noise.categorical(logits, config.num_samples), logits.shape[-1], q)
    f = log_joint.likelihood(hard + (q - q.detach()))  # (S, N)
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "straight_through",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
