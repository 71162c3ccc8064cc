r"""The proposal with every component of beta weighted by its own expert.

    b    = softmax((log p + g) / t),    g ~ Gumbel,    z = argmax b
    grad = sum_k log p(y | z = k, x) grad b_k + grad log p(y | z, x)

One reading of "log p(y | z = onehot(beta)) grad beta": hard forward, soft backward, for the bound's
own sum. Its bias for the Jensen bound falls as t^2, and the level of log p(y | z, x) does not
matter; but all K experts run, and then `jensen` is exact at the same price. The law of b: Jang, Gu
and Poole (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Return an estimate of the Jensen bound; logits, (N, K), are the gate's."""
    gumbel = noise.gumbel(logits, config.num_samples)
    log_b = concrete(logits, gumbel, config.temperature)  # (S, N, K)
    z = log_b.argmax(-1)
    ell = log_joint.enumerate_likelihood()  # (K, N)
    weighted = (log_b.exp() * ell.T.detach()).sum(-1)
    chosen = ell.T.gather(-1, z.T).T  # (S, N)
    return (chosen + (weighted - weighted.detach())).mean(0), state


TREATMENT = Treatment(
    "linear_straight_through",
    Config,
    objective,
    objectives=("jensen",),
    unbiased=False,
    evaluations=lambda config, k: k,
)
