r"""The exact gradient of every objective, whatever it costs, by summing z out.

marginal, elbo    as in `enumerate`
jensen            as in `jensen`
iwae              sum over every multiset of S experts; there are (K + S - 1)! / (S! (K - 1)!)
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.treatments import TREATMENTS
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.inference.treatments.treatment import ObjectiveName
    from pyromoe.models import LogJoint

LARGEST = 3e7
"""Numbers in the largest tensor of a sum over multisets; more are not attempted."""


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum."""

    num_samples: int = 1


def importance_weighted(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return E log 1/S sum_s p(y, z_s) / q(z_s); logits are (N, K)."""
    log_w = log_joint.enumerate().T - logits
    size, k = config.num_samples, logits.shape[-1]
    drawn = torch.tensor(list(combinations_with_replacement(range(k), size)), device=logits.device)
    counts = torch.nn.functional.one_hot(drawn, k).sum(1).to(logits)  # (C, K)
    orders = math.lgamma(size + 1) - torch.lgamma(counts + 1).sum(-1)
    there = counts > 0
    chance = torch.where(there, counts * logits[:, None], 0.0).sum(-1) + orders  # (N, C)
    terms = torch.where(there, counts.log() + log_w[:, None], -torch.inf)
    bound = terms.logsumexp(-1) - math.log(size)
    possible = chance > -torch.inf
    value = torch.where(possible, chance, -torch.inf).exp() * torch.where(possible, bound, 0.0)
    return value.sum(-1), state


IMPORTANCE_WEIGHTED = Treatment(
    "importance_weighted",
    Config,
    importance_weighted,
    objectives=("iwae",),
    unbiased=True,
    evaluations=lambda config, k: k,
)


def exact_treatment(
    objective: ObjectiveName, config: object, num_data: int, num_experts: int
) -> tuple[Treatment[Any], object] | None:
    """Return the treatment that is exact for an objective, and its config.

    Args:
        objective: what is estimated.
        config: the options of the treatment that estimates it: how many draws it weights.
        num_data: N, rows in a batch.
        num_experts: K.

    Returns:
        None where a sum over multisets would be too large.
    """
    if objective != "iwae":
        exact = TREATMENTS["jensen" if objective == "jensen" else "enumerate"]
        return exact, exact.config()
    size = int(getattr(config, "num_samples", 1))
    if math.comb(num_experts + size - 1, size) * num_experts * num_data > LARGEST:
        return None
    return IMPORTANCE_WEIGHTED, dataclasses.replace(Config(), num_samples=size)
