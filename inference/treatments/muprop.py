r"""Score function with a first-order expansion as control variate (MuProp).

    h(z) = ell(q) + ell'(q) . (z - q),    ell(z) = log p(y | z, x),    z ~ q
    grad = (ell(z) - h(z)) grad log q(z) + ell'(q) . grad q - grad KL(q || p) + grad ell(z)

ell is expanded at the mean, inside the simplex, so that all K experts run. Unbiased; exact for a
likelihood linear in z, and noisier than a mean as baseline where it is far from linear. Gu, Levine,
Sutskever and Mnih (2016).
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
    q = logits.exp()
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    corners = one_hot(z, logits.shape[-1], q)
    with torch.enable_grad():
        mean = q.detach().requires_grad_()
        values = log_joint.likelihood(torch.cat([corners, mean[None]]))  # (S + 1, N)
        (slope,) = torch.autograd.grad(values[-1].sum(), mean, retain_graph=True)  # (N, K)
    ell, at_mean = values[:-1], values[-1]
    taylor = at_mean + (slope * (corners - q)).sum(-1)
    log_q = log_prob(logits, z)
    score = (ell - taylor).detach() * (log_q - log_q.detach())  # zero in value, not in gradient
    exact = (slope * (q - q.detach())).sum(-1)
    return (ell + score + exact - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "muprop",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
)
