"""Columns of unusual types, and the numbers that they mean; None where they mean none."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    Column = Callable[[int], pa.Array]
    Meaning = Callable[[int], list[float]] | None

EXACT = 2**53
INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.uint64()]
TIMES = [
    pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.timestamp("us", "Europe/Paris"),
    pa.timestamp("us", "+05:30"), pa.timestamp("us", "Mars/Olympus"), pa.date32(), pa.date64(),
    pa.time32("s"), pa.time64("ns"), pa.duration("s"),
]  # fmt: skip


def upwards(n: int) -> list[float]:
    """Return 0, 1, 2, ..."""
    return [float(i) for i in range(n)]


def first(value: Any, kind: pa.DataType | None = None) -> Column:
    """Return a column of 0, 1, 2, ... with another first value."""
    return lambda n: pa.array([value, *range(1, n)], kind)


def of(value: Any, kind: pa.DataType | None = None) -> Column:
    """Return a column of one value."""
    return lambda n: pa.array([value] * n, kind)


def typed(kind: pa.DataType) -> Column:
    """Return a column of 0, 1, 2, ... of a type."""
    whole = pa.int32() if kind.bit_width == 32 else pa.int64()
    return lambda n: pa.array(range(n), whole).cast(kind)


def as_floats(n: int) -> pa.Array:
    """Return a column of half precision."""
    return pa.array(np.arange(n, dtype=np.float16))


ODD: dict[str, tuple[Column, Meaning]] = {
    **{str(kind): (typed(kind), upwards) for kind in INTEGERS},
    "half": (as_floats, upwards),
    "single": (typed(pa.float32()), upwards),
    "single, nan": (first(float("nan"), pa.float32()), None),
    "single, inf": (first(float("inf"), pa.float32()), None),
    "double, missing": (first(None, pa.float64()), None),
    "double, 1e301": (first(1e301, pa.float64()), None),
    **{str(kind): (typed(kind), None) for kind in TIMES},
    "decimal": (lambda n: pa.array([Decimal(i) for i in range(n)], pa.decimal128(9, 2)), upwards),
    "decimal, missing": (first(None, pa.decimal128(38, 2)), None),
    "decimal of 38 digits": (
        lambda n: pa.array([Decimal(10**37 + i) for i in range(n)], pa.decimal128(38, 0)),
        None,
    ),
    "integers apart by 1": (lambda n: pa.array([EXACT + i for i in range(n)]), None),
    "integers apart by 2": (
        lambda n: pa.array([EXACT + 2 * i for i in range(n)]),
        lambda n: [float(EXACT + 2 * i) for i in range(n)],
    ),
    "largest integers": (lambda n: pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()), None),
    "nothing": (lambda n: pa.nulls(n), None),
    "missing text": (of(None, pa.string()), None),
    "bool": (of(True), None),
    "text": (of("a"), None),
    "numbers as text": (lambda n: pa.array([str(i) for i in range(n)]), None),
    "view": (of("a", pa.string_view()), None),
    "large text": (of("a", pa.large_string()), None),
    "bytes": (of(b"\xff\xfe"), None),
    "bytes of one width": (of(b"ab", pa.binary(2)), None),
    "date": (of(datetime.date(2026, 1, 1)), None),
    "list": (of([1.0]), None),
    "list of one width": (of([1.0], pa.list_(pa.float64(), 1)), None),
    "struct": (of({"a": 1}), None),
    "map": (of([("a", 1)], pa.map_(pa.string(), pa.int64())), None),
    "dictionary of numbers": (lambda n: pa.array(range(n)).dictionary_encode(), upwards),
    "dictionary of text": (lambda n: pa.array(["a", "b"] * (n // 2)).dictionary_encode(), None),
    "dictionary, missing": (
        lambda n: pa.array([None, *range(1, n)]).dictionary_encode(),
        None,
    ),
}
