"""What each column of a table holds, at a glance: kind, distinct values, missing ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow.compute

from pyromoe.models.tables.columns import column_of, is_numeric, plain_array
from pyromoe.models.tables.missing import is_there

if TYPE_CHECKING:
    from pyromoe.models.tables.columns import FloatArray
    from pyromoe.models.tables.table import Rows

Kind = Literal["integer", "real", "text", "empty"]
MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """A column without its missing values.

    Attributes:
        name: of the column.
        kind: of its values; `integer` also where whole numbers are written 1.0; `empty` of none.
        num_rows: N, those without a value too.
        distinct: how many different values it has.
        there: whether each row has a value, (N,).
        numbers: the values, (N - missing,); of text none.
        words: the different values of text, sorted; of numbers none.
    """

    name: str
    kind: Kind
    num_rows: int
    distinct: int
    there: np.ndarray[tuple[int], np.dtype[np.bool_]]
    numbers: FloatArray
    words: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """How many rows have no value."""
        return self.num_rows - int(self.there.sum())

    @property
    def span(self) -> str:
        """The smallest and the largest number, or the first few words."""
        if len(self.numbers):
            return f"{self.numbers.min():.6g} to {self.numbers.max():.6g}"
        more = ", ..." if self.distinct > MOST_SHOWN else ""
        return ", ".join(self.words[:MOST_SHOWN]) + more


def summarise(rows: Rows) -> list[ColumnSummary]:
    """Return a summary of each column, in the order of the table."""
    return [_summary(rows, name) for name in rows.table.column_names]


def _summary(rows: Rows, name: str) -> ColumnSummary:
    there, column = is_there(rows, name), column_of(rows, name).drop_null()
    num_rows = len(there)
    if not there.any():
        return ColumnSummary(name, "empty", num_rows, 0, there, np.empty(0))
    if not is_numeric(column.type):
        trimmed = pyarrow.compute.utf8_trim_whitespace(column)
        words = tuple(sorted({*trimmed.unique().to_pylist()} - {""}))
        return ColumnSummary(name, "text", num_rows, len(words), there, np.empty(0), words)
    values = plain_array(column).astype(np.float64)
    values = values[~np.isnan(values)]
    whole = np.isfinite(values).all() and (values == np.floor(values)).all()
    kind: Kind = "integer" if whole else "real"
    return ColumnSummary(name, kind, num_rows, len(np.unique(values)), there, values)
