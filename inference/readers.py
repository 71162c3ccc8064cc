"""The processes of a fit as those who read a streamed table together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.inference.processes import Processes, agree
from pyromoe.inference.shards import Shards

if TYPE_CHECKING:
    from pyromoe.models.errors import InputError


@dataclass(frozen=True, slots=True)
class ReadingProcesses:
    """Every process reads the shards that it also fits; see `pyromoe.models.readers.Readers`."""

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
