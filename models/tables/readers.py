"""Who reads a table together, and what they tell each other: plain data, as JSON or Arrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Readers(Protocol):
    """Those who read the shards of a table; all of them call the same, in the same order."""

    def mine(self, shards: int) -> range:
        """Return which of S shards this one reads; those of the next follow on them."""

    def agree(self, what: str, error: InputError | None) -> None:
        """See that all found the same, and that none met an error."""

    def gather(self, content: bytes) -> list[bytes]:
        """Return what every one gave, in their order."""

    def went_on(self) -> None:
        """Note that this one has read a piece more, where others may wait for it."""


class OneReader:
    """Reads all shards alone."""

    def mine(self, shards: int) -> range:
        """Return all shards."""
        return range(shards)

    def agree(self, what: str, error: InputError | None) -> None:
        """Raise the error, if there is one."""
        if error is not None:
            raise error

    def gather(self, content: bytes) -> list[bytes]:
        """Return what was given."""
        return [content]

    def went_on(self) -> None:
        """Do nothing: nobody waits."""


ALONE = OneReader()


def found_by(readers: Readers, find: Callable[[], Any]) -> list[Any]:
    """Return what all readers found, each in its shards.

    Args:
        readers: who look.
        find: gives what this one finds, of what JSON holds; NaN and infinities too.

    Raises:
        InputError: in all of them, the error that comes first in the order of the rows.
    """
    try:
        own = {"found": find()}
    except InputError as error:
        own = {"error": error.parts}
    each = [json.loads(content) for content in readers.gather(json.dumps(own).encode())]
    for one in each:
        if "error" in one:
            raise InputError(**one["error"])
    return [one["found"] for one in each]
