r"""Relax z into the simplex (Gumbel-softmax, Concrete).

    z    = softmax((log q + g) / t),    g ~ Gumbel
    grad = grad (log p(y | z, x) - KL)

Biased for the ELBO of the discrete z, less so as the temperature t falls, while the variance
grows as 1 / t; all K experts run. KL is that of the two categoricals, or the ratio of the two
Concrete densities at z, in log space; the score term of log q, which has mean zero, is left out
(Roeder, Wu and Duvenaud, 2017). Jang, Gu and Poole (2017); Maddison, Mnih and Teh (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyromoe.guides.categorical import kl_divergence
from pyromoe.guides.concrete import concrete, log_density
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; S, the number of draws for each datum; and which KL."""

    temperature: float = 0.5
    num_samples: int = 1
    kl: Literal["categorical", "density"] = "categorical"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if self.kl not in ("categorical", "density"):
            raise ValueError(f"kl must be 'categorical' or 'density', got {self.kl!r}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the relaxed ELBO, not a bound on log p(y | x); logits are (N, K)."""
    t = config.temperature
    log_z = concrete(logits, noise.gumbel(logits, config.num_samples), t)  # (S, N, K)
    f = log_joint.likelihood(log_z.exp())
    if config.kl == "categorical":
        kl = kl_divergence(logits, log_joint.log_prior)
    else:
        kl = log_density(logits.detach(), log_z, t) - log_density(log_joint.log_prior, log_z, t)
    return (f - kl).mean(0), state


TREATMENT = Treatment(
    "gumbel_softmax",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=False,
    evaluations=lambda config, k: k,
    needs_relaxed_likelihood=True,
)
