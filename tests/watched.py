"""Commands called one after the other in a process that reports what it should never do.

python watched.py FOLDER [--planted] < JSON of a list of lists of arguments

Writes for each command its exit code, both streams, and what was seen meanwhile: code that came
from a file of the folder or carries the mark of a payload, pickles, processes, connections, and
files that were opened for writing outside the folder. With --planted, the negative control,
parameters are read by a reader that runs what is in them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

MARK = "hostile-canary"
NEVER = {
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
    "subprocess.Popen", "pty.spawn", "socket.connect", "socket.getaddrinfo", "socket.sendto",
    "pickle.find_class", "marshal.load", "marshal.loads", "ctypes.dlopen", "ftplib.connect",
    "urllib.Request", "webbrowser.open",
}  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """What was seen since the last look."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.on = str(folder), list[str](), False

    def hook(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in NEVER and not self._of_import(event):
            self.seen.append(f"{event} {given!r}"[:200])
        if event == "compile" and MARK in str(given[0]):
            self.seen.append(f"compile {given[1]!r}")
        if event == "exec" and self._foreign(given[0]):
            self.seen.append(f"exec {given[0]!r}")
        if event == "open" and not self._may_open(*given):
            self.seen.append(f"open {given!r}")

    def _of_import(self, event: str) -> bool:
        """Python's own import of a library reads its compiled code, and loads what is in C."""
        if event not in ("marshal.loads", "ctypes.dlopen"):
            return False
        frame: Any = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def _foreign(self, code: Any) -> bool:
        from_folder = str(getattr(code, "co_filename", "")).startswith(self.folder)
        return from_folder or MARK in repr(getattr(code, "co_consts", ""))

    def _may_open(self, path: Any, mode: Any, flags: Any) -> bool:
        writes = flags & WRITES if isinstance(flags, int) else set(str(mode)) & set("wax+")
        if not writes or isinstance(path, int):
            return True
        real = os.path.realpath(os.fsdecode(path))
        return real.startswith(self.folder + os.sep) or real == os.devnull


def call(arguments: list[str]) -> tuple[int, str, str]:
    from pyromoe.inference import cli, terminal

    sys.argv = ["pyromoe", *arguments]
    out, err = io.StringIO(), io.StringIO()
    terminal.out.file, terminal.err.file = out, err
    code = -1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
    return code, out.getvalue(), err.getvalue()


def plant() -> None:
    import pickle

    from pyromoe.inference.runs import store

    store.__dict__.update(load_tensors=pickle.loads, parse_json=lambda raw, source: None)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    watch = Watch(folder)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    if "--planted" in sys.argv:
        plant()
    commands = json.load(sys.stdin)
    sys.addaudithook(watch.hook)
    found = []
    for arguments in commands:
        watch.seen, watch.on = [], True
        code, out, err = call(arguments)
        watch.on = False
        found.append({"code": code, "out": out, "err": err, "seen": watch.seen})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
