r"""An antithetic pair of draws, its own noise summed out (DisARM).

    z    = the first i with b_i = 1,    b_i = [u_i < sigma(s_i)],    q in K - 1 binary choices
    z'   = the same with 1 - u_i
    dE f / d s_i = 1/2 (f(z) - f(z')) (b_i - b'_i) sigma(|s_i|)

Experts are tried from the most probable on; s_i are the log odds of stopping there. For K = 2 this
is DisARM, for more its stick-breaking form. Unbiased; two evaluations of the joint. Dong, Mnih and
Tucker (2020, 2021); Yin, Ho, Yan, Qian and Zhou (2020), as U2G.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the log odds of stopping at each expert but the last, (N, K - 1), in their order."""
    tails = logits.flip(-1).logcumsumexp(-1).flip(-1)
    return logits[:, :-1] - tails[:, 1:]


def first(stops: torch.Tensor) -> torch.Tensor:
    """Return the place of the first True, or K - 1 where there is none; stops are (N, K - 1)."""
    last = stops.new_ones(len(stops), 1)
    return torch.cat([stops, last], -1).to(torch.uint8).argmax(-1)


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    order = logits.detach().sort(dim=-1, descending=True, stable=True).indices
    # A finite stand-in for -inf: its exponential is 0, and its gradient is cut off.
    smallest = torch.finfo(logits.dtype).min / 4
    ranked = torch.where(logits > -torch.inf, logits, smallest).gather(-1, order)
    s = log_odds(ranked)
    rarer = torch.sigmoid(-s.detach().abs())
    n, sticks = s.shape
    laws = torch.stack([1 - 2 * rarer, rarer, rarer], -1).log()  # alike, b alone, b' alone
    drawn = noise.categorical(laws.transpose(0, 1).flatten(0, 1), 1).reshape(sticks, n).T
    alike = s > 0
    b = torch.where(drawn == 0, alike, drawn == 1)
    antithetic = torch.where(drawn == 0, alike, drawn == 2)
    ranks = torch.stack([first(b), first(antithetic)], -1)
    z = order.gather(-1, ranks).T  # (2, N)
    f = log_joint(z) - log_prob(logits, z).detach()
    sign = b.to(s) - antithetic.to(s)
    half = (f[0] - f[1]).detach() / 2
    score = half * (sign * (1 - rarer) * (s - s.detach())).sum(-1)
    return f.mean(0) + score, state


TREATMENT = Treatment(
    "disarm",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: 2,
)
