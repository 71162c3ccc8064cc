"""The processes of a fit as those who read a streamed table together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.inference.distributed.processes import Processes, agree
from pyromoe.inference.distributed.shards import Shards
from pyromoe.models.tables.readers import OneReader

if TYPE_CHECKING:
    from pyromoe.models.errors import InputError

EVERY = 60.0
"""Seconds after which process 0 is heard of; a tenth of what others are patient for."""


@dataclass(frozen=True, slots=True)
class ReadingProcesses:
    """Every process reads the shards that it also fits; see `Readers` in `models/tables`."""

    processes: Processes

    def mine(self, shards: int) -> range:
        """Return which of S shards this process reads."""
        return Shards(shards, self.processes).mine

    def agree(self, what: str, error: InputError | None) -> None:
        """See that all found the same, and that none met an error."""
        agree(self.processes, what, error)

    def gather(self, content: bytes) -> list[bytes]:
        """Return what every process gave, in their order."""
        return self.processes.gathered(content)

    def went_on(self) -> None:
        """Do nothing: the others read too."""


class WaitedFor(OneReader):
    """Process 0, which reads all rows while the others wait: now and then they hear from it.

    Args:
        processes: of the fit.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes, self.last = processes, time.monotonic()

    def went_on(self) -> None:
        """Let the others wait on."""
        if time.monotonic() - self.last >= EVERY:
            self.processes.said(None)
            self.last = time.monotonic()
