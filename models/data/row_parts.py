"""Which rows are fitted to, tested on, and kept back: a function of their numbers alone.

Rows are dealt out within blocks of 2**16, each with a generator of its own, so that no process
needs to know what another one reads, and a table that is read block by block is divided as one that
is read whole, if it has no more rows than a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyromoe.models.data.kept_back import STREAM, evenly

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**16
"""Rows that are dealt out together."""
SAMPLED = 1001
"""Beside the seed and the block, what the rows of a sample follow from."""
TRAIN, TEST, KEPT = 0, 1, 2
"""The parts."""


@dataclass(frozen=True, slots=True)
class RowParts:
    """Divides the rows of a table.

    Args:
        rows: N, of the table.
        seed: of the spec.
        test: the share that is tested on.
        kept: the share of the others that is kept back to stop early.

    >>> parts = RowParts(10, seed=0, test=0.2)
    >>> parts.of(0, 10), parts.of(4, 6)
    (array([0, 0, 0, 0, 1, 0, 1, 0, 0, 0], dtype=int8), array([1, 0], dtype=int8))
    """

    rows: int
    seed: int
    test: float
    kept: float = 0.0

    def of(self, start: int, stop: int) -> NDArray[np.int8]:
        """Return the parts of rows, (stop - start,): 0 train, 1 test, 2 kept back."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        found = [np.empty(0, np.int8), *(self._block(block) for block in range(first, last))]
        return np.concatenate(found)[start - first * BLOCK : stop - first * BLOCK]

    def keys(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return a number of each row, (stop - start,), even on [0, 1): a sample has the least."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        found = [np.empty(0)]
        for block in range(first, last):
            found.append(np.random.default_rng([self.seed, SAMPLED, block]).random(BLOCK))
        return np.concatenate(found)[start - first * BLOCK : stop - first * BLOCK]

    def _block(self, block: int) -> NDArray[np.int8]:
        size = min(BLOCK, self.rows - block * BLOCK)
        found = np.zeros(size, np.int8)
        if not self.test and not self.kept:
            return found
        number = min(round(self.test * size), max(size - 1, 0))
        generator = np.random.Generator(np.random.PCG64([self.seed, block]))
        found[generator.permutation(size)[:number]] = TEST
        train = np.flatnonzero(found == TRAIN)
        order = np.random.default_rng([self.seed, STREAM, block]).permutation(len(train))
        found[train[evenly(order, round(self.kept * len(train)))]] = KEPT
        return found
