"""From a specification to arrays: read, choose columns, split, encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pyromoe.models.data.divide import Undivided, parts_of, units_of
from pyromoe.models.data.first_pass import first_pass
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import SpecFile
from pyromoe.models.tables.blocks import TableBlocks
from pyromoe.models.tables.csv_blocks import blocks_of
from pyromoe.models.tables.datasets import read_dataset
from pyromoe.models.tables.parquet_blocks import read_folder
from pyromoe.models.tables.readers import ALONE
from pyromoe.models.tables.table import Rows, plain, read_rows

Report = Callable[[float, str], None]

if TYPE_CHECKING:
    from pyromoe.models.data.divide import Data, Part
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.tables.blocks import Blocks
    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.readers import Readers


def quietly(done: float, text: str) -> None:
    """Report nothing."""


def load(
    spec_file: SpecFile, report: Report = quietly, usual: int = 1, readers: Readers = ALONE
) -> Data:
    """Read and encode the data that a specification names.

    Args:
        spec_file: the specification.
        report: called with the share that is read and what is being done, where data are streamed.
        usual: into how many shards the rows are divided, where the spec does not say.
        readers: who read them together, each its shards, where data are streamed.
    """
    if spec_file.spec.data.stream is None:
        return _undivided(spec_file, None).split()
    shards = spec_file.spec.fit.shards or usual
    return first_pass(spec_file, lambda: _opened(spec_file, report), shards, report, readers)


def _opened(spec_file: SpecFile, report: Report) -> tuple[Blocks, str | None]:
    """Return a table as blocks, and the response that a dataset has itself."""
    file = spec_file.spec.data.file
    if file is not None:
        return blocks_of(spec_file.directory / file, report), None
    rows, default = _rows_of(spec_file)
    return TableBlocks(rows), default


def undivided(spec_file: SpecFile, table: object = None) -> Undivided:
    """Read the data that a specification names, or take a table given in Python in their place.

    Raises:
        InputError: for data that are streamed: all rows must be there.
    """
    if spec_file.spec.data.stream is not None:
        what = "the folds of a selection are made of rows in memory"
        raise spec_file.error("data.stream", what, "remove it")
    return _undivided(spec_file, None if table is None else as_rows(table))


def _undivided(spec_file: SpecFile, rows: Rows | None) -> Undivided:
    default = None
    if rows is None:
        rows, default = _rows_of(spec_file)
    return Undivided.of(spec_file, rows, default)


def _rows_of(spec_file: SpecFile) -> tuple[Rows, str | None]:
    """Return the table that a specification names, and the response that a dataset has itself."""
    data = spec_file.spec.data
    if data.file is not None:
        path = spec_file.directory / data.file
        return (read_folder if path.is_dir() else read_rows)(path), None
    if data.dataset is None:
        raise spec_file.error("data", "needs a file or a dataset", "add e.g. file: train.csv")
    try:
        table, response = read_dataset(data.dataset)
    except InputError as error:
        if error.file is not None:
            raise
        raise spec_file.error("data.dataset", error.what, error.remedy) from None
    return Rows(plain(table, data.dataset), data.dataset), response


def from_table(
    spec: Spec,
    table: object,
    source: str = "table",
    *,
    usual: int = 1,
    readers: Readers = ALONE,
) -> Data:
    """Encode a table given in Python, in place of the file that a specification names.

    Args:
        spec: The specification; `data.file` and `data.dataset` are not used.
        table: A pyarrow Table, a dictionary of arrays, or a data frame.
        source: Its name, for messages.
        usual: into how many shards the rows are divided, where they are streamed and the spec does
            not say.
        readers: who read them together, each its shards, where they are streamed.
    """
    file = SpecFile(spec)
    if spec.data.stream is None:
        return _undivided(file, as_rows(table, source)).split()

    def opened() -> tuple[Blocks, None]:
        return TableBlocks(as_rows(table, source)), None

    return first_pass(file, opened, spec.fit.shards or usual, quietly, readers)


def as_rows(table: object, source: str = "table") -> Rows:
    """Return a table given in Python with columns of numbers and text only."""
    if not isinstance(table, (pa.Table, Mapping)) and not hasattr(table, "__arrow_c_stream__"):
        what = f"{type(table).__name__} is not a table"
        raise InputError(what, file=source, remedy="give a data frame, a dictionary or a Table")
    try:
        found = pa.table(dict(table) if isinstance(table, Mapping) else table)
    except (pa.ArrowException, TypeError, ValueError) as error:
        what = f"cannot be made a table ({' '.join(str(error).split())})"
        raise InputError(what, file=source) from None
    # A data frame brings the labels of its rows along.
    own = [i for i, n in enumerate(found.column_names) if not n.startswith("__index_level_")]
    return Rows(plain(found.select(own), source), source)


def encode_table(
    encoding: Encoding, table: object, source: str = "table", *, need_response: bool = False
) -> tuple[FloatArray, FloatArray | IntArray | None]:
    """Encode new data: `x` (N, D), and `y` (N,) if the response is there or needed.

    Where rows of a group share a z, they are (G, M, D) and (G, M); a table without the column of
    groups has a group for each row.
    """
    rows = table if isinstance(table, Rows) else as_rows(table, source)
    there = all(target.name in rows.table.column_names for target in encoding.targets)
    part = encode_part(encoding, rows, need_response=need_response or there)
    return part.x, part.y if need_response or there else None


def encode_part(encoding: Encoding, rows: Rows, *, need_response: bool = True) -> Part:
    """Encode all rows; without a response, y is missing everywhere."""
    units = units_of(rows, encoding.group, np.arange(rows.table.num_rows))
    return parts_of(encoding, rows, [units], need_response=need_response)[0]
