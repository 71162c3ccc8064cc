"""Read a table from CSV or Parquet: numbers stay numbers, everything else becomes text."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv

from pyromoe.models.errors import InputError, listed, quoted, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENDINGS = (".csv", ".csv.gz", ".parquet")
DELIMITERS = {";": "';'", "\t": "a tab", "|": "'|'"}


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
    if not name.endswith(ENDINGS) and not path.is_dir():
        raise InputError(
            f"cannot tell its format; the name must end in {listed(ENDINGS)}", file=str(path)
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError("is not an ordinary file", file=str(path))
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not raw:
        raise InputError("the file is empty", file=str(path))
    if name.endswith(".parquet"):
        return _read_parquet(raw, str(path))
    return parse_csv(_decompress(raw, str(path)) if name.endswith(".gz") else raw, str(path))


def _decompress(raw: bytes, source: str) -> bytes:
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        what = f"is not a whole gzip file ({error})"
        raise InputError(what, file=source, remedy="copy or download it again") from None


def _read_parquet(raw: bytes, source: str) -> pa.Table:
    from pyarrow import parquet  # here, for the start-up of commands that read no Parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        what = f"is not a whole Parquet file ({reason})"
        raise InputError(what, file=source, remedy="copy or write it again") from None
    return plain(table, source)


def parse_csv(raw: bytes, source: str) -> pa.Table:
    """Read comma-separated UTF-8 text with a header."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    _check_text(raw, source)
    # A cell that ends in this newline can only come from a quote that was never closed.
    raw = raw.rstrip(b"\r\n") + b"\n"
    _check_header(raw, source)
    table = _convert(raw, {}, source)
    names = check_names(table.column_names, source)
    if not table.num_rows:
        raise InputError("has a header, but no rows below it", file=source)
    mixed = {field.name: pa.string() for field in table.schema if not _is_plain(field.type)}
    if mixed:
        # Dates and the like: read again as they are written.
        table = _convert(raw, mixed, source)
    last = table.column(-1)
    if pa.types.is_string(last.type) and (last[-1].as_py() or "").endswith("\n"):
        what = f"row {table.num_rows + 1}: a quote is opened, but never closed"
        raise InputError(what, file=source, field=names[-1], remedy='add or remove a "')
    return plain(table.rename_columns(names), source)


def _check_text(raw: bytes, source: str) -> None:
    every_other = raw[1:100:2]
    wide = bool(every_other) and not every_other.strip(b"\0")
    if wide or raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("looks like UTF-16", file=source, remedy="save it as UTF-8")
    try:
        raw.decode()
        bad = raw.find(b"\0")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        row = raw.count(b"\n", 0, bad) + 1
        what = f"row {row}: not UTF-8 text (byte 0x{raw[bad]:02x})"
        raise InputError(what, file=source, remedy="save it as UTF-8")


def _check_header(raw: bytes, source: str) -> None:
    header = re.split(r"[\r\n]", raw[:1_000_000].decode(errors="ignore"), maxsplit=1)[0]
    if not header.strip():
        raise InputError("row 1: the header is blank", file=source, remedy="start with the names")
    if "," not in header:
        for delimiter, shown in DELIMITERS.items():
            if delimiter in header:
                what = f"row 1: columns seem to be separated by {shown}"
                raise InputError(what, file=source, remedy="save it with commas")


def _convert(raw: bytes, types: dict[str, pa.DataType], source: str) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(raw),
            # One block where possible: a column then has one type from its first row to its last.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=min(len(raw) + 1, 2**31 - 1)
            ),
            # Blank lines count, so that row numbers are those of an editor.
            parse_options=pyarrow.csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise _csv_error(str(error), source) from None


def _csv_error(reason: str, source: str) -> InputError:
    found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", reason, re.DOTALL)
    if found is None:
        return InputError(f"not valid CSV: {' '.join(reason.split())}", file=source)
    row, expected, got, text = found.groups()
    values = "1 value" if got == "1" else f"{got} values"
    what = f"row {row}: {values}, but the header has {expected}"
    open_quote = "\n" in text.strip() or text.count('"') % 2
    remedy = "is a quote left open?" if open_quote else "add or remove a comma"
    return InputError(what, file=source, remedy=remedy)


def check_names(names: Sequence[str], source: str) -> list[str]:
    """Return column names without spaces around them; refuse empty and equal ones."""
    trimmed = [name.strip() for name in names]
    first: dict[str, int] = {}
    for i, name in enumerate(trimmed):
        if not name:
            remedy = "name it, or remove a comma at the end of the rows"
            raise InputError(f"column {i + 1} has no name", file=source, remedy=remedy)
        if "\0" in name:
            what = f"column {i + 1} has a NUL in its name"
            raise InputError(what, file=source, field=name, remedy="rename it")
        normal = unicodedata.normalize("NFC", name)
        if normal in first:
            other = trimmed[first[normal]]
            same = "have the same name" if other == name else "have names that look the same"
            what = f"columns {first[normal] + 1} and {i + 1} {same}"
            raise InputError(what, file=source, field=name, remedy="rename one")
        first[normal] = i
    return trimmed


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
        return column.cast(pa.float64() if pa.types.is_decimal(kind) else pa.string())
    except (pa.ArrowException, ValueError):
        what = f"holds {kind}, neither numbers nor text"
        raise InputError(what, file=source, field=name, remedy="convert or remove it") from None
