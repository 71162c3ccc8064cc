r"""The proposal with the gradient of the component of beta that was drawn.

    b    = softmax((log p + g) / t),    g ~ Gumbel,    z = argmax b
    grad = log p(y | z, x) grad b_z + grad log p(y | z, x)

One reading of "log p(y | z = onehot(beta)) grad beta". Biased: as t falls the mean tends to 1/2 of
the Jensen bound's gradient, plus a term of order t that grows with the level of log p(y | z, x), so
that a constant added to the log-likelihood changes the gradient; the variance grows as 1 / t. One
evaluation a draw. The law of b: Jang, Gu and Poole (2017); the limit is derived in
notebooks/did_i_understand_gumbel_softmax.ipynb.
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
    ell = log_joint.likelihood(z)  # (S, N)
    picked = log_b.gather(-1, z[..., None])[..., 0].exp()
    return (ell + ell.detach() * (picked - picked.detach())).mean(0), state


TREATMENT = Treatment(
    "picked_component",
    Config,
    objective,
    objectives=("jensen",),
    unbiased=False,
    evaluations=lambda config, k: config.num_samples,
)
