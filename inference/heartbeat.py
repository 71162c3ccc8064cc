"""Signs of life of the processes of a fit, so that one that hangs is named within seconds.

A thread of each process counts in the store, once a second, and reads what the others count. One
that counts no more for `SILENCE` seconds hangs: it is named, killed where it is on this machine,
and this process leaves, so that torchrun starts all of them again. The thread counts through
long operations of torch, which let other threads run. A process that was stopped itself, as all
are when a laptop sleeps, forgives the others: its own clock jumped.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist

from pyromoe.inference.signals import Stopped
from pyromoe.inference.strict_json import parse_json
from pyromoe.inference.terminal import ENVIRONMENT, printable
from pyromoe.models.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyromoe.inference.meeting import Place, Store

T = TypeVar("T")

SILENCE = 15.0
"""Seconds without a sign of life after which a process hangs."""
EVERY = 1.0
"""Seconds between two signs."""
JUMP = 5.0
"""A clock that is so many seconds late has jumped, or the store was out of reach."""
VARIABLE = "PYROMOE_SILENCE"
"""The variable of the environment that sets other seconds; with 0 nobody watches."""
SOON = 2.0
"""Seconds in which the system makes known that a process has died."""
ENDED, STOPPED, LEFT = "ended", "stopped", "left"
"""How a process is no more: at its end, by a signal, by an error that it told of itself."""
GONE = tuple(how.encode() for how in (ENDED, STOPPED, LEFT))


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


class Heartbeat:
    """Counts for this process, and watches the others.

    Args:
        store: of these processes alone, with a connection of its own.
        rank: which process this is.
        size: W, how many there are.
        silence: seconds without a sign after which a process is lost; 0 to watch nobody.
        restarts: how often torchrun will start all again.
        clock: seconds.
        leave: called with an exit code; does not come back.

    >>> from torch.distributed import HashStore
    >>> from pyromoe.inference.heartbeat import Heartbeat
    >>> alone = Heartbeat(HashStore(), 0, 1)
    >>> alone.start()
    >>> alone.end()
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        *,
        silence: float = SILENCE,
        restarts: int = 0,
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], Any] = os._exit,
    ) -> None:
        self.store, self.rank, self.silence, self.restarts = store, rank, silence, restarts
        self.clock, self.leave = clock, leave
        self.others = [r for r in range(size) if r != rank]
        self.me, self.number = Who.here(), 0
        self.looked, self.last = clock(), dict[int, tuple[bytes, float]]()
        self.over, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        store.set(f"who/{rank}", self.me.written())
        store.set(f"beat/{rank}", "0")

    def start(self) -> None:
        """Begin, once every process has made its own."""
        keys = [f"who/{r}" for r in self.others]
        each = self.store.multi_get(keys) if keys else []
        self.who = dict(zip(self.others, map(Who.read, each), strict=True))
        if self.silence:
            self.thread.start()

    def farewell(self) -> None:
        """Wait until all have come to their end: who leaves first would cut the others off."""
        self._locked(lambda: self.store.set(f"bye/{self.rank}", ""))
        keys = [f"bye/{r}" for r in self.others]
        while keys and not self._locked(lambda: self.store.check(keys)):
            time.sleep(0.02)

    def end(self, how: str = ENDED) -> None:
        """Tell the others that this process ends; it is watched no more."""
        self.over.set()
        with self.lock, suppress(RuntimeError):  # the store may be gone by now
            self.store.set(f"beat/{self.rank}", how)

    def look(self) -> list[int]:
        """Give a sign of life; return the processes that have given none for too long."""
        self.number += 1
        self.store.set(f"beat/{self.rank}", str(self.number))
        beats = self._beats()
        now = self.clock()
        jumped, self.looked = now - self.looked > EVERY + JUMP, now
        for r, beat in beats.items():
            if jumped or r not in self.last or self.last[r][0] != beat:
                self.last[r] = beat, now
        return [
            r for r, (beat, t) in self.last.items() if beat not in GONE and now - t > self.silence
        ]

    def lost(self) -> list[int]:
        """Return the processes on this machine that are no more, and did not say that they left."""
        beats = self._locked(self._beats)
        dead = [r for r, who in self.who.items() if who.state(self.me) in ("", "Z", "X")]
        return [r for r in dead if beats[r] not in GONE]

    def left(self, *hows: str) -> bool:
        """Whether a process is no more, and how it said so is among these."""
        return any(how.encode() in self._locked(self._beats).values() for how in hows)

    def name(self, ranks: Iterable[int], what: str) -> None:
        """Say what became of processes, if no other process said it."""
        for r in ranks:
            if self._locked(partial(self.store.add, f"named/{r}", 1)) == 1:
                self.say(f"process {r} ({self.who[r]}) {what}; {self._next()}")

    def say(self, text: str) -> None:
        """Print one line on stderr, whatever another thread does with it."""
        sys.stderr.flush()
        os.write(2, f"pyromoe: {printable(text)}\n".encode())

    def _next(self) -> str:
        if self.restarts:
            return "torchrun starts all of them again, from the last checkpoint"
        return "no restart is left: go on with --resume, and with a larger --max-restarts"

    def _locked(self, do: Callable[[], T]) -> T:
        """Ask the store, which one thread at a time may do."""
        with self.lock:
            return do()

    def _beats(self) -> dict[int, bytes]:
        keys = [f"beat/{r}" for r in self.others]
        found = self.store.multi_get(keys) if keys else []
        return dict(zip(self.others, found, strict=True))

    def _run(self) -> None:
        while not self.over.wait(EVERY):
            try:
                with self.lock:
                    silent = [] if self.over.is_set() else self.look()
            except RuntimeError:  # torch's own; nothing can be told or heard any more
                self._go("the store of torchrun is gone: this process leaves")
                return
            if os.getppid() != self.me.parent:
                self._go("torchrun is gone: this process leaves")
                return
            if silent:
                self.name(silent, f"has given no sign of life for {self.silence:.0f} s")
                self._kill(silent)
                self.leave(ENVIRONMENT)
                return

    def _go(self, text: str) -> None:
        if not self.over.is_set():
            self.say(f"process {self.rank} ({self.me}): {text}")
            self.leave(ENVIRONMENT)

    def _kill(self, ranks: Iterable[int]) -> None:
        """Kill those that torchrun started here: stopped ones do not obey it for 30 seconds."""
        for r in ranks:
            if self.who[r].state(self.me) not in ("", "?", "Z", "X"):
                with suppress(OSError):
                    os.kill(self.who[r].pid, signal.SIGKILL)


@contextmanager
def watched(store: Store, place: Place) -> Iterator[Heartbeat]:
    """Watch the other processes while the block runs, and leave when one of them is lost.

    Args:
        store: of these processes alone; a connection of its own is made.
        place: this process among them.
    """
    left = place.restarts
    heart = Heartbeat(store.clone(), place.rank, place.size, silence=seconds(), restarts=left)
    heart.start()
    try:
        yield heart
        heart.farewell()
        heart.end()
    except BaseException as error:
        if bereaved(heart, error):
            sys.stdout.flush()
            heart.leave(ENVIRONMENT)  # at once: what torch would tidy up waits for the dead
        heart.end(STOPPED if isinstance(error, (Stopped, KeyboardInterrupt)) else LEFT)
        raise


def bereaved(heart: Heartbeat, error: BaseException) -> bool:
    """Whether an error only says that another process is lost, which is named if it can be."""
    asked = isinstance(error, Stopped) and error.number == signal.SIGTERM  # by torchrun, perhaps
    cut = isinstance(error, dist.DistError) or "gloo" in str(error)
    if not (asked or (isinstance(error, RuntimeError) and cut)):
        return False
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        try:
            if dead := heart.lost():
                heart.name(dead, "has died")
                return True
            if heart.left(LEFT) or (cut and heart.left(STOPPED)):  # it has said why
                return True
        except RuntimeError:  # torch's own
            break
        if asked:
            return False
        time.sleep(0.05)
    heart.say(f"process {heart.rank} lost touch with another one: {one_line(str(error), 200)}")
    return True


def seconds() -> float:
    """Return the silence that the environment asks for.

    Raises:
        InputError: where it is not a number of seconds.
    """
    text = os.environ.get(VARIABLE, str(SILENCE))
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf") or 0 < found < 2 * EVERY:
        what = f"is {text!r}, not a number of seconds"
        raise InputError(what, field=VARIABLE, remedy=f"take {SILENCE:.0f}, or 0 to watch nobody")
    return found
