"""Signs of life of the processes of a fit, so that one that hangs is named within seconds.

A thread of each process counts in the store, once a second, and reads what the others count. One
that counts no more for `SILENCE` seconds hangs: it is named, killed where it is on this machine,
and this process leaves, so that torchrun starts all of them again. The thread counts through
long operations of torch, which let other threads run. A process that was stopped itself, as all
are when a laptop sleeps, forgives the others: its own clock jumped.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pyromoe.inference.distributed.who import Who
from pyromoe.inference.terminal import ENVIRONMENT, printable
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyromoe.inference.distributed.meeting import Store

T = TypeVar("T")

SILENCE = 15.0
"""Seconds without a sign of life after which a process hangs."""
EVERY = 1.0
"""Seconds between two signs."""
JUMP = 5.0
"""A clock that is so many seconds late has jumped, or the store was out of reach."""
ENDED, STOPPED, LEFT = "ended", "stopped", "left"
"""How a process is no more: at its end, by a signal, by an error that it told of itself."""
GONE = tuple(how.encode() for how in (ENDED, STOPPED, LEFT))


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
    >>> from pyromoe.inference.distributed.heartbeat import Heartbeat
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
            time.sleep(0.05)

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

    def out_of_touch(self, why: str) -> None:
        """Say that a process elsewhere is out of reach, and which, as far as it is known."""
        far = [r for r in self.others if self.who[r].state(self.me) == "?"] or self.others
        hosts = ", ".join(sorted({self.who[r].host for r in far}))
        several = f"one of the processes {listed(map(str, far))}"
        who = f"process {far[0]}" if len(far) == 1 else several
        self.say(f"{who} (host {hosts}) is out of reach ({why}); {self._next()}")

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
                with suppress(RuntimeError):
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
