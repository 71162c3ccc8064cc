r"""Sum z out of the Jensen bound.

    sum_k p(z = k | x) log p(y | z = k, x)

Exact for the bound, which is the ELBO with the gate as guide; K evaluations of the likelihood.
The bound is highest for a gate that puts all its mass on the best expert, not for the gate of the
highest log p(y | x). Jensen's inequality; section 2 of Jordan et al. (1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.guides import expectation
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return the bound; logits, (N, K), are the gate's."""
    return expectation(logits, log_joint.enumerate_likelihood()), state


TREATMENT = Treatment(
    "jensen",
    Config,
    objective,
    objectives=("jensen",),
    unbiased=True,
    evaluations=lambda config, k: k,
)
