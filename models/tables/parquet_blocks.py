"""Parquet files as blocks of rows, which are their row groups."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pyromoe.models.errors import InputError, listed, unreadable
from pyromoe.models.tables.blocks import PIECE
from pyromoe.models.tables.column_names import check_names
from pyromoe.models.tables.table import Rows, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyarrow.parquet import FileMetaData, ParquetFile


class ParquetBlocks:
    """A Parquet file, or the files of a folder in the order of their names.

    Args:
        path: of the file or folder.
        source: the name for messages, where it is another one.
        header: how many rows of that came before the first.
    """

    def __init__(self, path: Path, source: str | None = None, header: int = 0) -> None:
        self.source, self.header, self.own = source or str(path), header, source is not None
        self.files = parquet_files(path)
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.places: list[tuple[int, int, int]] = []  # file, row group, its first row in the file
        self.stamps: list[str] = []
        self.schema: pa.Schema | None = None
        for number, file in enumerate(self.files):
            self._add(number, file)
        if not sum(self.sizes):
            raise InputError("has no rows", file=self.source)
        assert self.schema is not None
        self.names = check_names(self.schema.names, self.source)
        self.opened: tuple[int, ParquetFile] | None = None

    @property
    def stamp(self) -> str:
        """What tells these files from others: names, sizes, and what stands at their ends."""
        return "\n".join(self.stamps)

    def bare(self) -> Rows:
        """Return no rows, but the names and types of the columns."""
        assert self.schema is not None
        fields = [self.schema.field(i).with_name(name) for i, name in enumerate(self.names)]
        table = pa.schema(fields).empty_table()
        return Rows(plain(table, self.source), self.source, 1 + self.header)

    def read(self, block: int, start: int, stop: int, names: Sequence[str]) -> Iterator[Rows]:
        """Yield some rows of a block in pieces, in order; see `Blocks`."""
        assert self.schema is not None
        number, group, first = self.places[block]
        source = self.source if self.own else str(self.files[number])
        columns = [self.schema.names[self.names.index(name)] for name in names]
        place = 0
        for batch in self._batches(number, group, columns, source):
            before, place = place, place + batch.num_rows
            low, high = max(start, before), min(stop, place)
            if low < high:
                table = pa.Table.from_batches([batch.slice(low - before, high - low)])
                table = table.select(columns).rename_columns(list(names))
                yield Rows(plain(table, source), source, 1 + self.header + first + low)
            if place >= stop:
                return

    def _batches(
        self, number: int, group: int, columns: list[str], source: str
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row group; what is wrong with it is an error that names the file."""
        if self.opened is None or self.opened[0] != number:
            self.opened = number, _open(self.files[number], source)
        file = self.opened[1]
        if not columns:
            rows = file.metadata.row_group(group).num_rows
            for first in range(0, rows, PIECE):
                yield pa.record_batch([pa.nulls(min(PIECE, rows - first))], [""])
            return
        found = file.iter_batches(
            PIECE, row_groups=[group], columns=columns, use_threads=False, use_pandas_metadata=False
        )
        while True:
            try:
                batch = next(found, None)
                if batch is not None:
                    batch.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise _broken(source, error) from None
            if batch is None:
                return
            yield batch

    def _add(self, number: int, file: Path) -> None:
        opened = _open(file, self.source if self.own else str(file))
        schema, meta = opened.schema_arrow.remove_metadata(), opened.metadata
        if self.schema is None:
            self.schema = schema
        elif schema != self.schema:
            what = _difference(schema, self.schema)
            remedy = f"all files have the columns of {self.files[0].name}"
            raise InputError(what, file=str(file), remedy=remedy)
        first = 0
        for group in range(meta.num_row_groups):
            rows = meta.row_group(group).num_rows
            if rows:
                self.sizes.append(rows)
                self.places.append((number, group, first))
            first += rows
        self.stamps.append(f"{file.name} {os.stat(file).st_size} {_end(file, meta)}")


def read_folder(path: Path) -> Rows:
    """Read the Parquet files of a folder into memory."""
    blocks = ParquetBlocks(path)
    bare = blocks.bare()
    names = bare.table.column_names
    each = [blocks.read(i, 0, size, names) for i, size in enumerate(blocks.sizes)]
    tables = [rows.table for pieces in each for rows in pieces]
    return Rows(pa.concat_tables(tables), blocks.source, bare.first_row)


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files of a folder in the order of their names, or the one file.

    What begins with a dot or an underscore is left out: others keep what is unfinished there.
    """
    if not os.path.isdir(path):
        return [path]
    names = sorted(
        file.relative_to(path).as_posix() for file in path.rglob("*.parquet") if file.is_file()
    )
    found = [path / n for n in names if not any(p.startswith((".", "_")) for p in n.split("/"))]
    if not found:
        raise InputError("has no .parquet file in it", file=str(path), remedy="check the path")
    return found


def _open(path: Path, source: str) -> ParquetFile:
    from pyarrow import parquet  # here, for the start-up of commands that read no Parquet

    if path.exists() and not path.is_file():
        raise InputError("is not an ordinary file", file=source)
    try:
        # A row group that is larger than memory is read a piece at a time.
        return parquet.ParquetFile(
            path, pre_buffer=False, buffer_size=2**20, page_checksum_verification=True
        )
    except FileNotFoundError as error:
        raise unreadable(path, error) from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(source, error) from None


def _end(path: Path, meta: FileMetaData) -> str:
    """Return the SHA-256 of what a file says of its row groups: sizes, least and largest values."""
    with path.open("rb") as file:
        file.seek(-meta.serialized_size - 8, os.SEEK_END)
        return hashlib.sha256(file.read()).hexdigest()


def _broken(source: str, error: Exception) -> InputError:
    what = f"is not a whole Parquet file ({' '.join(str(error).split())})"
    return InputError(what, file=source, remedy="copy or write it again")


def _difference(schema: pa.Schema, other: pa.Schema) -> str:
    """Return how the columns of a file differ from those of the first."""
    names, others = list(schema.names), list(other.names)
    if missing := [name for name in others if name not in names]:
        return f"has no column {listed(missing, 3)}"
    if more := [name for name in names if name not in others]:
        return f"has a column {listed(more, 3)}, and the first file none of that name"
    changed: list[Any] = [n for n in names if schema.field(n).type != other.field(n).type]
    if changed:
        kinds = schema.field(changed[0]).type, other.field(changed[0]).type
        return f"column {changed[0]} holds {kinds[0]}, and {kinds[1]} in the first file"
    return "has its columns in another order than the first file"
