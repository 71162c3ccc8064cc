"""The history of a restart, small enough to be kept whatever the number of steps."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WHOLE = ("restart", "epoch", "step")
"""Columns of whole numbers."""


class History:
    """Rows, a column an array of numbers: a twelfth of what they would take one by one.

    Args:
        columns: numbers by name, all equally many; NaN stands for None.

    >>> rows = History()
    >>> rows.append({"step": 1, "loss": 2.5, "log_likelihood": None})
    >>> list(rows)
    [{'step': 1, 'loss': 2.5, 'log_likelihood': None}]
    """

    def __init__(self, columns: Mapping[str, Iterable[float]] | None = None) -> None:
        self.columns = {name: array("d", numbers) for name, numbers in (columns or {}).items()}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, with the columns of the first."""
        if not self.columns:
            self.columns = {name: array("d") for name in row}
        for name, column in self.columns.items():
            column.append(math.nan if row[name] is None else row[name])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        for values in zip(*self.columns.values(), strict=True):
            yield {n: _of(n, value) for n, value in zip(self.columns, values, strict=True)}


def _of(name: str, value: float) -> float | None:
    if math.isnan(value):
        return None
    return int(value) if name in WHOLE else value
