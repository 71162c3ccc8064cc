"""Predictions for a file that need not fit into memory, written as they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pyromoe.inference.files.writing import new_file
from pyromoe.inference.posterior.prediction import has_response, levels_of, predict, predicted
from pyromoe.models.data.data import encode_part
from pyromoe.models.data.divide import Part
from pyromoe.models.errors import InputError
from pyromoe.models.tables.blocks import PIECE
from pyromoe.models.tables.columns import column_of
from pyromoe.models.tables.csv_blocks import blocks_of
from pyromoe.models.tables.parquet_blocks import read_folder
from pyromoe.models.tables.table import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.tables.blocks import Blocks

    Report = Callable[[float, str], None]


def predict_file(
    fit: Fit, path: Path, quantiles: Sequence[float], *, per_expert: bool, report: Report
) -> Iterator[pa.Table]:
    """Yield the predictions for the rows of a file or a folder, some at a time.

    They are those of `predict` for the whole table, to the bit. Where rows of a group share one z,
    all are read at once: they may be far apart.

    Args:
        fit: the fit.
        path: a .csv, .csv.gz or .parquet file, or a folder of .parquet files.
        quantiles: see `predict`.
        per_expert: see `predict`.
        report: called with the share that is done and what is being done.
    """
    levels = levels_of(fit, quantiles)
    if fit.encoding.group is not None:
        rows = (read_folder if path.is_dir() else read_rows)(path)
        yield predict(fit, rows, quantiles=quantiles, per_expert=per_expert)
        return
    blocks = blocks_of(path, report)
    there, done, number = has_response(fit, blocks.bare()), 0, sum(blocks.sizes)
    for part in _even(_encoded(fit.encoding, blocks, there=there)):
        yield predicted(fit, part, levels, there=there, per_expert=per_expert)
        done += len(part.x)
        report(done / number, f"predicting {path}, row {done:,}")


def _encoded(encoding: Encoding, blocks: Blocks, *, there: bool) -> Iterator[Part]:
    """Yield all rows, as pieces of blocks."""
    columns = [part.name for part in encoding.predictors]
    columns += [extra.column for extra in encoding.extras if extra.column is not None]
    columns += [target.name for target in encoding.targets if there]
    names, bare = list(dict.fromkeys(columns)), blocks.bare()
    for name in names:
        column_of(bare, name)  # or else an error that knows all columns
    for block, size in enumerate(blocks.sizes):
        for rows in blocks.read(block, 0, size, names):
            yield encode_part(encoding, rows, need_response=there)


def _even(parts: Iterator[Part]) -> Iterator[Part]:
    """Yield the same rows in pieces of one size, the last but one; so sums have one order."""
    x, y, number = list[Any](), list[Any](), 0
    for part in parts:
        x, y, number = [*x, part.x], [*y, part.y], number + len(part.x)
        while number >= PIECE:
            xs, ys = np.concatenate(x), np.concatenate(y)
            yield Part(xs[:PIECE], ys[:PIECE], np.arange(PIECE))
            x, y, number = [xs[PIECE:]], [ys[PIECE:]], number - PIECE
    if number:
        yield Part(np.concatenate(x), np.concatenate(y), np.arange(number))


def write_tables(
    tables: Iterator[pa.Table], path: Path, *, overwrite: bool = False
) -> tuple[int, list[str]]:
    """Write tables one after the other as CSV or Parquet, whole or not at all.

    Returns:
        The number of rows and the names of the columns.

    Raises:
        InputError: for another ending, or a file that exists and is not to be overwritten.
    """
    writers: dict[str, Callable[..., Any]] = {
        ".csv": pyarrow.csv.CSVWriter,
        ".parquet": pyarrow.parquet.ParquetWriter,
    }
    if path.suffix not in writers:
        what = "cannot tell its format; the name must end in .csv or .parquet"
        raise InputError(what, file=str(path))
    rows = 0
    with new_file(path, overwrite=overwrite) as temporary:
        first = next(tables)
        with writers[path.suffix](str(temporary), first.schema) as writer:
            writer.write_table(first)
            rows += first.num_rows
            for table in tables:
                writer.write_table(table)
                rows += table.num_rows
    return rows, first.column_names
