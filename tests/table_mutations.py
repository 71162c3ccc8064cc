"""Malformed tables, and what may come of each: for the tests and benchmarks/fuzz_tables.py.

A table is read, or refused with one line. What is read must be what another reader finds in the
same text: one that knows no missing values, no hexadecimal numbers and no rows of another length.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzzing import watched
from odd_columns import ODD

from pyromoe.models.data.data import load
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec_file import SpecFile

    Read = Callable[[SpecFile], Data]
Table = dict[str, list[Any]]
N = 24
NUMBERS = ("x", "k", "y")
COLOURS = ("red", "blue", "grün")
SPEC = """
data: {file: FILE, response: y, predictors: [x, k, c], categorical: [c], standardise: none,
       split: {test: 0}}
likelihood: {family: normal}
fit: {precision: float64}
"""
CELL = re.compile(r"[ \t]*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[ \t]*", re.ASCII)
LARGEST = 1e300
CELLS = [
    "", " ", "\t", "NA", "None", "nan", "NaN", "-nan", "nan(1)", "null", "-", "--", "?", ".", "inf",
    "-inf", "Infinity", "1e400", "-1e400", "1e301", "1e-400", "1e", "e5", "0x10", "-0x10", "0X1f",
    "1_000", "1 000", "1,5", '"1,5"', "1;5", "5%", "$5", "1d5", "1.5f", "\u0663", "\u22123",
    "\u00a03", "½", "1/2", "3..5", "1.2.3", "+-3", "true", "2020-01-01", "10:30", "3\u200b", '"3',
    '3"', '"3"x', '"1"2', '""3', '""', '"3\n"', '"\n"', "3\r", "\x0b3", "\x1b[31m", "=1+1", "oops",
    "\ufeff3", "'3'",
]  # fmt: skip
BITS = [
    b",", b",,", b";", b"\t", b"|", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xfe\xff",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1a", b" ", b"#", b"\\", b"'", b"-", b"e",
]  # fmt: skip
HEADERS = [
    b"x,k,c,x", b"x,k,c,", b",k,c,y", b"x,,c,y", b"x,k,c,y,", b"x,k,c", b"x;k;c;y", b"x\tk\tc\ty",
    b"x,k,c,y,z", b"1,2,3,4", b"", b"   ", b"x, x ,c,y", b'"x,k",c,y', b'"x,k,c,y', b"X,K,C,Y",
    "x,é,e\u0301,y".encode(), "x,k,c,y,y\u200b".encode(), b"x,k,c," + b"y" * 10**6,
]  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A malformed table.

    Attributes:
        name: of what was done.
        ending: of the file.
        raw: its bytes.
        valid: what may be read from it, every one of these; of none, it must be refused.
        place: the column and the row that are wrong, where only these are.
    """

    name: str
    ending: str
    raw: bytes
    valid: tuple[Table, ...]
    place: tuple[str, int] | None = None

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"a{self.ending}"


def spec_of(mutation: Mutation) -> bytes:
    """Return a specification of the table."""
    return SPEC.replace("FILE", mutation.file).encode()


def table() -> Table:
    """Return the table that is broken."""
    chance = np.random.default_rng(0)
    return {
        "x": [round(v, 3) for v in chance.normal(size=N).tolist()],
        "k": chance.integers(0, 50, N).tolist(),
        "c": [COLOURS[i % 3] for i in range(N)],
        "y": [round(v, 2) for v in chance.normal(5, 2, N).tolist()],
    }


WHOLE = table()


def cells() -> list[list[str]]:
    """Return the table as text, with its header."""
    return [[*WHOLE], *([str(v) for v in row] for row in zip(*WHOLE.values(), strict=True))]


def joined(rows: list[list[str]], delimiter: str = ",") -> bytes:
    """Return rows as the bytes of a file."""
    return "".join(f"{delimiter.join(row)}\n" for row in rows).encode("utf-8", "surrogatepass")


def referee(raw: bytes) -> Table | None:
    """Return what a strict reader finds in the text of a CSV file; None where it refuses it."""
    try:
        text = raw.decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    except (ValueError, csv.Error):
        return None
    names = [name.strip() for name in header]
    if "\0" in text or not {*WHOLE} <= {*names} or len({*names}) < len(names) or "" in names:
        return None
    if any(len(row) != len(names) for row in rows):
        return None
    found: Table = {name: [row[names.index(name)] for row in rows] for name in WHOLE}
    for name in NUMBERS:
        if not all(CELL.fullmatch(cell) and abs(float(cell)) <= LARGEST for cell in found[name]):
            return None
        found[name] = [float(cell) for cell in found[name]]
    found["c"] = [cell.strip() for cell in found["c"]]
    return found if all(found["c"]) else None


def of_text(name: str, raw: bytes, place: tuple[str, int] | None = None, rows: int = 0) -> Mutation:
    """Return a CSV file and what is in it; of a number of rows, where one is given."""
    found = referee(raw)
    lost = found is not None and rows and len(found["x"]) != rows
    return Mutation(name, ".csv", raw, () if found is None or lost else (found,), place)


def broken_cell(chance: Random) -> Mutation:
    """Return a file in which one cell is another."""
    rows, row, column = cells(), chance.randrange(N) + 1, chance.choice(NUMBERS)
    cell = chance.choice(CELLS)
    rows[row][[*WHOLE].index(column)] = cell
    alone = not set(cell) & set('",\n\r;')
    place = (column, row + 1) if alone and cell != "\0" else None
    return of_text(f"cell {cell!r}", joined(rows), place, N)


def broken_row(chance: Random) -> Mutation:
    """Return a file with a row of another length, or in another place."""
    rows, row, column = cells(), chance.randrange(N) + 1, chance.randrange(4)
    kind = chance.choice(["short", "long", "empty", "twice", "shifted", "header", "quoted", "cut"])
    if kind == "short":
        del rows[row][column]
    elif kind == "long":
        rows[row].insert(column, "7")
    elif kind == "empty":
        rows[row] = [""] * chance.choice([0, 1, 4, 5])
    elif kind == "twice":
        rows.insert(row, rows[row])
    elif kind == "shifted":
        rows[row] = [*rows[row][1:], ""]
    elif kind == "header":
        return of_text(kind, chance.choice(HEADERS) + b"\n" + joined(rows[1:]))
    elif kind == "quoted":  # from here to there is one value, with whole rows in it
        end = min(N, row + chance.randrange(1, 4))
        rows[row][column], rows[end][column] = f'"{rows[row][column]}', f'{rows[end][column]}"'
        return of_text(kind, joined(rows), None, N if end > row else 0)
    else:
        whole = joined(rows)
        return of_text(kind, whole[: chance.randrange(len(whole))])
    return of_text(kind, joined(rows))


def broken_text(chance: Random) -> Mutation:
    """Return a file in another encoding, with other delimiters, or with bytes that do not fit."""
    kind = chance.choice(["encoding", "delimiter", "newline", "bits", "bits", "bits", "bytes"])
    raw = bytearray(joined(cells()))
    if kind == "encoding":
        code = chance.choice(["latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
        return of_text(code, bytes(raw).decode().encode(code))
    if kind == "delimiter":
        delimiter = chance.choice([";", "\t", "|", " ", ":", ", ", ",,"])
        return of_text(f"{kind} {delimiter!r}", joined(cells(), delimiter))
    if kind == "newline":
        return of_text(kind, bytes(raw).replace(b"\n", chance.choice([b"\r", b"\r\n", b"\n\n"])))
    for _ in range(chance.choice([1, 1, 2, 5])):
        place, length = chance.randrange(len(raw) + 1), chance.randrange(3)
        some = bytes(chance.randrange(256) for _ in range(2))
        raw[place : place + length] = chance.choice(BITS) if kind == "bits" else some
    return of_text(kind, bytes(raw))


def parquet_bytes(columns: dict[str, Any] | pa.Table) -> bytes:
    """Return a Parquet file with checksums of its pages."""
    sink = io.BytesIO()
    whole = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(whole, sink, write_page_checksum=True)
    return sink.getvalue()


def damaged(chance: Random) -> Mutation:
    """Return a compressed file that is cut off, or in which bits are wrong."""
    ending = chance.choice([".csv.gz", ".parquet"])
    whole = gzip.compress(joined(cells())) if ending == ".csv.gz" else parquet_bytes(WHOLE)
    raw = bytearray(whole)
    kind = chance.choice(["cut", "flipped", "flipped", "flipped", "longer", "hole"])
    if kind == "cut":
        del raw[chance.randrange(len(raw)) :]
    elif kind == "flipped":
        for _ in range(chance.choice([1, 1, 3])):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif kind == "longer":
        raw += bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
    else:
        start = chance.randrange(len(raw))
        raw[start : start + 40] = bytes(len(raw[start : start + 40]))
    return Mutation(f"{ending} {kind}", ending, bytes(raw), (WHOLE,))


def odd(chance: Random) -> Mutation:
    """Return a Parquet file with a column of an unusual type."""
    name, (values, meaning) = chance.choice([*ODD.items()])
    column = chance.choice(["x", "k", "y"])
    table = pa.table(WHOLE)
    table = table.set_column(table.column_names.index(column), column, values(N))
    valid = () if meaning is None else ({**WHOLE, column: meaning(N)},)
    return Mutation(f"parquet {name}", ".parquet", parquet_bytes(table), valid)


KINDS = (broken_cell, broken_cell, broken_row, broken_row, broken_text, broken_text, damaged, odd)


def mutation(chance: Random) -> Mutation:
    """Return a malformed table of any kind."""
    return chance.choice(KINDS)(chance)


def fixed() -> list[Mutation]:
    """Return the tables that are too large or too odd to be made at random."""
    rows, longer = cells(), 20_000 // N + 1
    late = joined([rows[0], *(rows[1:] * longer)[:19_999], ["oops", *rows[1][1:]], *rows[1:]])
    digits = [rows[0], ["9" * 10**6, *rows[1][1:]], *rows[2:]]
    letters = [rows[0], ["9", "a" * 10**6, *rows[1][2:]], *rows[2:]]
    more = [f"z{i}" for i in range(9_996)]
    wide = [[*row, *(more if i == 0 else ["1"] * len(more))] for i, row in enumerate(rows)]
    arrays = pa.table(WHOLE).columns
    twice = pa.Table.from_arrays([*arrays, arrays[0]], names=[*WHOLE, "x"])
    none = pa.table(WHOLE).slice(0, 0)
    return [
        of_text("text in row 20,001", late, ("x", 20_001)),
        of_text("a million digits", joined(digits), ("x", 2)),
        of_text("a million letters", joined(letters), ("k", 2)),
        of_text("10,000 columns", joined(wide)),
        Mutation("a name twice", ".parquet", parquet_bytes(twice), ()),
        Mutation("no rows", ".parquet", parquet_bytes(none), ()),
    ]


def read_back(data: Data) -> Table:
    """Return the columns that a fit would see."""
    levels = data.encoding.predictors[2].levels  # type: ignore[union-attr]
    codes = (data.train.x[:, 2:] * np.arange(1, len(levels))).sum(1).astype(int)
    return {
        "x": data.train.x[:, 0].tolist(),
        "k": data.train.x[:, 1].tolist(),
        "c": [levels[code] for code in codes],
        "y": data.train.y.tolist(),
    }


def outcome(mutation: Mutation, folder: Path, read: Read = load) -> str:
    """Read a table, and return the line of its error, or nothing where it was read.

    Raises:
        AssertionError: for an error that is not one printable line, or names another place, and
            for a table that is not what the file holds.
    """
    (folder / mutation.file).write_bytes(mutation.raw)
    file = parse_spec(spec_of(mutation), f"{folder}/s.yaml")
    try:
        with watched():
            found = read_back(read(file))
    except InputError as error:
        _check(error, mutation)
        return str(error).replace(f"{folder}/", "")
    assert any(_same(found, valid) for valid in mutation.valid), f"silent: {mutation.name}"
    return ""


def _check(error: InputError, mutation: Mutation) -> None:
    line = str(error)
    assert error.file, f"no file: {line!r}"
    assert line.isprintable(), f"not printable: {line!r}"
    assert len(line) <= 400, f"too long: {line!r}"
    if mutation.place is not None and not mutation.valid:
        column, row = mutation.place
        assert f"row {row}: " in error.what, f"not row {row}: {line!r}"
        assert error.field in (column, ""), f"not column {column}: {line!r}"


def _same(found: Table, valid: Table) -> bool:
    if found["c"] != valid["c"]:
        return False
    pairs = [(f, v) for n in NUMBERS for f, v in zip(found[n], valid[n], strict=True)]
    return all(math.isclose(f, float(v), rel_tol=1e-15) for f, v in pairs)
