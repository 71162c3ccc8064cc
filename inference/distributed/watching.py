"""Leave when another process is lost, and say which."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import distributed as dist

from pyromoe.inference.distributed.heartbeat import EVERY, LEFT, SILENCE, STOPPED, Heartbeat
from pyromoe.inference.files.signals import Stopped
from pyromoe.inference.terminal import ENVIRONMENT
from pyromoe.models.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.distributed.meeting import Place, Store

VARIABLE = "PYROMOE_SILENCE"
"""The variable of the environment that sets other seconds; with 0 nobody watches."""
SOON = 2.0
"""Seconds in which the system makes known that a process has died."""


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
    if not asked:  # torchrun asks soon; what is said here comes first
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
    heart.out_of_touch(_said(error))
    return True


def _said(error: BaseException) -> str:
    """Return what gloo or NCCL said, without the place in its source and its advice."""
    text = one_line(str(error), 1000)
    return one_line(re.sub(r"^\[[^\]]*\] |\. This is typically.*$", "", text), 120)


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
