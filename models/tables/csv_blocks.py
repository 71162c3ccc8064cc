"""Comma-separated text that need not fit into memory: written once as Parquet, block by block.

The text is cut at ends of rows and every piece parsed as a whole file is. A column of numbers in
some pieces and of text in others is text in all of them, as it is written, so that it may take two
readings of the file to know the types; other whole numbers than floats hold are found in a piece.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pyromoe.models.errors import InputError, listed
from pyromoe.models.tables.blocks import ROWS
from pyromoe.models.tables.csv_pieces import CSVText
from pyromoe.models.tables.parquet_blocks import ParquetBlocks
from pyromoe.models.tables.table import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.models.tables.blocks import Blocks

    Report = Callable[[float, str], None]


def blocks_of(path: Path, report: Report) -> Blocks:
    """Return a file or a folder as blocks of rows.

    Args:
        path: a .csv, .csv.gz or .parquet file, or a folder of .parquet files.
        report: called with the share of a CSV file that is read and what is being done.

    Raises:
        InputError: for what cannot be read.
    """
    name = path.name.lower()
    if path.is_dir() or name.endswith(".parquet"):
        return ParquetBlocks(path)
    if not name.endswith(ENDINGS):
        what = f"cannot tell its format; the name must end in {listed(ENDINGS)}"
        raise InputError(what, file=str(path))
    if path.exists() and not path.is_file():
        raise InputError("is not an ordinary file", file=str(path))
    return _CSVBlocks(path, report)


class _CSVBlocks(ParquetBlocks):
    """The blocks of a CSV file, in a temporary folder that goes with this object."""

    def __init__(self, path: Path, report: Report) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pyromoe-"))
        self.remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self.text = _write(path, folder / "rows.parquet", report)
            super().__init__(folder / "rows.parquet", str(path), header=1)
        except OSError as error:
            self.remove()
            error.add_note(f"{folder} holds {path} while it is streamed; TMPDIR names another")
            raise
        except BaseException:
            self.remove()
            raise

    @property
    def stamp(self) -> str:
        """What tells this text from another one."""
        return self.text


def _write(path: Path, target: Path, report: Report) -> str:
    """Write the rows of a CSV file as Parquet; return what tells them from others."""
    types = dict[str, pa.DataType]()
    while True:
        text, writer = CSVText(path), _Writer(target, types)
        for table in text.tables([n for n, kind in types.items() if pa.types.is_string(kind)]):
            writer.add(table)
            report(text.share, f"reading {path}, row {text.rows:,}")
        if writer.close():
            return f"{path.name} {text.rows} {text.digest:08x}"
        types = writer.types


class _Writer:
    """Writes tables as blocks of `ROWS` rows, as long as their columns have the types of the first.

    Args:
        path: of the file.
        types: of the columns, as far as they are known.
    """

    def __init__(self, path: Path, types: dict[str, pa.DataType]) -> None:
        self.path, self.types, self.known = path, dict(types), bool(types)
        self.writer: Any = None
        self.held: list[pa.Table] = []
        self.good = True

    def add(self, table: pa.Table) -> None:
        """Write a table, or note the types that it has, if they differ."""
        for field in table.schema:
            before = self.types.get(field.name, pa.null())
            after = self.types[field.name] = _wider(before, field.type)
            # What was read as a number is no longer known as it was written.
            mixed = pa.types.is_string(after) and not {before, field.type} <= {after, pa.null()}
            self.good &= not mixed and (after == before or self.writer is None)
        if not self.good:
            return
        schema = pa.schema([(name, self.types[name]) for name in table.column_names])
        self.held.append(table.cast(schema, safe=False))
        if sum(each.num_rows for each in self.held) >= ROWS:
            self._flush(ROWS)

    def close(self) -> bool:
        """Write what is left; return whether every column had one type throughout."""
        if self.good and self.held:
            self._flush(1)
        if self.writer is not None:
            self.writer.close()
        return self.good

    def _flush(self, least: int) -> None:
        from pyarrow import parquet  # here, for the start-up of commands that read no Parquet

        schemas = {each.schema for each in self.held}
        if len(schemas) > 1:
            last = self.held[-1].schema
            self.held = [each.cast(last, safe=False) for each in self.held]
        table = pa.concat_tables(self.held).combine_chunks()
        if self.writer is None:
            words = [field.name for field in table.schema if pa.types.is_string(field.type)]
            self.writer = parquet.ParquetWriter(
                self.path,
                table.schema,
                compression="lz4",
                use_dictionary=words,
                write_page_checksum=True,
            )
        whole = table.num_rows if least < ROWS else table.num_rows // ROWS * ROWS
        for first in range(0, whole, ROWS):
            block = table.slice(first, min(ROWS, whole - first))
            self.writer.write_table(block, row_group_size=ROWS)
        rest = table.slice(whole)
        self.held = [rest] if rest.num_rows else []


def _wider(before: pa.DataType, now: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both."""
    if pa.types.is_null(before) or before == now:
        return now
    if pa.types.is_null(now):
        return before
    text = pa.types.is_string(before) or pa.types.is_string(now)
    return pa.string() if text else pa.float64()
