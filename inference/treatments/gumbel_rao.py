r"""Straight-through Gumbel-softmax, its noise averaged given the draw (Gumbel-Rao).

    z    ~ q,    v_r = log q + Gumbel noise, given that z is the argmax,    r = 1..R
    grad = (d log p(y | z, x) / dz) 1/R sum_r grad softmax(v_r / t) - grad KL(q || p)

The same bias as `straight_through_gumbel_softmax` at less variance, so that lower temperatures can
be used; all K experts run, since the derivative in z asks each of them. Paulus, Maddison and Krause
(2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import gradient_only, kl_divergence
from pyromoe.guides.concrete import conditional_gumbel
from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; S, draws for each datum; R, how often each is perturbed."""

    temperature: float = 0.5
    num_samples: int = 1
    num_perturbations: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.num_samples < 1 or self.num_perturbations < 1:
            raise ValueError(
                "num_samples and num_perturbations must be at least 1, "
                f"got {self.num_samples} and {self.num_perturbations}"
            )


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    t, repeats = config.temperature, config.num_perturbations
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    gumbel = noise.gumbel(logits, repeats * config.num_samples)
    gumbel = gumbel.reshape(repeats, *z.shape, logits.shape[-1])  # (R, S, N, K)
    v = conditional_gumbel(logits.detach(), z.expand(repeats, *z.shape), gumbel)
    soft = softmax((v + gradient_only(logits)) / t).mean(0)  # (S, N, K)
    f = log_joint.likelihood(one_hot(z, logits.shape[-1], soft) + (soft - soft.detach()))
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "gumbel_rao",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
