"""Independent pieces of work, spread over processes.

Each process takes the next piece by a counter in the store that all share, does it alone, and puts
there what came of it; so fast processes do more pieces. What is sent are safetensors and JSON, and
nothing of it is executed. Every process ends with all that was found, in the order of the pieces.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pyromoe.inference.files.checkpoints import Saved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.inference.distributed.meeting import Store
    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints

EVERY = 0.1
"""Seconds between two looks at what has come."""
MOST = 2**22
"""Bytes of a value; the store takes twice as many."""


def spread(
    processes: Processes,
    names: Sequence[str],
    work: Callable[[int], Saved],
    arrived: Callable[[int, Saved], None] = lambda i, found: None,
    checkpoints: Checkpoints | None = None,
) -> list[Saved]:
    """Return what came of each piece of work, the same in every process.

    Args:
        processes: all of which call this, for the same work.
        names: of the pieces.
        work: does the piece of a number; it is called in one of the processes.
        arrived: called in every process with each piece, once, when it has come.
        checkpoints: where each piece is kept under its name; what is there is not done again, and
            the checkpoints of that name in these are deleted once the piece is done.

    >>> from pyromoe.inference.files.checkpoints import Saved
    >>> from pyromoe.inference.distributed.processes import ALONE
    >>> from pyromoe.inference.distributed.spreading import spread
    >>> [one.values for one in spread(ALONE, "ab", lambda i: Saved(values={"square": i * i}))]
    [{'square': 0}, {'square': 1}]
    """
    before = [None if checkpoints is None else checkpoints.take(name) for name in names]
    found, number = dict[int, Saved](), len(names)

    def take(i: int, saved: Saved) -> None:
        found[i] = saved
        arrived(i, saved)
        if checkpoints is not None and processes.first:
            if before[i] is None:
                checkpoints.keep(names[i], saved)
            checkpoints.inner(names[i]).clear()

    for i, saved in enumerate(before):
        if saved is not None:
            take(i, saved)
    left = [i for i in range(number) if i not in found]
    store = None if processes.meeting is None else processes.meeting.store
    if store is None or processes.size == 1:
        for i in left:
            take(i, work(i))
        return [found[i] for i in range(number)]

    place = f"spread/{store.add(f'spread/calls/{processes.rank}', 1)}"

    def look() -> None:
        for i in left:
            if i not in found and store.check([f"{place}/{i}/parts"]):
                take(i, Saved.of_bytes(_received(store, f"{place}/{i}"), f"piece {i}"))

    while (n := store.add(f"{place}/next", 1) - 1) < len(left):
        saved = work(i := left[n])
        _send(store, f"{place}/{i}", saved.to_bytes())
        take(i, saved)
        look()
    while len(found) < number:
        time.sleep(EVERY)
        look()
    return [found[i] for i in range(number)]


def _send(store: Store, key: str, content: bytes) -> None:
    starts = range(0, len(content), MOST)
    for n, start in enumerate(starts):
        store.set(f"{key}/{n}", content[start : start + MOST])
    store.set(f"{key}/parts", str(len(starts)))


def _received(store: Store, key: str) -> bytes:
    number = int(store.get(f"{key}/parts"))
    return b"".join(store.get(f"{key}/{n}") for n in range(number))
