r"""Score function over a set of experts drawn without replacement.

    C    = {z_1, ..., z_S}, drawn one after the other without replacement
    R_s  = P(C | z_s first) / P(C),    R_sr the same among all but s: R_ss = 1
    grad = sum_s q_s R_s (f_s - sum_r q_r R_sr f_r) grad log q_s + sum_s q_s R_s grad f_s

P(C), whatever the order, is summed over the subsets of C, 2^S terms, exactly. Unbiased, and exact
for S = K; S evaluations of the joint, all different. Kool, van Hoof and Welling (2020).
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


LARGEST = 12
"""There are 2^S subsets to sum over."""


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of experts drawn for each datum; all of them where there are fewer."""

    num_samples: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.num_samples <= LARGEST:
            raise ValueError(f"num_samples must be in 2..{LARGEST}, got {self.num_samples}")


def draw(logits: torch.Tensor, number: int, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
    """Return different experts, (S, N), and the logits without them, (N, K).

    Where experts of positive probability run out, the first one is drawn again.
    """
    chosen: list[torch.Tensor] = []
    for _ in range(number):
        left = (logits > -torch.inf).any(-1)
        z = noise.categorical(torch.where(left[:, None], logits, 0.0), 1)[0]
        chosen.append(torch.where(left, z, chosen[0]) if chosen else z)
        logits = logits.scatter(-1, chosen[-1][:, None], -torch.inf)
    return torch.stack(chosen), logits


def log_completions(log_q: torch.Tensor, log_rest: torch.Tensor) -> list[torch.Tensor]:
    """Return log P(the set is completed | the members in a subset came first), (N,) for each.

    Args:
        log_q: of the S members, (S, N), -inf for a repeated one.
        log_rest: of all experts that are not members, (N,).

    A subset is a number whose bit s stands for member s.
    """
    number = len(log_q)
    found = [torch.zeros_like(log_rest)] * 2**number
    for subset in reversed(range(2**number - 1)):
        missing = [s for s in range(number) if not subset >> s & 1]
        left = torch.stack([log_rest, *(log_q[s] for s in missing)]).logsumexp(0)
        ways = torch.stack([log_q[s] - left + found[subset | 1 << s] for s in missing])
        none_missing = torch.stack([log_q[s] for s in missing]).amax(0) == -torch.inf
        found[subset] = torch.where(none_missing, 0.0, ways.logsumexp(0))
    return found


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: None, noise: Noise
) -> tuple[torch.Tensor, None]:
    """Return an estimate of the ELBO; logits are (N, K)."""
    number = min(config.num_samples, logits.shape[-1])
    z, others = draw(logits.detach(), number, noise)  # (S, N)
    log_q = log_prob(logits, z)
    repeated = torch.stack([(z[:s] == z[s]).any(0) for s in range(number)])
    log_p = torch.where(repeated, -torch.inf, log_q.detach())
    complete = log_completions(log_p, others.logsumexp(-1))
    f = log_joint(z) - log_q.detach()
    total = torch.zeros_like(f[0])
    for s in range(number):
        weight = (log_p[s] + complete[1 << s] - complete[0]).exp()
        pairs = torch.stack([complete[1 << s | 1 << r] for r in range(number)])
        log_shares = log_p + pairs - complete[1 << s]  # R_ss = 1: the pair of s with itself is s
        baseline = (log_shares.exp() * f).sum(0)
        score = (f[s] - baseline).detach() * (log_q[s] - log_q[s].detach())
        total = total + weight * (f[s] + score)
    return total, state


TREATMENT = Treatment(
    "unordered_set",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: min(config.num_samples, k),
)
