"""Progress as plain lines now and then, where there is no terminal to draw a bar on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, EVERY = 2.0, 15.0
"""Seconds before the first line, and between two."""
UNITS = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


class PlainProgress:
    """Says the share that is done, what is being done, and about how long is left.

    What was done before the first report, by an earlier process for instance, took no time that is
    known: only what follows counts. So it is after a share that is smaller than the one before,
    with which something else begins.

    Args:
        say: called with a line.
        clock: seconds.

    >>> now = iter([0.0, 1.0, 3.0])
    >>> report = PlainProgress(print, lambda: next(now))
    >>> report(0.5, "gone on with")
    >>> report(0.6, "epoch 60")
     60%  epoch 60, about 8 s left
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.say, self.clock = say, clock
        self.next = clock() + FIRST
        self.begun, self.done = (0.0, 2.0), 2.0  # no share is as large

    def __call__(self, done: float, text: str) -> None:
        """Take a report, and say it if it is time to."""
        now = self.clock()
        if done < self.done:
            self.begun = now, done
        self.done = done
        if now >= self.next:
            self.next = now + EVERY
            self.say(f"{done:4.0%}  {text}{_left(now - self.begun[0], done - self.begun[1], done)}")


def _left(seconds: float, gained: float, done: float) -> str:
    """Return about how long is left at the pace so far; nothing where there was none."""
    if gained <= 0 or done >= 1:
        return ""
    left = seconds * (1 - done) / gained
    name, size = next((u for u in UNITS if left >= 2 * u[1]), UNITS[-1])
    return f", about {max(1, round(left / size))} {name} left"
