r"""Score function with the relaxed likelihood as control variate (REBAR).

    v    = log q + Gumbel noise, given that z is the argmax,    b = softmax(v / t)
    c    = s (log p(y | b, x) + sum_k b_k (log p_k - log q_k))
    grad = (f(z) - c(b)) grad log q(z) + dc/db (grad b - grad b given z) + grad f(z)

The two gradients of b, through log q + noise and through v given z, differ by the factor
exp(v_k - v_z) in component k, so one relaxed point serves for both. Unbiased for every t and s; all
K experts run. Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob, one_hot
from pyromoe.guides.categorical import gradient_only
from pyromoe.guides.concrete import conditional_gumbel, reparameterised
from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; s, the scale of the control variate; S, draws for each datum."""

    temperature: float = 0.5
    scale: float = 1.0
    num_samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if not 0 <= self.scale < float("inf"):
            raise ValueError(f"scale must be at least 0 and finite, got {self.scale}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    t, log_q = config.temperature, logits.detach()
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    v = conditional_gumbel(log_q, z, noise.gumbel(logits, config.num_samples))
    corners = one_hot(z, logits.shape[-1], logits)
    with torch.enable_grad():
        b = softmax(v / t).requires_grad_()
        values = log_joint.likelihood(torch.cat([corners, b]))  # (2 S, N)
        ell, relaxed = values.chunk(2)
        (slope,) = torch.autograd.grad(relaxed.sum(), b, retain_graph=True)  # (S, N, K)
    log_p = log_joint.log_prior
    ratio = torch.where(log_q > -torch.inf, log_p.detach() - log_q, 0.0)
    f = ell + log_prob(log_p, z) - log_prob(log_q, z)
    c = config.scale * (relaxed + (b * ratio).sum(-1))
    through = reparameterised(config.scale * (slope + ratio), v, z, t)
    gradient = ((f - c)[..., None] * corners + through).detach()
    return (f + (gradient * gradient_only(logits)).sum(-1)).mean(0), state


TREATMENT = Treatment(
    "rebar",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
)
