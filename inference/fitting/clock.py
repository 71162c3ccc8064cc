"""How much of a budget is used up: by steps, or by time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pyromoe.inference.distributed.processes import Processes

UNKNOWN = 1000
"""Steps that are taken to be ahead before time has told more."""


class Clock:
    """Tells when a fit ends.

    Args:
        total: steps of the budget; None where it is one of time.
        seconds: of the budget, where it is one of time.
        processes: of the fit; the time is that of process 0 in all of them.

    Attributes:
        started: when, on the clock of `time.perf_counter`.
        seen: seconds that had passed at the last look, where they matter.
    """

    def __init__(self, total: int | None, seconds: float, processes: Processes) -> None:
        self.total, self.seconds, self.processes = total, seconds, processes
        self.started, self.seen = time.perf_counter(), 0.0

    @property
    def elapsed(self) -> float:
        """Seconds that were spent by this process."""
        return time.perf_counter() - self.started

    def look(self) -> None:
        """Look at the time; all processes do at once."""
        if self.total is None:
            now = torch.tensor(self.elapsed, dtype=torch.float64)
            self.seen = float(self.processes.of_first(now))

    def done(self, taken: int) -> float:
        """Return the share of the budget that is used up after so many steps."""
        if self.total is not None:
            return taken / self.total
        return min(1.0, self.seen / self.seconds)

    def ahead(self, taken: int) -> int:
        """Return how many steps are to come, as far as is known."""
        if self.total is not None:
            return self.total - taken
        done = self.done(taken)
        return round(taken * (1 - done) / done) if taken > 1 and done else UNKNOWN
