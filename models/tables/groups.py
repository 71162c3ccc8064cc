"""Rows of a group side by side, so that a group is one datum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyromoe.models.tables.columns import IntArray

NOTHING = -1
"""In the place of a row, where a group has fewer rows than the largest one."""


def rows_of_groups(group: IntArray) -> IntArray:
    """Return the rows of each group in their order, (G, M), filled up with NOTHING.

    Args:
        group: of each row, (N,), numbers from 0 to G - 1, all of which occur.

    >>> rows_of_groups(np.array([0, 1, 0, 0]))
    array([[ 0,  2,  3],
           [ 1, -1, -1]])
    """
    order, counts = np.argsort(group, kind="stable"), np.bincount(group)
    found = np.full((len(counts), counts.max(initial=0)), NOTHING)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    found[group[order], place] = order
    return found


def gathered(values: NDArray[Any], rows: IntArray, *, missing: bool) -> NDArray[Any]:
    """Return what belongs to rows, (N, ...), by group, (G, M, ...).

    Args:
        values: of each row.
        rows: from `rows_of_groups`.
        missing: whether what fills up a group is marked as missing: NaN, or -1 for integers;
            otherwise it repeats the group's first row, so that it is a value like others.
    """
    absent = rows == NOTHING
    found: NDArray[Any] = values[np.where(absent, rows[:, :1], rows)]
    if missing:
        found[absent] = np.nan if found.dtype.kind == "f" else -1
    return found
