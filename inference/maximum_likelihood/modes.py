"""Where maximum likelihood ended: the distinct modes, and what is wrong with a solution.

Everything is read from log p(y, z = k | x) and the gate, so it holds for every family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SAME = 1e-3
"""Scores this close, in nats, are one mode."""
SHARP = math.log(1000)
"""An expert is a spike where its rows are so much likelier than others, nats a number."""
BETTER = 1.0
"""And where it has no more rows than it can fit exactly, if they are this much likelier."""
HARD = math.log(1e4)
"""A gate is hard between two experts where no row has odds nearer to 1."""
MATTERS = 1e-3
"""A row counts for a pair of experts that have so much of its probability."""
TIED = 1e-3
"""Two experts are tied where no row's density differs by more, in nats."""
LARGEST = 2**27
"""Numbers in a comparison of all pairs of experts; more are not compared."""


@dataclass
class Mode:
    """A solution that some starts reached.

    Attributes:
        log_likelihood: log p(y | x) of the training rows, nats.
        hits: how many starts came to it.
        degenerate: the experts that are spikes.
        first: the number of one of those starts.
    """

    log_likelihood: float
    hits: int
    degenerate: list[int]
    first: int

    def to_json(self) -> dict[str, Any]:
        """Return what `metrics.json` says of it."""
        found: dict[str, Any] = {"log_likelihood": self.log_likelihood, "hits": self.hits}
        return found | ({"spikes": self.degenerate} if self.degenerate else {})


@dataclass
class Faults:
    """What is wrong with a solution, by expert.

    Attributes:
        spikes: experts that sit on a few rows, or on rows that hardly differ.
        dead: experts with less than one row.
        tied: pairs of experts that do the same.
        hard: pairs of experts between which the gate is a step.
    """

    spikes: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    tied: list[tuple[int, int]] = field(default_factory=list)
    hard: list[tuple[int, int]] = field(default_factory=list)


def faults(
    joint: Tensor,
    log_gate: Tensor,
    *,
    continuous: bool,
    needed: int,
    at_floor: Tensor,
    numbers: Tensor | None = None,
    responses: int = 1,
) -> Faults:
    """Return what is wrong with a solution.

    Args:
        joint: log p(y, z = k | x), (K, N).
        log_gate: log p(z = k | x), (N, K).
        continuous: whether the response has a density, which can grow without bound.
        needed: how many rows an expert can fit exactly; 0 where it may not.
        at_floor: the experts with a scale that cannot be smaller, where one expert for all rows
            would have a larger one, (K,).
        numbers: how many numbers each datum has, those of several responses or of the rows of a
            group, (N,); one where it is None.
        responses: how many a row has.
    """
    r, own = joint.softmax(0), joint - log_gate.T  # (K, N)
    found = Faults(dead=(r.sum(1) < 1).nonzero()[:, 0].tolist())
    k, n = joint.shape
    each = r.sum(1) if numbers is None else r @ numbers.to(r.dtype)  # numbers of each expert
    rows = each / responses
    if continuous and k > 1:
        weighted = torch.where(r > 0, r * own, 0.0).sum(1)
        mean = weighted / each.clamp_min(1e-12)
        rest = (weighted.sum() - weighted) / (each.sum() - each).clamp_min(1e-12)
        few = (rows < needed + 1) & (mean - rest > BETTER)
        spikes = (mean - rest > SHARP) | few | at_floor
        found.spikes = (spikes & (rows >= 1)).nonzero()[:, 0].tolist()
    if k > 1 and k * k * n <= LARGEST:
        found.tied = _pairs((own[:, None] - own[None]).abs().amax(-1) < TIED)
        found.hard = _pairs(_hard(log_gate))
    return found


def distinct(
    scores: Tensor, likelihoods: Tensor, found: Sequence[Faults], own: int | None = None
) -> list[Mode]:
    """Return the modes of M ends, the best regular one first, degenerate ones last.

    Args:
        scores: log likelihood + log prior, nats, (M,); ends that are not finite are left out.
        likelihoods: nats, (M,).
        found: what is wrong with each end.
        own: how many ends, the first ones, are preferred as the example of a mode; all if None.
    """
    modes: list[Mode] = []
    top = math.inf
    for i in scores.argsort(descending=True).tolist():
        score, spikes = float(scores[i]), found[i].spikes
        if not math.isfinite(score):
            continue
        if modes and top - score <= SAME and bool(spikes) == bool(modes[-1].degenerate):
            modes[-1].hits += 1
            if own is not None and i < own <= modes[-1].first:
                modes[-1].first = i
            continue
        top = score
        modes.append(Mode(float(likelihoods[i]), 1, spikes, i))
    return sorted(modes, key=lambda m: bool(m.degenerate))


def _pairs(matrix: Tensor) -> list[tuple[int, int]]:
    """Return the pairs j < k where a symmetric matrix, (K, K), is true."""
    return [(j, k) for j, k in matrix.nonzero().tolist() if j < k]


def _hard(log_gate: Tensor) -> Tensor:
    """Return between which experts the gate is a step, (K, K)."""
    odds = log_gate[:, :, None] - log_gate[:, None]  # (N, K, K)
    both = torch.logaddexp(log_gate[:, :, None], log_gate[:, None]).exp() > MATTERS
    far = torch.where(both, odds.abs(), math.inf).amin(0) > HARD
    sides = [(both & side).sum(0) > 1 for side in (odds > 0, odds < 0)]
    return far & sides[0] & sides[1]
