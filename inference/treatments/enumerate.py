r"""Sum z out.

    marginal    log sum_k p(z = k | x) p(y | z = k, x)
    elbo        sum_k q(k) (log p(y, z = k | x) - log q(k))

Exact; K evaluations of the joint. The marginal's gradient in the gate's logits is the
responsibilities less the gate. Obermeyer et al. (2019).
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
    """Return the marginal where logits is None, else the ELBO; logits are (N, K)."""
    joint = log_joint.enumerate()  # (K, N)
    if logits is None:
        return joint.logsumexp(0), state
    return expectation(logits, joint - logits.T), state


TREATMENT = Treatment(
    "enumerate",
    Config,
    objective,
    objectives=("marginal", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: k,
)
