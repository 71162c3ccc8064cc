"""Who a process is: named in messages, and looked for on its machine."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyromoe.inference.files.strict_json import parse_json


@dataclass(frozen=True, slots=True)
class Who:
    """A process: its machine, its number there, and that of torchrun, its parent."""

    host: str
    pid: int
    parent: int

    @classmethod
    def here(cls) -> Who:
        """Return this process."""
        return cls(platform.node(), os.getpid(), os.getppid())

    @classmethod
    def sibling(cls, rank: int) -> Who | None:
        """Return the process of a number that the same torchrun started on this machine."""
        me, variable = cls.here(), f"RANK={rank}".encode()
        for path in Path("/proc").glob("[0-9]*"):
            found = cls(me.host, int(path.name), me.parent)
            if found.state(me) == "":
                continue
            with suppress(OSError):
                if variable in (path / "environ").read_bytes().split(b"\0"):
                    return found
        return None

    @classmethod
    def read(cls, raw: bytes) -> Who:
        """Return what another process wrote."""
        found = parse_json(raw, "a process")
        return cls(str(found["host"]), int(found["pid"]), int(found["parent"]))

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}"

    def written(self) -> str:
        """Return it as JSON."""
        return json.dumps({"host": self.host, "pid": self.pid, "parent": self.parent})

    def state(self, mine: Who) -> str:
        """Return the system's letter for what it does, empty where it is gone; "?": unknown.

        Known of a process that the same torchrun started on this machine, and of no other.
        """
        if (self.host, self.parent) != (mine.host, mine.parent) or not Path("/proc/self").exists():
            return "?"
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return ""
        state, parent = text.rpartition(")")[2].split()[:2]
        return state if int(parent) == mine.parent else ""
