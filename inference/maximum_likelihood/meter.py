"""How much of the budget of a maximum-likelihood fit is used."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.inference.maximum_likelihood.bfgs import Search

    Report = Callable[[float, str], None]

TOLERANCE = 1e-7
"""The gradient's Euclidean norm at which a search ends, in nats a row."""
MOST = 2000
"""Iterations of the last search, where no budget is given."""


class Meter:
    """How much of a budget is used; a step is one evaluation of the score.

    Args:
        budget: for each restart; None for none.
        evaluations: of experts in a step.
        restarts: R, which run at the same time.
        report: called with the share that is done and what is being done.
    """

    def __init__(
        self,
        budget: Budget | None,
        evaluations: int,
        restarts: int,
        report: Callable[[float, str], None],
    ) -> None:
        self.steps = None if budget is None else budget.steps(1, evaluations)
        self.seconds = math.inf
        if budget is not None and budget.unit == "seconds":
            self.seconds = budget.amount * restarts
        self.report, self.taken = report, 0
        self.started = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.started

    def goes_on(self, search: Search) -> bool:
        """Count a step and return whether there may be another."""
        self.taken += 1
        share = self.taken / (self.steps or MOST)
        share = max(min(share, 1.0), self.elapsed / self.seconds)
        done = int((search.norm <= TOLERANCE).sum())
        best = float(search.value.nan_to_num(-math.inf).max())
        text = f"{done} of {len(search.value)} starts at a maximum, best {best:.4f} nats a datum"
        self.report(share, text)
        return self.left

    @property
    def left(self) -> bool:
        """Whether the budget is not used up."""
        return self.elapsed < self.seconds and (self.steps is None or self.taken < self.steps)
