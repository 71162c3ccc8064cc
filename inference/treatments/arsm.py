r"""Score function with every pair of experts swapped (ARSM).

    pi ~ Dirichlet(1),    z(i, j) = argmin_k pi'_k / q_k,    pi' is pi with entries i and j swapped
    d E f / d a_k = sum_j (f(z(k, j)) - mean_i f(z(i, j))) (1/K - pi_j),    q = softmax(a)

Unbiased; the swaps reach at most K different experts, and all K are evaluated: the price of the
exact gradient. Yin, Yue and Zhou (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides.categorical import gradient_only
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""


def swapped(log_pi: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return z(i, j), (N, K, K); entries of log pi that are +inf take no part."""
    n, k = logits.shape
    # The smallest of the entries that a swap leaves alone is among the three smallest of all.
    values, places = (log_pi - logits).topk(min(3, k), -1, largest=False)
    i = torch.arange(k, device=logits.device)[:, None]
    best = torch.full((n, k, k), torch.inf, dtype=logits.dtype, device=logits.device)
    z = torch.zeros(n, k, k, dtype=torch.long, device=logits.device)
    for value, place in zip(values.unbind(-1), places.unbind(-1), strict=True):
        there = place[:, None, None]
        better = (there != i) & (there != i.T) & (value[:, None, None] < best)
        best, z = torch.where(better, value[:, None, None], best), torch.where(better, there, z)
    of_i = log_pi[:, None, :] - logits[:, :, None]  # expert i with the entry of j
    for value, place in ((of_i, i), (of_i.mT, i.T)):
        better = value < best
        best, z = torch.where(better, value, best), torch.where(better, place, z)
    return z


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    possible = logits > -torch.inf
    number = possible.sum(-1, keepdim=True).to(logits)
    log_e = torch.where(possible, -noise.gumbel(logits, 1)[0], -torch.inf)  # exponentials
    log_pi = log_e - log_e.logsumexp(-1, keepdim=True)
    never = torch.where(possible, log_pi, torch.inf)
    z = swapped(never, torch.where(possible, logits.detach(), 0.0))
    f = torch.where(possible, log_joint.enumerate().T - logits.detach(), 0.0)  # (N, K)
    after = f.gather(-1, z.flatten(1)).reshape(z.shape)  # (N, K, K)
    after = torch.where(possible[:, :, None], after, 0.0)
    centred = after - after.sum(1, keepdim=True) / number[..., None]
    weight = torch.where(possible, 1 / number - log_pi.exp(), 0.0)
    gradient = torch.where(possible, (centred * weight[:, None]).sum(-1), 0.0).detach()
    chosen = f.gather(-1, z.diagonal(dim1=1, dim2=2)[:, :1])[:, 0]  # no swap at all
    return chosen + (gradient * gradient_only(logits)).sum(-1), state


TREATMENT = Treatment(
    "arsm",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: k,
)
