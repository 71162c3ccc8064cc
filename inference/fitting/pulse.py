"""A report once a second, between those of what is new."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 1.0
"""Seconds."""


class Pulse:
    """Reports what is new, and the share that is done once a second.

    Args:
        report: called with the share that is done and what is being done.
        clock: seconds.
    """

    def __init__(
        self, report: Callable[[float, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.report, self.clock = report, clock
        self.found, self.last = "", clock()

    def __call__(self, done: float, epoch: int, found: str) -> None:
        """Report what was found after an epoch."""
        self.found, self.last = found, self.clock()
        self.report(done, ", ".join(part for part in (f"epoch {epoch}", found) if part))

    def beat(self, done: Callable[[], float], epoch: int) -> None:
        """Report where the fit is, if nothing was reported for a second."""
        if self.clock() - self.last >= EVERY:
            self(done(), epoch, self.found)
