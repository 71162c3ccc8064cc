"""Read broken files one after the other, and count what becomes of them.

Besides reading, nothing should happen: what is run, sent or written meanwhile is counted too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Case = TypeVar("Case")

EVENTS = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename",
    "os.mkdir", "os.putenv", "subprocess.Popen", "socket.connect", "socket.bind",
    "pickle.find_class", "ctypes.dlopen",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_open: list[list[str]] = []


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _open:
        return
    # What Python compiles of modules that are imported late is kept.
    writes = event == "open" and isinstance(args[2], int) and args[2] & WRITING
    if event in EVENTS or (writes and "__pycache__" not in str(args[0])):
        _open[-1].append(f"{event} {args[:1]}")


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[None]:
    """Fail where something is run, sent or written in the block."""
    found: list[str] = []
    _open.append(found)
    try:
        yield
    finally:
        _open.pop()
        assert not found, f"executed: {found}"


@dataclass
class Tally:
    """What became of the files: the line of each error, or nothing where one was read."""

    lines: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def line(self) -> str:
        """Return the counts."""
        read, errors = self.lines[""], self.lines.total() - self.lines[""]
        silent, executed = (
            sum(f"AssertionError: {word}: " in failure for failure in self.failures)
            for word in ("silent", "executed")
        )
        return (
            f"{read} read, {errors} errors ({len(set(self.lines) - {''})} distinct), "
            f"{len(self.failures)} failures ({silent} silent, {executed} executed), "
            f"slowest {1000 * self.slowest:.0f} ms"
        )


def fuzz(
    cases: Iterable[Case],
    outcome: Callable[[Case], str],
    every: int | None = None,
) -> Tally:
    """Count the outcomes of cases.

    Args:
        cases: to read.
        outcome: reads one, and returns the line of its error, or nothing.
        every: after how many cases a line of progress is printed.
    """
    tally, started = Tally(), time.perf_counter()
    for number, case in enumerate(cases, start=1):
        before = time.perf_counter()
        try:
            tally.lines[outcome(case)] += 1
        except Exception as error:
            tally.failures.append(f"{number}: {type(error).__name__}: {error}; {case!r}")
        tally.slowest = max(tally.slowest, time.perf_counter() - before)
        if every and number % every == 0:
            print(f"{number:6d} in {time.perf_counter() - started:4.0f} s: {tally.line()}")
    return tally


def check_failures(files: Iterable[dict[str, bytes]]) -> list[str]:
    """Return what was wrong where `pyromoe check` read files, in a process for each set of them.

    Each set has the specification s.yaml. The command may read it, or print one line and end with
    2; it leaves the folder as it was.
    """
    failures = []
    for each in files:
        with TemporaryDirectory() as folder:
            for name, raw in each.items():
                Path(folder, name).write_bytes(raw)
            command = [sys.executable, "-m", "pyromoe", "check", "s.yaml"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            ends = (done.returncode, done.stderr.count("\n")) in ((0, 0), (2, 1))
            kept = {path.name: path.read_bytes() for path in Path(folder).iterdir()} == each
            if not ends or not kept or "Traceback" in done.stderr:
                failures.append(f"exit {done.returncode}: {done.stderr}; {each!r}")
    return failures
