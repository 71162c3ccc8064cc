"""Errors of several processes: said once, and not tried again where they would come again."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pyromoe.inference.files.signals import Stopped
from pyromoe.inference.terminal import INPUT, NUMERICAL
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.distributed.meeting import Store

OVER = "over"


@contextmanager
def once(common: Store, *, first: bool) -> Iterator[None]:
    """Let the first process that meets an error say it, and the others leave without a word.

    Args:
        common: the store of all attempts. torchrun starts all again after any error: that this one
            would come again stands there.
        first: whether this is process 0, which says that it was stopped, and what is kept.
    """
    try:
        yield
    except (InputError, ArithmeticError) as error:
        code = INPUT if isinstance(error, InputError) else NUMERICAL
        key = f"said/{hashlib.sha256(str(error).encode()).hexdigest()}"
        said = 1
        with suppress(RuntimeError):  # torch's own; torchrun may have gone
            common.set(OVER, str(code))
            said = common.add(key, 1)
        if said > 1:
            raise SystemExit(code) from None
        raise
    except Stopped as error:
        if not first:
            raise SystemExit(128 + error.number) from None
        raise


def over_before(common: Store) -> None:
    """Leave where an attempt before this one met an error that would come again."""
    if common.check([OVER]):
        raise SystemExit(int(common.get(OVER)))
