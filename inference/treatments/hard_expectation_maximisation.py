r"""The most responsible expert alone (hard or Viterbi expectation-maximisation).

    z    = argmax_k p(z = k | x) p(y | z = k, x)
    grad = grad (log p(z | x) + log p(y | z, x))

The gradient of the largest term of the marginal's sum: biased for log p(y | x), without noise, and
given to leave all data to a few experts. K evaluations of the joint. Celeux and Govaert (1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Return log max_k p(y, z = k | x), a lower bound of the marginal; logits is None."""
    return log_joint.enumerate().amax(0), state


TREATMENT = Treatment(
    "hard_expectation_maximisation",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: k,
    exact_value=False,
)
