"""A sample of rows that go by in blocks: the same whatever the blocks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pyromoe.models.tables.table import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.readers import Readers

MOST = 2**14
"""Rows of a sample."""


class Sample:
    """The rows with the least keys, in the order of the table; all, where there are few.

    Args:
        most: rows that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.below = most, np.inf
        self.keys = np.empty(0)
        self.numbers = np.empty(0, np.int64)
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, first: int, places: IntArray, keys: FloatArray) -> None:
        """Add rows of a table.

        Args:
            table: the rows among which they are.
            first: the number of the first of these.
            places: which of these, (n,).
            keys: of each, (n,).
        """
        chosen = keys <= self.below  # of equal keys the first rows are kept
        if not chosen.any():
            return
        self.keys = np.concatenate([self.keys, keys[chosen]])
        self.numbers = np.concatenate([self.numbers, first + places[chosen]])
        self.tables.append(table.take(pa.array(places[chosen])))
        if len(self.keys) > 2 * self.most:
            self._cut()

    def rows(self, like: Rows) -> tuple[Rows, IntArray]:
        """Return the sample and its rows' numbers, (N,); `like` names the table."""
        self._cut()
        table = pa.concat_tables([like.table, *self.tables]).combine_chunks()
        return Rows(table, like.source, like.first_row), self.numbers

    def least(self) -> list[float]:
        """Return the keys of the rows that are kept, (N,)."""
        self._cut()
        found: list[float] = self.keys.tolist()
        return found

    def share(self, readers: Readers, keys: Sequence[Sequence[float]], like: Rows) -> None:
        """Make it the sample of the rows of all readers.

        Args:
            readers: who read them; each calls this.
            keys: of the rows that each of them kept.
            like: names the columns.
        """
        if len(keys) == 1:
            return
        least = np.sort(np.concatenate(keys))[: self.most]
        own = np.flatnonzero(self.keys <= least[-1]) if len(least) else np.arange(0)
        table = pa.concat_tables([like.table, *self.tables]).take(pa.array(own))
        beside = [pa.array(self.keys[own]), pa.array(self.numbers[own])]
        names = [*table.column_names, "", ""]
        sent = _written(pa.Table.from_arrays([*table.columns, *beside], names))
        each = [pa.ipc.open_stream(content).read_all() for content in readers.gather(sent)]
        self.keys = np.concatenate([one.columns[-2].to_numpy() for one in each])
        self.numbers = np.concatenate([one.columns[-1].to_numpy() for one in each])
        self.tables = [one.select([*range(one.num_columns - 2)]) for one in each]

    def _cut(self) -> None:
        """Keep the rows of the least keys, in order."""
        chosen = np.argsort(self.keys, kind="stable")[: self.most]
        if len(self.keys) > self.most:
            self.below = float(self.keys[chosen[-1]])
        chosen = chosen[np.argsort(self.numbers[chosen])]
        if self.tables:
            table = pa.concat_tables(self.tables).combine_chunks()
            self.tables = [table.take(pa.array(chosen))]
        self.keys, self.numbers = self.keys[chosen], self.numbers[chosen]


def _written(table: pa.Table) -> bytes:
    """Return a table as Arrow's stream holds it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
