"""What happens besides reading while a file is read: nothing should."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    # Python keeps what it compiles of modules that are imported late.
    writes = event == "open" and isinstance(args[2], int) and args[2] & WRITING
    if event in EVENTS or (writes and "__pycache__" not in str(args[0])):
        _open[-1].append(f"{event} {args[:1]}")


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Give a list of what is run, sent or written in the block."""
    found: list[str] = []
    _open.append(found)
    try:
        yield found
    finally:
        _open.pop()
