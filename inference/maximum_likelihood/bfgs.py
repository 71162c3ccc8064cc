r"""BFGS for several vectors side by side.

Each call of the function is one trial of the line search of every vector, whichever iteration that
one is in. The line search is for the weak Wolfe conditions, by doubling and bisection (Nocedal and
Wright, 2006, sections 3.1 and 6.1; Lewis and Overton, 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """From points, (M, P), of the vectors m, (M,), to values, (M,), and gradients, (M, P)."""
    Watch = Callable[["Search"], bool]

DECREASE, CURVATURE = 1e-4, 0.9
"""The constants of the Wolfe conditions, the usual ones."""
TRIALS = 20
"""Of step lengths; after as many without success the inverse Hessian begins anew."""
LONGEST = 10.0
"""A first step along a direction is no longer than this, or than the parameters themselves."""


@dataclass
class Search:
    """Where a maximisation is, and what it has learned of the curvature.

    Attributes:
        values: the vectors, (R, P).
        value: of the function, (R,).
        gradient: (R, P).
        inverse: minus the approximate inverse Hessian, (R, P, P); None where it is not kept.
        iterations: for each vector, (R,).
        calls: of the function.
    """

    values: Tensor
    value: Tensor
    gradient: Tensor
    inverse: Tensor | None
    iterations: Tensor
    calls: int = 1

    @property
    def norm(self) -> Tensor:
        """The Euclidean norm of the gradient, (R,)."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient, dim=-1)
        return norm


class Batch:
    """BFGS for R vectors in one tensor."""

    def __init__(self, function: Function, values: Tensor, inverse: Tensor | None) -> None:
        self.function = function
        value, gradient = function(values, torch.arange(len(values)))
        number, size = values.shape
        self.unit = torch.eye(size, dtype=values.dtype)
        fresh = inverse is None
        inverse = self.unit.repeat(number, 1, 1) if inverse is None else inverse.clone()
        steps = torch.zeros(number, dtype=torch.long)
        self.at = Search(values.clone(), value, gradient, inverse, steps)
        # A first step of length 1 at most: nothing is known of the scale yet.
        self.new = torch.full((number,), fresh)
        self.failed = torch.zeros(number, dtype=torch.bool)
        # Of the line search: how far to go along which direction, and between which lengths.
        self.direction, self.slope = torch.zeros_like(values), torch.zeros_like(value)
        self.length, self.low, self.high = (torch.zeros_like(value) for _ in range(3))
        self.trials = torch.zeros_like(steps)
        self._begin_line(torch.ones(number, dtype=torch.bool))

    def run(self, tolerance: float, most: Tensor, watch: Watch) -> Search:
        """Search until every vector is done, has failed or has used up its iterations."""
        at = self.at
        while True:
            left = (at.norm > tolerance) & ~self.failed & (at.iterations < most)
            left &= at.value.isfinite()
            if not left.any() or not watch(at):
                return at
            self._try(left)

    def _try(self, left: Tensor) -> None:
        """Try a step of every vector that is left; those that suffice are taken."""
        at = self.at
        trial = at.values + self.length[:, None] * self.direction
        which = left.nonzero()[:, 0]
        value, gradient = torch.full_like(at.value, -math.inf), torch.zeros_like(at.gradient)
        value[which], gradient[which] = self.function(trial[which], which)
        at.calls += 1
        slope = (gradient * self.direction).sum(-1)
        # Near the top, rounding hides the rise; then slopes alone are compared.
        noise = 1e-14 * at.value.abs()
        enough = value >= at.value + DECREASE * self.length * self.slope - noise
        enough &= value.isfinite() & gradient.isfinite().all(-1) & (value >= at.value - noise)
        flat = slope <= CURVATURE * self.slope
        taken = left & enough & flat
        self.high = torch.where(enough, self.high, self.length)
        self.low = torch.where(enough & ~flat, self.length, self.low)
        middle = torch.where(self.high.isinf(), 2 * self.length, (self.low + self.high) / 2)
        self.length = torch.where(taken, self.length, middle)
        self.trials += 1
        # A rise that cannot be bent enough is still a rise.
        late = left & ~taken & (self.trials >= TRIALS)
        rose = late & enough & (value > at.value)
        self._learn(trial - at.values, at.gradient - gradient, taken)
        moved = taken | rose
        at.values = torch.where(moved[:, None], trial, at.values)
        at.gradient = torch.where(moved[:, None], gradient, at.gradient)
        at.value = torch.where(moved, torch.maximum(value, at.value), at.value)
        at.iterations = at.iterations + moved
        self._reset(late)
        self._begin_line(moved | late)

    def _learn(self, step: Tensor, change: Tensor, taken: Tensor) -> None:
        """Update the inverse Hessians of the vectors that were moved."""
        assert self.at.inverse is not None
        curvature = (step * change).sum(-1)
        taken = taken & (curvature > 0)
        if not taken.any():
            return
        safe = torch.where(taken, curvature, 1.0)
        change = torch.where(taken[:, None], change, 0.0)  # which is not finite after some trials
        inverse = self.at.inverse
        if (first := taken & self.new).any():
            scale = torch.where(first, curvature / (change * change).sum(-1), 1.0)
            inverse *= scale[:, None, None]
            self.new = self.new & ~taken
        moved = (inverse @ change[..., None])[..., 0]
        of_change = (change * moved).sum(-1)
        # Of rank two, and in place: what it costs is one pass over the matrices.
        pair = torch.stack([step, moved], -1)  # (R, P, 2)
        factor, less = (safe + of_change) / (safe * safe), -1 / safe
        rows = [factor, less], [less, torch.zeros_like(less)]
        both = torch.stack([torch.stack(row, -1) for row in rows], -2)
        both = torch.where(taken[:, None, None], both, 0.0)
        inverse.baddbmm_(pair @ both, pair.mT)

    def _reset(self, late: Tensor) -> None:
        """Forget the curvature where no step was found; where there is none to forget, give up."""
        assert self.at.inverse is not None
        if late.any():
            self.failed |= late & self.new
            self.at.inverse[late] = self.unit
            self.new |= late

    def _begin_line(self, which: Tensor) -> None:
        """Choose a direction, and the first length to try along it."""
        at = self.at
        assert at.inverse is not None
        direction = (at.inverse @ at.gradient[..., None])[..., 0]
        slope = (direction * at.gradient).sum(-1)
        if (lost := which & ~(slope > 0)).any():  # to rounding
            at.inverse[lost] = self.unit
            self.new |= lost
            direction = torch.where(lost[:, None], at.gradient, direction)
            slope = (direction * at.gradient).sum(-1)
        size = direction.norm(dim=-1).clamp_min(1e-300)
        known = at.values.norm(dim=-1).clamp_min(LONGEST)
        longest = torch.where(self.new, 1.0, known)  # of the scale nothing is known at first
        length = (longest / size).clamp_max(1.0)
        self.direction = torch.where(which[:, None], direction, self.direction)
        self.slope = torch.where(which, slope, self.slope)
        self.length = torch.where(which, length, self.length)
        self.low = torch.where(which, 0.0, self.low)
        self.high = torch.where(which, math.inf, self.high)
        self.trials = torch.where(which, 0, self.trials)
