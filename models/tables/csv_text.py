"""A table from comma-separated text: whole columns of numbers, or text as it is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pyromoe.models.errors import InputError
from pyromoe.models.tables.column_names import check_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DELIMITERS = {";": "';'", "\t": "a tab", "|": "'|'"}
HEXADECIMAL = re.compile("0[xX]")
QUOTED = re.compile(rb'(?:^|[,\r\n])("(?:[^"]++|"")*+")')
NEWLINE = re.compile(rb"\r\n|\r|\n")
LONGEST = 300
"""Digits of a whole number that is still a float."""
EXACT = 2.0**53
"""The whole numbers below are floats."""


def parse_csv(raw: bytes, source: str, *, before: int = 0, as_text: Sequence[str] = ()) -> pa.Table:
    """Read comma-separated UTF-8 text with a header.

    Args:
        raw: the text.
        source: its name, for messages.
        before: rows that stand between the header and the first row, if this is a later block.
        as_text: the columns that are text, whatever stands in them.
    """
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    _check_text(raw, source, before)
    # A cell that ends in this newline can only come from a quote that was never closed.
    raw = raw.rstrip(b"\r\n") + b"\n"
    _check_header(raw, source)
    table = _convert(raw, source, before)
    names = check_names(table.column_names, source)
    if not table.num_rows:
        raise InputError("has a header, but no rows below it", file=source)
    blanks = _blanks(table)
    if blanks:
        table = _convert(raw, source, before, blanks=blanks)
    known = {w for n, w in zip(names, table.column_names, strict=True) if n in as_text}
    known -= {field.name for field in table.schema if pa.types.is_string(field.type)}
    texts = dict.fromkeys([*_written_otherwise(raw, table, source), *known], pa.string())
    if texts:
        table = _convert(raw, source, before, types=texts, blanks=blanks)
    table = table.rename_columns(names)
    if b'"' in raw:
        _check_rows_in_cells(table, source, before)
        _check_closing_quotes(raw, source, before)
    return table


def _check_text(raw: bytes, source: str, before: int) -> None:
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
        row = raw.count(b"\n", 0, bad) + 1 + before
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


def _convert(
    raw: bytes,
    source: str,
    before: int = 0,
    *,
    types: Mapping[str, pa.DataType] | None = None,
    blanks: list[str] | None = None,
) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    options.null_values = [*options.null_values, *(blanks or ())]
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
            convert_options=options,
        )
    except (pa.ArrowException, ValueError) as error:
        raise _csv_error(str(error), source, before) from None


def _csv_error(reason: str, source: str, before: int) -> InputError:
    found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", reason, re.DOTALL)
    if found is None:
        return InputError(f"not valid CSV: {' '.join(reason.split())}", file=source)
    row, expected, got, text = found.groups()
    values = "1 value" if got == "1" else f"{got} values"
    what = f"row {int(row) + before}: {values}, but the header has {expected}"
    open_quote = "\n" in text.strip() or text.count('"') % 2
    remedy = "is a quote left open?" if open_quote else "add or remove a comma"
    return InputError(what, file=source, remedy=remedy)


def _blanks(table: pa.Table) -> list[str]:
    """Return the cells of nothing but spaces, which are missing values."""
    found = set[str]()
    for column in table.columns:
        if pa.types.is_string(column.type):
            blank = pc.match_substring_regex(column, r"^[\s\p{Z}]+$")
            found |= {*column.filter(blank).unique().to_pylist()}
    return sorted(found)


def _written_otherwise(raw: bytes, table: pa.Table, source: str) -> Iterator[str]:
    """Yield the columns that are not numbers or text as they are written: these become text."""
    hexadecimal = b"0x" in raw or b"0X" in raw
    suspects = []
    for field, column in zip(table.schema, table.columns, strict=True):
        floats = pa.types.is_floating(field.type)
        if floats or pa.types.is_integer(field.type):
            if hexadecimal or (floats and _is_long(column)):
                suspects.append(field.name)
        elif not (pa.types.is_string(field.type) or pa.types.is_null(field.type)):
            yield field.name  # dates and the like
    if not suspects:
        return
    written = _convert(raw, source, types=dict.fromkeys(suspects, pa.string()))
    for name in suspects:
        texts = written[name].drop_null().unique().to_pylist()
        if any(HEXADECIMAL.search(text) for text in texts) or merged(texts) is not None:
            yield name


def merged(texts: Iterable[str]) -> int | None:
    """Return the place of the first whole number that equals another one only as a float."""
    found = dict[float, int]()
    for place, text in enumerate(texts):
        if text.strip(" \t").lstrip("+-").isdecimal() and len(text) < LONGEST:
            whole = int(text)
            if found.setdefault(float(whole), whole) != whole:
                return place
    return None


def _is_long(column: pa.ChunkedArray) -> bool:
    """Whether floats may have been whole numbers of more digits than they can hold."""
    return bool((pc.max(pc.abs(column)).as_py() or 0.0) >= EXACT)


def _check_rows_in_cells(table: pa.Table, source: str, before: int) -> None:
    """Refuse a cell with whole rows in it: it begins or ends with a quote that is not meant."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        if name == table.column_names[-1] and (column[-1].as_py() or "").endswith("\n"):
            what = f"row {table.num_rows + 1 + before}: a quote is opened, but never closed"
            raise InputError(what, file=source, field=name, remedy='add or remove a "')
        breaks = pc.count_substring_regex(column, r"\r\n|\r|\n")
        if not pc.max(breaks).as_py():
            continue
        commas = pc.count_substring(column, ",")
        pairs = zip(breaks.to_pylist(), commas.to_pylist(), strict=True)
        for i, (rows, own) in enumerate(pairs):
            if rows and own == rows * (table.num_columns - 1):
                what = f"row {i + 2 + before}: a value goes on in the next row"
                remedy = "is a quote left open? otherwise remove the line break"
                raise InputError(what, file=source, field=name, remedy=remedy)


def _check_closing_quotes(raw: bytes, source: str, before: int) -> None:
    """Refuse text after a closing quote: it would be joined to the text in quotes."""
    for cell in QUOTED.finditer(raw):
        if raw[cell.end() : cell.end() + 1] not in (b",", b"\r", b"\n"):
            row = len(NEWLINE.findall(raw, 0, cell.start(1))) + 1 + before
            what = f"row {row}: a value goes on after its closing quote"
            raise InputError(what, file=source, remedy='write "" for a quote inside')
