"""Where the processes that torchrun started find each other: a store, new at every start.

torchrun keeps one store through all restarts, and torch looks there for the addresses of a process
group without a name for the attempt: it finds those of the dead, and each failed try costs a
restart. The number of the restart is no name, since every machine counts its own. So

    every process but 0 asks under a name that nobody had before    ask/3     = mine
    process 0 answers that name with its own, which is the attempt's   answer/mine = attempt
    every process then says that it is there, and 0 that all are      attempt/here/3, attempt/all

What the dead have left is asked or answered under other names, and harms nobody.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from torch import distributed as dist

from pyromoe.inference.distributed.who import Who
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 300.0
"""Seconds until all must have come: a machine may read its programs from a slow disk."""
SLOW = 15.0
"""Seconds after which it is looked whether a process that has not come is stopped."""
REMEDY = "see that every machine runs the same torchrun command and reaches the first"
EVERY = 0.02
"""Seconds between two looks."""


class Missing(OSError):
    """A process that did not come, or has gone: not a mistake of the user, nor of ours."""

    def __init__(self, what: str, remedy: str = REMEDY) -> None:
        super().__init__(what)
        self.add_note(remedy)


class Store(Protocol):
    """What is used of torch's stores: values by name, for all processes.

    `get` waits until there is one; `add` counts from 0 and returns the sum; `clone` makes another
    connection, for another thread.
    """

    def set(self, key: str, value: Any, /) -> None: ...  # noqa: D102
    def get(self, key: str, /) -> bytes: ...  # noqa: D102
    def add(self, key: str, value: int, /) -> int: ...  # noqa: D102
    def check(self, keys: Sequence[str], /) -> bool: ...  # noqa: D102
    def multi_get(self, keys: Sequence[str], /) -> list[bytes]: ...  # noqa: D102
    def clone(self) -> Store: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Place:
    """What torchrun told this process.

    Attributes:
        rank: which of the processes it is, from 0.
        size: W, how many there are.
        address: where the store is.
        port: the same.
        kept: whether torchrun keeps the store; else process 0 does.
        local: whether all processes are on this machine.
        attempt: how often this machine's processes were started again.
        restarts: how often they still may be.
    """

    rank: int
    size: int
    address: str
    port: int
    kept: bool
    local: bool
    attempt: int
    restarts: int

    @classmethod
    def told(cls) -> Place:
        """Read the variables that torchrun sets.

        Raises:
            InputError: naming one that is missing, or is not a number.
        """
        attempt, most = (
            int(os.environ.get(f"TORCHELASTIC_{name}", "0"))
            for name in ("RESTART_COUNT", "MAX_RESTARTS")
        )
        return cls(
            _number("RANK"),
            _number("WORLD_SIZE"),
            _text("MASTER_ADDR"),
            _number("MASTER_PORT"),
            os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"),
            attempt,
            most - attempt,
        )

    def store(self) -> Store:
        """Return a way to the store of all attempts.

        Raises:
            Missing: where it cannot be reached.
        """
        keeps = self.rank == 0 and not self.kept
        try:
            found: Any = dist.TCPStore(  # type: ignore[attr-defined]  # mypy cannot see it
                self.address,
                self.port,
                is_master=keeps,
                timeout=timedelta(seconds=60),
                wait_for_workers=False,
            )
        except RuntimeError:  # torch's own errors, whose text is a stack of calls
            what = f"the store at {self.address}:{self.port} cannot be reached"
            raise Missing(f"process {self.rank}: {what}") from None
        store: Store = found
        return store


@dataclass(frozen=True, slots=True)
class Meeting:
    """What processes that have met share.

    Attributes:
        store: of this attempt alone.
        common: of all attempts.
        attempt: which this is, from 0: how often torchrun has started all of them anew.
    """

    store: Store
    common: Store
    attempt: int


def meet(store: Any, rank: int, size: int, patience: float = PATIENCE) -> Meeting:
    """Return what the processes share, when all have come.

    Raises:
        Missing: naming the processes that did not come in time.

    >>> from pyromoe.inference.distributed import meeting
    >>> from torch.distributed import HashStore
    >>> common = HashStore()
    >>> meeting.meet(common, 0, 1).attempt, meeting.meet(common, 0, 1).attempt
    (0, 1)
    """
    mine, until = secrets.token_hex(8), time.monotonic() + patience
    if rank == 0:
        attempt = _answer(store, mine, size, until)
    else:
        store.set(f"ask/{rank}", mine)
        _wait(lambda: store.check([f"answer/{mine}"]), until, lambda: [0])
        attempt = store.get(f"answer/{mine}").decode()
        store.set(f"{attempt}/here/{rank}", "")
        _wait(lambda: store.check([f"{attempt}/all"]), until, lambda: [0])
    found = within(attempt, store)
    number = int(found.get("number"))
    return Meeting(found, store, number)


def within(name: str, store: Any) -> Any:
    """Return a store whose names are apart from all others in the same one."""
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def _answer(store: Store, attempt: str, size: int, until: float) -> str:
    """Give every process that asks the name of this attempt, until all are there."""
    left, answered = set(range(1, size)), set[str]()

    def all_here() -> bool:
        for rank in sorted(left):
            if store.check([f"{attempt}/here/{rank}"]):
                left.discard(rank)
            elif store.check([f"ask/{rank}"]):
                name = store.get(f"ask/{rank}").decode()
                if name not in answered:
                    answered.add(name)
                    store.set(f"answer/{name}", attempt)
        return not left

    _wait(all_here, until, lambda: sorted(left))
    store.set(f"{attempt}/number", str(store.add("attempts", 1) - 1))
    store.set(f"{attempt}/all", "")
    return attempt


def _wait(there: Callable[[], bool], until: float, missing: Callable[[], list[int]]) -> None:
    look = time.monotonic() + SLOW
    while not there():
        now = time.monotonic()
        if now > until:
            late = ", ".join(f"process {rank}" for rank in missing())
            raise Missing(f"{late} did not come in time")
        if now > look:
            look = now + 1.0
            for rank in missing():
                _end_if_stopped(rank)
        time.sleep(EVERY)


def _end_if_stopped(rank: int) -> None:
    """End a process that torchrun started here and that hangs before it has come."""
    who = Who.sibling(rank)
    if who is not None and who.state(Who.here()) == "T":
        os.kill(who.pid, signal.SIGKILL)
        again = "it is ended; where restarts are left, torchrun starts all of them again"
        raise Missing(f"process {rank} ({who}) is stopped and does not come", again)


def _text(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        remedy = "start with torchrun, which sets it"
        raise InputError("is not set", field=name, remedy=remedy)
    return found


def _number(name: str) -> int:
    found = _text(name)
    if not found.isdecimal():
        remedy = "start with torchrun, which sets it"
        raise InputError(f"is not a number: {found!r}", field=name, remedy=remedy)
    return int(found)
