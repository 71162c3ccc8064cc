r"""A number that changes over the fit, such as a temperature.

    constant       start
    linear         start + (end - start) s
    exponential    start (end / start)^s
    cosine         end + (start - end) (1 + cos(pi s)) / 2

s is the share of the fit that is done, from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    """From `start` to `end`; both positive where the course is exponential.

    >>> from pyromoe.inference import Schedule
    >>> temperature = Schedule(1.0, 0.01)
    >>> [round(temperature.at(done), 4) for done in (0.0, 0.5, 1.0)]
    [1.0, 0.1, 0.01]
    """

    start: float
    end: float
    schedule: Literal["constant", "linear", "exponential", "cosine"] = "exponential"

    def __post_init__(self) -> None:
        if self.schedule == "exponential" and not (self.start > 0 and self.end > 0):
            raise ValueError(
                f"an exponential schedule needs positive ends, got {self.start} and {self.end}"
            )

    def at(self, done: float) -> float:
        """Return the value when the share `done`, from 0 to 1, of the fit is done.

        >>> Schedule(1.0, 0.25).at(0.5)
        0.5
        """
        if self.schedule == "constant":
            return self.start
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * done
        if self.schedule == "exponential":
            return float(self.start * (self.end / self.start) ** done)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * done)) / 2
