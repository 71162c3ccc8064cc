"""Read a table from CSV or Parquet: numbers stay numbers, everything else becomes text."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pyromoe.models.errors import InputError, listed, quoted, unreadable
from pyromoe.models.tables.column_names import check_names
from pyromoe.models.tables.csv_text import parse_csv

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = (".csv", ".csv.gz", ".parquet")
LARGE = 2**30
"""Bytes to which every file may unpack."""
RATIO = 200
"""How often its size a larger one may unpack to: tables have a tenth of that."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table, with what messages need: its name, and the number of its first row."""

    table: pa.Table
    source: str
    first_row: int = 1

    def error(self, column: str, what: str, remedy: str = "", row: int | None = None) -> InputError:
        """Return an error about a column; `row` counts from 0 in the table."""
        where = "" if row is None else f"row {row + self.first_row}: "
        return InputError(where + what, remedy=remedy, file=self.source, field=quoted(column)[1:-1])


def read_rows(path: Path) -> Rows:
    """Read a table; row numbers count the header of a CSV file as row 1."""
    return Rows(read_table(path), str(path), first_row=1 if path.suffix == ".parquet" else 2)


def read_table(path: Path) -> pa.Table:
    """Read a .csv, .csv.gz or .parquet file, or say what is wrong with it."""
    name = path.name.lower()
    if not name.endswith(ENDINGS) and not os.path.isdir(path):
        raise InputError(
            f"cannot tell its format; the name must end in {listed(ENDINGS)}", file=str(path)
        )
    try:
        ordinary = path.is_file() or path.is_dir() or not path.exists()
        raw = path.read_bytes() if ordinary else b""
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not ordinary:
        raise InputError("is not an ordinary file", file=str(path))
    if not raw:
        raise InputError("the file is empty", file=str(path))
    if name.endswith(".parquet"):
        return _read_parquet(raw, str(path))
    return parse_csv(_decompress(raw, str(path)) if name.endswith(".gz") else raw, str(path))


def _decompress(raw: bytes, source: str) -> bytes:
    text = bytearray()
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while piece := file.read(2**24):
                text += piece
                _check_size(len(text), raw, source)
    except (EOFError, OSError, zlib.error) as error:
        what = f"is not a whole gzip file ({error})"
        raise InputError(what, file=source, remedy="copy or download it again") from None
    return bytes(text)


def _read_parquet(raw: bytes, source: str) -> pa.Table:
    from pyarrow import parquet  # here, for the start-up of commands that read no Parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        _check_size(8 * file.metadata.num_rows * file.metadata.num_columns, raw, source)
        table = file.read(use_threads=False)
        table.validate(full=True)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        what = f"is not a whole Parquet file ({reason})"
        raise InputError(what, file=source, remedy="copy or write it again") from None
    if not table.num_rows:
        raise InputError("has no rows", file=source)
    return plain(table, source)


def _check_size(size: int, raw: bytes, source: str) -> None:
    """Refuse what unpacks to far more than a table does."""
    if size > max(LARGE, RATIO * len(raw)):
        what = f"unpacks to more than {RATIO} times its size"
        raise InputError(what, file=source, remedy="is this the right file?")


def _is_plain(kind: pa.DataType) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(numeric or pa.types.is_string(kind) or pa.types.is_null(kind))


def plain(table: pa.Table, source: str) -> pa.Table:
    """Return the table with columns of numbers and of text only, and checked names."""
    names = check_names(table.column_names, source)
    columns = [
        _plain_column(column, name, source)
        for name, column in zip(names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=names)


def _plain_column(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if (_is_plain(kind) and not pa.types.is_null(kind)) or pa.types.is_large_string(kind):
        return column
    try:
        numbers = column.cast(pa.float64()) if pa.types.is_decimal(kind) else None
        if numbers is not None and len(numbers.unique()) == len(column.unique()):
            return numbers
        return column.cast(pa.string())
    except (pa.ArrowException, ValueError):
        what = f"holds {kind}, neither numbers nor text"
        raise InputError(what, file=source, field=name, remedy="convert or remove it") from None
