"""torchrun with some processes, of which one is killed or stopped at a chosen moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

SOURCE = Path(__file__).parent.parent / "src"


class Torchrun:
    """A launch that leaves no process behind, whatever becomes of it.

    Args:
        program: what each process runs, as arguments of torchrun.
        place: where it runs; what is printed goes to a file there.
        processes: how many.
        restarts: how often torchrun starts them again.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        *program: object,
        place: Path,
        processes: int = 2,
        restarts: int = 3,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.printed = place / "printed.txt"
        options = ["--nproc-per-node", processes, "--max-restarts", restarts]
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
        options += ["--local-addr", "127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, *program]
        path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
        own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        with self.printed.open("wb") as file:
            self.torchrun = subprocess.Popen(
                [str(part) for part in command],
                cwd=place,
                env={**os.environ, **own, **(environment or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.seen = set[int]()

    def __enter__(self) -> Torchrun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seen |= set(self.workers().values())
        for pid in (self.torchrun.pid, *self.seen):  # each leads a group of its own
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.torchrun.wait()

    @property
    def text(self) -> str:
        """What was printed so far."""
        return self.printed.read_text(errors="replace")

    def workers(self) -> dict[int, int]:
        """Return the number in the system of each process, by its number among the processes."""
        found = dict[int, int]()
        for path in Path("/proc").iterdir():
            with suppress(OSError, ValueError, IndexError, StopIteration):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) != self.torchrun.pid or fields[0] == "Z":
                    continue
                variables = (path / "environ").read_bytes().split(b"\0")
                rank = next(v for v in variables if v.startswith(b"RANK="))
                found[int(rank[5:])] = int(path.name)
        self.seen |= set(found.values())
        return found

    def when(self, there: Callable[[], bool], seconds: float) -> None:
        """Wait for something; fail where it takes longer, or where all ends before."""
        until = time.monotonic() + seconds
        while not there():
            assert self.torchrun.poll() is None, self.text
            assert time.monotonic() < until, self.text
            time.sleep(0.02)

    def strike(self, rank: int, number: signal.Signals) -> int:
        """Send a signal to a process; return its number in the system."""
        pid = self.workers()[rank]
        os.kill(pid, number)
        return pid

    def end(self, seconds: float) -> int:
        """Wait for the end; return the exit code of torchrun."""
        until = time.monotonic() + seconds
        while (code := self.torchrun.poll()) is None:
            self.workers()
            assert time.monotonic() < until, self.text
            time.sleep(0.05)
        return code
