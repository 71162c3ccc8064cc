"""A sample of rows that go by in blocks: the same whatever the blocks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pyromoe.models.table import Rows

if TYPE_CHECKING:
    from pyromoe.models.columns import FloatArray, IntArray

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
        chosen = keys < self.below
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
