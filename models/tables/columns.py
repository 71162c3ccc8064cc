"""Take one column out of a table, as numbers or as names; every value is checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pyromoe.models.errors import did_you_mean, listed, quoted
from pyromoe.models.tables.csv_text import merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.tables.table import Rows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LARGEST = 1e300
NUMBER = re.compile(r"[ \t]*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[ \t]*", re.ASCII)
DIGITS = "differs from others in digits that a number cannot hold"
NAMES = "subtract a constant, or list the column under data.categorical"


def column_of(rows: Rows, name: str) -> pa.ChunkedArray:
    """Return a column of a table, missing values and all."""
    place = rows.table.schema.get_field_index(name)
    if place < 0:
        names = rows.table.column_names
        remedy = did_you_mean(name, names) or f"columns: {listed(names)}"
        raise rows.error(name, "no such column", remedy)
    return rows.table.column(place)


def take(rows: Rows, name: str) -> pa.ChunkedArray:
    """Return a column without missing values."""
    column = column_of(rows, name)
    if column.null_count:
        _refuse_missing(rows, name, np.array(column.is_null().to_pylist()))
    return column


def numbers(rows: Rows, name: str, advice: str = "correct it") -> FloatArray:
    """Return a column of numbers, (N,), which may be a view of the table.

    Args:
        rows: The table.
        name: The column.
        advice: What to do when the column holds text.
    """
    column = take(rows, name)
    if not len(column):
        # Of no rows, a column has no type that would mean anything.
        return np.empty(0)
    if not is_numeric(column.type):
        row, what = _first_text(column)
        raise rows.error(name, what, advice, row)
    written = plain_array(column)
    values = written.astype(np.float64, copy=False)
    if written.dtype.kind in "iu":
        _refuse_equal(rows, name, written, values)
    if not -LARGEST <= values.min() <= values.max() <= LARGEST:  # nor where one is NaN
        _refuse_missing(rows, name, np.isnan(values))
        row = int(np.argmax(np.abs(values) > LARGEST))
        remedy = "correct or remove the row"
        raise rows.error(name, f"{values[row]:g} is too large a number", remedy, row)
    return values


NORMAL = "for other numbers set likelihood.family: normal"


def counts(rows: Rows, name: str, advice: str = NORMAL) -> FloatArray:
    """Return a column of counts, (N,)."""
    values = numbers(rows, name)
    wrong = (values < 0) | (values != np.floor(values))
    _refuse(rows, name, values, wrong, "is not a count", f"counts are 0, 1, 2, ...; {advice}")
    return values


def positives(rows: Rows, name: str, advice: str = NORMAL) -> FloatArray:
    """Return a column of numbers above 0, (N,)."""
    values = numbers(rows, name)
    # Told apart in single precision as well, in which a model may be fitted.
    wrong = values.astype(np.float32) <= 0
    _refuse(rows, name, values, wrong, "is not above 0", f"correct it; {advice}")
    return values


def proportions(rows: Rows, name: str) -> FloatArray:
    """Return a column of numbers strictly between 0 and 1, (N,)."""
    values = numbers(rows, name)
    single = values.astype(np.float32)
    what = "is not strictly between 0 and 1"
    advice = f"correct it, or move it inwards by what it was rounded by; {NORMAL}"
    _refuse(rows, name, values, (single <= 0) | (single >= 1), what, advice)
    return values


def _refuse(
    rows: Rows, name: str, values: FloatArray, wrong: NDArray[np.bool_], what: str, remedy: str
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise rows.error(name, f"{quoted(float(values[row]))} {what}", remedy, row)


def texts(rows: Rows, name: str) -> tuple[IntArray, tuple[str, ...]]:
    """Return a column of names as codes, (N,), and the name of each code."""
    column = take(rows, name)
    if pa.types.is_floating(column.type):
        numbers(rows, name)
    if is_numeric(column.type):
        distinct, codes = np.unique(plain_array(column), return_inverse=True)
        words = [_word(value) for value in distinct.tolist()]
    else:
        encoded = column.combine_chunks().dictionary_encode()
        words = [_word(value) for value in encoded.dictionary.to_pylist()]
        codes = plain_array(encoded.indices).astype(np.int64)
    # Different values can be the same word, such as 0.0 and -0.0.
    names = tuple(dict.fromkeys(words))
    place = {word: code for code, word in enumerate(names)}
    codes = np.array([place[word] for word in words], dtype=np.int64)[codes]
    for word in names:
        if "\0" in word:  # which neither NetCDF nor a spec can hold
            row, what = int(np.argmax(codes == place[word])), f"{quoted(word)} has a NUL in it"
            raise rows.error(name, what, "remove that character", row)
    if "" in place:
        _refuse_missing(rows, name, codes == place[""])
    return codes, names


def codes(rows: Rows, name: str, known: Sequence[str]) -> IntArray:
    """Return a column of names as their places among the known ones, (N,)."""
    found, words = texts(rows, name)
    place = {word: code for code, word in enumerate(known)}
    for code, word in enumerate(words):
        if word not in place:
            row = int(np.argmax(found == code))
            remedy = f"{did_you_mean(word, known)} known: {listed(known)}".strip()
            raise rows.error(name, f"{quoted(word)} was not there in training", remedy, row)
    return np.array([place[word] for word in words], dtype=np.int64)[found]


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def plain_array(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return the values of a column without missing ones, (N,)."""
    # Not `to_numpy`, which imports pandas and takes half of the start-up time.
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole) if len(whole) else np.empty(0)


def _word(value: str | float) -> str:
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else repr(value)
    return str(value).strip()


def _refuse_missing(rows: Rows, name: str, missing: NDArray[np.bool_]) -> None:
    if count := int(missing.sum()):
        others = f" (and {count - 1} more)" if count > 1 else ""
        remedy = "fill it in, remove the row, or see data.missing"
        raise rows.error(name, f"missing value{others}", remedy, int(np.argmax(missing)))


def _refuse_equal(rows: Rows, name: str, written: NDArray[Any], values: FloatArray) -> None:
    """Refuse whole numbers that are different as they are written, and equal as floats."""
    with np.errstate(invalid="ignore"):  # the float next to the largest integer is none
        inexact = values.astype(written.dtype) != written
    if not inexact.any() or len(np.unique(values)) == len(np.unique(written)):
        return
    found = [len(np.unique(written[values == value])) > 1 for value in values[inexact]]
    row = int(np.flatnonzero(inexact)[int(np.argmax(found))])
    raise rows.error(name, f"{written[row]} {DIGITS}", NAMES, row)


def _first_text(column: pa.ChunkedArray) -> tuple[int, str]:
    values = column.to_pylist()
    row = next((i for i, value in enumerate(values) if not NUMBER.fullmatch(value)), None)
    if row is not None:
        return row, f"{quoted(values[row])} is not a number"
    row = merged(values)
    return row or 0, f"{quoted(values[row or 0])} {'is text' if row is None else DIGITS}"
