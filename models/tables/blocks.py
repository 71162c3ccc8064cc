"""A table that need not fit into memory, as blocks of rows that are read again and again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from pyromoe.models.tables.table import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROWS = 2**17
"""Of a block, where the table itself does not say."""
PIECE = 2**16
"""Rows that are read at a time."""
FEW = 256
"""Rows that tell a table from another one."""


class Blocks(Protocol):
    """Blocks of rows: row groups of Parquet files, or stretches of a table in memory."""

    @property
    def source(self) -> str:
        """The table's name, for messages."""

    @property
    def sizes(self) -> Sequence[int]:
        """The rows of each block."""

    @property
    def stamp(self) -> str:
        """What tells this table from another one, as far as is seen without reading it."""

    def bare(self) -> Rows:
        """Return no rows, but the names and types of the columns."""

    def read(self, block: int, start: int, stop: int, names: Sequence[str]) -> Iterator[Rows]:
        """Yield some rows of a block in pieces, in order.

        Args:
            block: which.
            start: the first row, counted from 0 in the block.
            stop: the one after the last.
            names: the columns that are read.
        """


@dataclass(slots=True)
class TableBlocks:
    """A table in memory."""

    rows: Rows
    sizes: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        number = self.rows.table.num_rows
        self.sizes = [min(ROWS, number - first) for first in range(0, number, ROWS)]

    @property
    def source(self) -> str:
        """The table's name, for messages."""
        return self.rows.source

    @property
    def stamp(self) -> str:
        """What tells this table from another one: its size, and a few rows of it."""
        table = self.rows.table
        few = np.linspace(0, table.num_rows - 1, min(table.num_rows, FEW)).astype(np.int64)
        seen = repr(table.take(pa.array(few)).to_pydict())
        return f"{table.num_rows} {hashlib.sha256(seen.encode()).hexdigest()}"

    def bare(self) -> Rows:
        """Return no rows, but the names and types of the columns."""
        return Rows(self.rows.table.slice(0, 0), self.source, self.rows.first_row)

    def read(self, block: int, start: int, stop: int, names: Sequence[str]) -> Iterator[Rows]:
        """Yield some rows of a block in pieces, in order; see `Blocks`."""
        first, table = block * ROWS, self.rows.table.select(list(names))
        for place in range(first + start, first + stop, PIECE):
            piece = table.slice(place, min(PIECE, first + stop - place))
            yield Rows(piece, self.source, self.rows.first_row + place)
