"""Signals that ask to stop: Ctrl-C, and SIGTERM."""

from __future__ import annotations

from dataclasses import dataclass


class Stopped(BaseException):
    """A signal asked to stop; not an error, so that no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


@dataclass
class Signals:
    """A signal that has come, for a fit that looks at it after every step.

    Attributes:
        came: its number.
        awaited: whether somebody looks; what nobody looks at stops at once.
    """

    came: int | None = None
    awaited: bool = False

    def take(self, number: int, frame: object) -> None:
        """Note a signal, as its handler; stop at once at the second, or where nobody looks.

        Raises:
            Stopped: to stop at once.
        """
        if not self.awaited or self.came is not None:
            raise Stopped(number)
        self.came = number
