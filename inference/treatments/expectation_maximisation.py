r"""Fisher's identity: the gradient of an expectation-maximisation step.

    r    = p(z | y, x), held fixed
    grad = sum_k r_k grad (log p(z = k | x) + log p(y | z = k, x))

Exact for log p(y | x), with the same gradient as summing z out; K evaluations of the joint.
Dempster, Laird and Rubin (1977).
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
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return log p(y | x), with the gradient of the expected complete-data log-likelihood."""
    joint = log_joint.enumerate()  # (K, N)
    log_r = joint.detach().log_softmax(0).T
    return expectation(log_r, joint - log_r.T), state


TREATMENT = Treatment(
    "expectation_maximisation",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=True,
    evaluations=lambda config, k: k,
)
