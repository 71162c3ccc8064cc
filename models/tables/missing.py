"""Missing values of a column, and what stands in for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pyromoe.models.tables.columns import column_of, plain_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyromoe.models.tables.table import Rows


def is_there(rows: Rows, name: str) -> NDArray[np.bool_]:
    """Return whether each row has a value in a column, (N,); NaN and blank text are none."""
    column = column_of(rows, name).combine_chunks()
    missing = column.is_null(nan_is_null=True)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        trimmed = pyarrow.compute.utf8_trim_whitespace(column)
        # By a pattern: to compare with a text of Python's, pyarrow would import pandas.
        blank = pyarrow.compute.match_substring_regex(trimmed, "^$")
        missing = pyarrow.compute.or_kleene(missing, blank)
    # A value of text that is missing equals nothing, but it is missing.
    there: NDArray[np.bool_] = plain_array(missing.cast(pa.uint8())) == 0
    return there


def filled(rows: Rows, name: str) -> tuple[Rows, NDArray[np.bool_]]:
    """Return a table without missing values in a column, and where it had values, (N,).

    The column's first value stands in for those that are missing.

    Raises:
        InputError: for a column without any value.
    """
    there = is_there(rows, name)
    if there.all():
        return rows, there
    if not there.any():
        raise rows.error(name, "has no value at all", "remove the column, or fill it in")
    column = column_of(rows, name).combine_chunks()
    first = column[int(np.argmax(there))]
    whole = pyarrow.compute.if_else(pa.array(there), column, first)
    place = rows.table.column_names.index(name)
    table = rows.table.set_column(place, name, whole)
    return dataclasses.replace(rows, table=table), there
