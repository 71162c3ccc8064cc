"""Checkpoints of a fit by several processes: process 0 keeps them, and all go on from them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pyromoe.inference.files.checkpoints import Checkpoints

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Saved
    from pyromoe.inference.files.signals import Signals


class SharedCheckpoints(Checkpoints):
    """See `Checkpoints`; all processes ask for the same parts, in the same order.

    Args:
        folder: of process 0; the others need not see it.
        processes: which share them.
        signals: of this process.
    """

    def __init__(
        self, folder: Path | str, processes: Processes, signals: Signals | None = None
    ) -> None:
        self.processes = processes
        super().__init__(folder, signals)

    def content(self, name: str) -> bytes | None:
        """See `Checkpoints.content`."""
        return self.processes.bytes_of_first(super().content(name))

    def keep(self, name: str, saved: Saved, *, whole: bool = True) -> None:
        """See `Checkpoints.keep`."""
        if self.processes.first:
            super().keep(name, saved, whole=whole)
        self.last = time.monotonic()

    def clear(self) -> None:
        """See `Checkpoints.clear`."""
        if self.processes.first:
            super().clear()

    def _open(self) -> None:
        if self.processes.first:
            super()._open()
