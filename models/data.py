"""From a specification to arrays: read, choose columns, split, encode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pyromoe.models.columns import texts
from pyromoe.models.datasets import read_dataset
from pyromoe.models.errors import InputError
from pyromoe.models.groups import NOTHING, gathered, rows_of_groups
from pyromoe.models.learn import learn
from pyromoe.models.missing import filled
from pyromoe.models.roles import extras_of, predictors_of, responses_of
from pyromoe.models.spec_file import SpecFile
from pyromoe.models.table import Rows, plain, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.encoding import Encoding
    from pyromoe.models.spec import Spec


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows: `x` (N, D), `y` (N,), and `rows` (N,), their places in the table from 0.

    After the D predictors, x has a column for each extra of the encoding; of R responses, y is
    (N, R). Where rows of a group share a z, all have one more dimension, M, after the first, and
    groups of fewer rows are filled up: with -1 in `rows` and missing responses in y.
    """

    x: FloatArray
    y: FloatArray | IntArray
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Data:
    """A table as numbers, split for fitting and testing; `test` may have no rows."""

    encoding: Encoding
    train: Part
    test: Part
    source: str


def load(spec_file: SpecFile) -> Data:
    """Read and encode the data that a specification names."""
    data = spec_file.spec.data
    if data.file is not None:
        return _encode(spec_file, read_rows(spec_file.directory / data.file), None)
    if data.dataset is None:
        raise spec_file.error("data", "needs a file or a dataset", "add e.g. file: train.csv")
    try:
        table, response = read_dataset(data.dataset)
    except InputError as error:
        if error.file is not None:
            raise
        raise spec_file.error("data.dataset", error.what, error.remedy) from None
    return _encode(spec_file, Rows(plain(table, data.dataset), data.dataset), response)


def from_table(spec: Spec, table: object, source: str = "table") -> Data:
    """Encode a table given in Python, in place of the file that a specification names.

    Args:
        spec: The specification; `data.file` and `data.dataset` are not used.
        table: A pyarrow Table, a dictionary of arrays, or a data frame.
        source: Its name, for messages.
    """
    return _encode(SpecFile(spec), as_rows(table, source), None)


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
    names = [name for name in found.column_names if not name.startswith("__index_level_")]
    return Rows(plain(found.select(names), source), source)


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
    units = _units(rows, encoding.group, np.arange(rows.table.num_rows))
    return _parts(encoding, rows, [units], need_response=need_response)[0]


def _units(rows: Rows, group: str | None, places: IntArray) -> IntArray:
    """Return the rows of each datum, (N,), or (G, M) where rows of a group share a z."""
    if group is None:
        return places
    if group not in rows.table.column_names:
        return places[:, None]
    found, _ = texts(rows, group)
    names, codes = np.unique(found[places], return_inverse=True)
    order = np.argsort([np.argmax(codes == k) for k in range(len(names))])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    by_group = rows_of_groups(rank[codes])
    return np.where(by_group == NOTHING, NOTHING, places[by_group])


def _parts(
    encoding: Encoding,
    rows: Rows,
    units: Sequence[IntArray],
    *,
    need_response: bool = True,
) -> list[Part]:
    x = encoding.design(rows)
    if need_response:
        y = encoding.response(rows)
    else:
        several = (len(encoding.targets),) if len(encoding.targets) > 1 else ()
        y = np.full((len(x), *several), np.nan)
    if encoding.group is None:
        return [Part(x[places], y[places], places) for places in units]
    return [
        Part(gathered(x, places, missing=False), gathered(y, places, missing=True), places)
        for places in units
    ]


def _encode(spec_file: SpecFile, rows: Rows, default: str | None) -> Data:
    spec = spec_file.spec
    responses = responses_of(spec_file, rows, default)
    extras = extras_of(spec_file, rows, responses)
    predictors = predictors_of(spec_file, rows, responses, extras)
    rows, kept = _without_missing(spec_file, rows, responses, predictors)
    units = _units(rows, spec.data.group, kept)
    train, test = split(len(units), spec.data.split.test, spec.seed)
    levels = [getattr(one, "levels", None) for one in spec.likelihoods]
    vector = [*spec.families] * (len(responses) if len(spec.families) == 1 else 1)
    encoding = learn(
        rows,
        np.sort(units[train][units[train] != NOTHING]),
        responses=list(zip(responses, vector, levels * len(responses), strict=False)),
        predictors=predictors,
        categorical=spec.data.categorical,
        standardise=spec.data.standardise,
        extras=extras,
        group=spec.data.group,
        centred=spec.experts.intercept == "per_expert",
        incomplete=(
            spec.data.missing.responses == "marginalise",
            spec.data.missing.predictors == "indicate",
        ),
    )
    train_part, test_part = _parts(encoding, rows, [units[train], units[test]])
    return Data(encoding, train_part, test_part, rows.source)


def _without_missing(
    spec_file: SpecFile, rows: Rows, responses: Sequence[str], predictors: Sequence[str]
) -> tuple[Rows, IntArray]:
    """Return which rows are left when those with missing values are dropped.

    In the table that is returned with them, other values stand where those were missing, so that
    every row can still be read.
    """
    missing = spec_file.spec.data.missing
    kept = np.ones(rows.table.num_rows, dtype=bool)
    for rule, names in ((missing.responses, responses), (missing.predictors, predictors)):
        for name in names if rule == "drop" else ():
            rows, there = filled(rows, name)
            kept &= there
    if not kept.any():
        raise InputError("every row has a missing value", file=rows.source)
    return rows, np.flatnonzero(kept)


def split(num_rows: int, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Choose test rows at random; return the places of training and test rows, in order."""
    num_test = min(round(share * num_rows), max(num_rows - 1, 0))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(num_rows)
    return np.sort(order[num_test:]), np.sort(order[:num_test])
