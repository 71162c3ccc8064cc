r"""Hard Gumbel-softmax draws forward, their soft gradient backward.

    b    = softmax((log q + g) / t),    g ~ Gumbel,    z = one_hot(argmax b)
    grad = (d log p(y | z, x) / dz) grad b - grad KL(q || p)

Biased; all K experts run, since the derivative in z asks each of them. Jang, Gu and Poole (2017),
section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import kl_divergence
from pyromoe.guides.concrete import concrete
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; S, the number of draws for each datum."""

    temperature: float = 0.5
    num_samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    gumbel = noise.gumbel(logits, config.num_samples)
    soft = concrete(logits, gumbel, config.temperature).exp()  # (S, N, K)
    hard = one_hot(soft.argmax(-1), logits.shape[-1], soft)
    f = log_joint.likelihood(hard + (soft - soft.detach()))
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "straight_through_gumbel_softmax",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
