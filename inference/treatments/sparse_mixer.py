r"""The drawn expert's slope, half way up, in the place of its value (SparseMixer).

    z    ~ q,    ell(u) = log p(y | u, x) with u = s e_z,    0 <= s <= 1
    grad = (dl/ds at s = 1/2) grad log q(z) - grad KL(q || p) + grad ell(e_z)

The midpoint rule for ell(e_z) - ell(0), the score function's value with an expert of no output as
baseline: exact for a likelihood quadratic along each edge from 0, biased otherwise, and with the
noise of one draw. Under `mix: log_likelihoods` it is the score function itself. It asks the drawn
expert alone, at half its output; a program that takes z as weights evaluates all K. Liu, Gao and
Chen (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob, one_hot
from pyromoe.guides.categorical import kl_divergence
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
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
    corners = one_hot(z, logits.shape[-1], logits)
    with torch.enable_grad():
        half = torch.full_like(corners[..., :1], 0.5).requires_grad_()  # (S, N, 1)
        values = log_joint.likelihood(torch.cat([corners, half * corners]))
        ell, halfway = values.chunk(2)
        (slope,) = torch.autograd.grad(halfway.sum(), half, retain_graph=True)
    log_q = log_prob(logits, z)
    score = slope[..., 0] * (log_q - log_q.detach())  # zero in value, not in gradient
    return (ell + score - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "sparse_mixer",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
)
