r"""Sum z out of a sparse gate: sparsemax or 1.5-entmax in the place of softmax.

    s    = the point of the simplex next to the c largest gate logits (sparsemax), or
           argmax_s s . a + Tsallis entropy of order 1.5 (entmax)
    grad = grad log sum_{k: s_k > 0} s_k p(y | z = k, x)

Exact for the model with the sparse gate, biased for the one with softmax; an expert outside the
support learns nothing from the datum. The support is found for each datum; c evaluations at most.
Martins and Astudillo (2016); Peters, Niculae and Martins (2019); Correia, Niculae, Aziz and Martins
(2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """Which gate, and c, the largest number of experts evaluated for each datum."""

    gate: Literal["sparsemax", "entmax"] = "sparsemax"
    num_evaluated: int = 4

    def __post_init__(self) -> None:
        if self.gate not in ("sparsemax", "entmax"):
            raise ValueError(f"gate must be 'sparsemax' or 'entmax', got {self.gate!r}")
        if self.num_evaluated < 1:
            raise ValueError(f"num_evaluated must be at least 1, got {self.num_evaluated}")


def sparsemax(a: torch.Tensor) -> torch.Tensor:
    """Return the probabilities, (N, C), of logits in falling order, (N, C)."""
    size = torch.arange(1, a.shape[-1] + 1, dtype=a.dtype, device=a.device)
    threshold = (a.cumsum(-1) - 1) / size
    return (a - at_last(threshold, a > threshold)).clamp_min(0)


def entmax(a: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of order 1.5, (N, C), of logits in falling order, (N, C)."""
    size = torch.arange(1, a.shape[-1] + 1, dtype=a.dtype, device=a.device)
    half = a / 2
    mean, square = half.cumsum(-1) / size, half.square().cumsum(-1) / size
    inside = 1 / size - (square - mean.square())
    threshold = mean - inside.clamp_min(0).sqrt()
    return (half - at_last(threshold, (inside >= 0) & (half > threshold))).clamp_min(0).square()


def at_last(threshold: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """Return the threshold of the largest support that fits, (N, 1)."""
    return threshold.gather(-1, fits.sum(-1, keepdim=True) - 1)


def objective(
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return the marginal under the sparse gate; logits is None."""
    gate = log_joint.log_prior  # (N, K); up to a constant, which the sparse gates do not see
    a, z = gate.topk(min(config.num_evaluated, gate.shape[-1]), -1)
    a = a - a[:, :1]
    far = torch.full_like(a, -4.0)  # outside of both supports, like everything below it
    s = (sparsemax if config.gate == "sparsemax" else entmax)(torch.where(a > far, a, far)).T
    log_s = torch.where(s > 0, s, 1.0).log()
    terms = log_joint.likelihood(z.T) + log_s
    return torch.where(s > 0, terms, -torch.inf).logsumexp(0), state


TREATMENT = Treatment(
    "sparse_marginal",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: min(config.num_evaluated, k),
    exact_value=False,
)
