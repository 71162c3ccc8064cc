r"""The experts that the gate favours summed out, the others left out.

    T    = the c most probable experts
    grad = grad log sum_{k in T} p(z = k | x) p(y | z = k, x)

A lower bound of log p(y | x), and biased by what is left out: an expert that the gate does not
favour learns nothing, however well it would explain y. c evaluations of the joint. Variational
truncation: Lücke and Eggert (2010).
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
    """c, the number of experts evaluated for each datum."""

    num_evaluated: int = 2

    def __post_init__(self) -> None:
        if self.num_evaluated < 1:
            raise ValueError(f"num_evaluated must be at least 1, got {self.num_evaluated}")


def objective(
    log_joint: LogJoint, logits: torch.Tensor | None, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return the marginal of the favoured experts alone; logits is None."""
    gate = log_joint.log_prior  # (N, K)
    log_p, z = gate.topk(min(config.num_evaluated, gate.shape[-1]), -1)
    return (log_joint.likelihood(z.T) + log_p.T).logsumexp(0), state


TREATMENT = Treatment(
    "truncated_enumeration",
    Config,
    objective,
    objectives=("marginal",),
    unbiased=False,
    evaluations=lambda config, k: min(config.num_evaluated, k),
    exact_value=False,
)
