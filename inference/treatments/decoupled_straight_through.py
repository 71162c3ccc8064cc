r"""Straight-through with one temperature for the draw and another for the gradient.

    z    ~ softmax(log q / t_forward), as a corner of the simplex
    grad = (d log p(y | z, x) / dz) grad softmax(log q / t_backward) - grad KL(q || p)

Biased; with t_forward other than 1 the draws are not q's either, and value and gradient belong to
another gate than the model's. All K experts run, since the derivative in z asks each of them. Shah,
Yan, Mozer and Liu (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import one_hot
from pyromoe.guides.categorical import kl_divergence
from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import log_softmax, softmax

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """The two temperatures, and S, the number of draws for each datum."""

    forward_temperature: float = 1.0
    backward_temperature: float = 0.5
    num_samples: int = 1

    def __post_init__(self) -> None:
        for name in ("forward_temperature", "backward_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    forward = log_softmax(logits.detach() / config.forward_temperature)
    soft = softmax(logits / config.backward_temperature)
    hard = one_hot(noise.categorical(forward, config.num_samples), logits.shape[-1], soft)
    f = log_joint.likelihood(hard + (soft - soft.detach()))  # (S, N)
    return (f - kl_divergence(logits, log_joint.log_prior)).mean(0), state


TREATMENT = Treatment(
    "decoupled_straight_through",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
    hard=True,
)
