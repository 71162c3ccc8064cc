"""The rows of a table that is read again and again, encoded as they come."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyromoe.models.data.row_parts import KEPT, TEST, TRAIN
from pyromoe.models.errors import InputError
from pyromoe.models.tables.missing import filled, is_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.data.row_parts import RowParts
    from pyromoe.models.tables.blocks import Blocks
    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.table import Rows


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of a block, from `start` to before `stop`; `first` is the number of the block's first.

    `training` is how many of them are fitted to.
    """

    block: int
    start: int
    stop: int
    first: int
    training: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of one part: `x` (n, D), extras included, and `y` (n,), as in a `Part`."""

    x: NDArray[Any]
    y: FloatArray | IntArray


def shards_of(sizes: Sequence[int], number: int) -> list[list[Segment]]:
    """Return what each of S shards has of the blocks: rows sN/S to (s + 1)N/S.

    >>> [len(shard) for shard in shards_of([4, 4], 2)], shards_of([4, 4], 4)[1]
    ([1, 1], [Segment(block=0, start=2, stop=4, first=0, training=0)])
    """
    ends = [*accumulate(sizes, initial=0)]
    found = []
    for shard in range(number):
        low, high = shard * ends[-1] // number, (shard + 1) * ends[-1] // number
        found.append(
            [
                Segment(block, max(low - first, 0), min(high - first, size), first)
                for block, (first, size) in enumerate(zip(ends, sizes, strict=False))
                if low < first + size and first < high
            ]
        )
    return found


@dataclass(frozen=True, slots=True)
class Stream:
    """A table that was read once: what was learned from it, and how it is read again.

    Attributes:
        blocks: where the rows are.
        encoding: how they become numbers.
        names: the columns that are read.
        parts: which rows are fitted to, tested on and kept back.
        dropped: columns without whose value a row is not used.
        shards: the segments of each shard, in the order of the table.
        rows: how many rows each part has.
        buffer: rows in memory for shuffling, of all shards together.
        precision: of what is read.
    """

    blocks: Blocks
    encoding: Encoding
    names: Sequence[str]
    parts: RowParts
    dropped: Sequence[str]
    shards: Sequence[Sequence[Segment]]
    rows: Mapping[int, int]
    buffer: int
    precision: Literal["float32", "float64"]

    @property
    def segments(self) -> Iterator[Segment]:
        """All segments, in the order of the table."""
        return (segment for shard in self.shards for segment in shard)

    def read(self, segment: Segment, part: int) -> Iterator[Chosen]:
        """Yield the rows of a part in a segment, a piece at a time, in order."""
        for rows, _, found in pieces(self.blocks, segment, self.names, self.parts, self.dropped):
            chosen = found == part
            if not chosen.any():
                continue
            x, y = self.encoding.design(rows, self.precision), self.encoding.response(rows)
            yield Chosen(x, y) if chosen.all() else Chosen(x[chosen], y[chosen])

    def all(self, part: int) -> Iterator[Chosen]:
        """Yield all rows of a part, a piece at a time, in the order of the table."""
        for segment in self.segments:
            yield from self.read(segment, part)

    def digest(self) -> str:
        """Return the SHA-256 of what tells these data from others without reading them again."""
        found = hashlib.sha256(repr(self.encoding).encode())
        counts = [(each.first, each.start, each.stop, each.training) for each in self.segments]
        rows = [self.rows[part] for part in (TRAIN, TEST, KEPT)]
        found.update(repr((self.parts, counts, rows, self.buffer, self.blocks.stamp)).encode())
        return found.hexdigest()


def pieces(
    blocks: Blocks,
    segment: Segment,
    names: Sequence[str],
    parts: RowParts,
    dropped: Sequence[str],
) -> Iterator[tuple[Rows, int, NDArray[np.int8]]]:
    """Yield the rows of a segment, the number of the first, and the part of each, (n,).

    A row that is not used, since it has no value in one of the columns `dropped`, has the part -1;
    another value stands in for its own, so that it can be read.
    """
    number = segment.first + segment.start
    for rows in blocks.read(segment.block, segment.start, segment.stop, names):
        first, number = number, number + rows.table.num_rows
        found, used = parts.of(first, number), np.ones(rows.table.num_rows, dtype=bool)
        for name in dropped:
            used &= is_there(rows, name)
        if not used.any():
            continue
        for name in dropped:
            rows, _ = filled(rows, name)
        yield rows, first, np.where(used, found, -1)
    if number != segment.first + segment.stop:
        raise changed(blocks)


def changed(blocks: Blocks) -> InputError:
    """Say that a table is no longer the one that was read first."""
    what, remedy = "has other rows than when it was read first", "leave it as it is during a fit"
    return InputError(what, file=blocks.source, remedy=remedy)
