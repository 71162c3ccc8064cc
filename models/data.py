"""From a specification to arrays: read, choose columns, split, encode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from pyromoe.models.datasets import read_dataset
from pyromoe.models.encoding import Extra
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.learn import learn
from pyromoe.models.spec_file import SpecFile
from pyromoe.models.table import Rows, plain, read_rows

if TYPE_CHECKING:
    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.encoding import Encoding
    from pyromoe.models.spec import Spec


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows: `x` (N, D), `y` (N,), and `rows` (N,), their places in the table from 0.

    After the D predictors, x has a column for each extra of the encoding.
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
    """Encode new data: `x` (N, D), and `y` (N,) if the response is there or needed."""
    rows = table if isinstance(table, Rows) else as_rows(table, source)
    x = encoding.design(rows)
    there = encoding.target.name in rows.table.column_names
    return x, encoding.response(rows) if need_response or there else None


def _encode(spec_file: SpecFile, rows: Rows, default: str | None) -> Data:
    spec = spec_file.spec
    response = _response(spec_file, rows, default)
    extras = _extras(spec_file, rows, response)
    predictors = _predictors(spec_file, rows, response, extras)
    train, test = split(rows.table.num_rows, spec.data.split.test, spec.seed)
    encoding = learn(
        rows,
        train,
        response=response,
        family=spec.likelihood.family,
        predictors=predictors,
        categorical=spec.data.categorical,
        standardise=spec.data.standardise,
        extras=extras,
        levels=getattr(spec.likelihood, "levels", None),
    )
    x, y = encoding.design(rows), encoding.response(rows)
    train_part, test_part = (Part(x[chosen], y[chosen], chosen) for chosen in (train, test))
    return Data(encoding, train_part, test_part, rows.source)


def split(num_rows: int, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Choose test rows at random; return the places of training and test rows, in order."""
    num_test = min(round(share * num_rows), max(num_rows - 1, 0))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(num_rows)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def _response(spec_file: SpecFile, rows: Rows, default: str | None) -> str:
    names = rows.table.column_names
    response = spec_file.spec.data.response or default
    if response is None:
        what = f"required, for {rows.source} has none of its own"
        raise spec_file.error("data.response", what, f"columns: {listed(names)}")
    if response not in names:
        raise _no_column(spec_file, "data.response", response, rows)
    return response


def _extras(spec_file: SpecFile, rows: Rows, response: str) -> list[Extra]:
    data = spec_file.spec.data
    found = []
    for setting, value in (
        ("offset", data.offset), ("exposure", data.exposure), ("trials", data.trials)
    ):  # fmt: skip
        role: Literal["offset", "trials"] = "trials" if setting == "trials" else "offset"
        if isinstance(value, int):
            found.append(Extra(role=role, constant=float(value)))
        elif value is not None:
            if value not in rows.table.column_names:
                raise _no_column(spec_file, f"data.{setting}", value, rows)
            if value == response:
                what = f"{quoted(value)} is the response"
                raise spec_file.error(f"data.{setting}", what, "name another column")
            found.append(Extra(role=role, column=value, log=setting == "exposure"))
    return found


def _predictors(spec_file: SpecFile, rows: Rows, response: str, extras: list[Extra]) -> list[str]:
    spec, there = spec_file.spec, set(rows.table.column_names)
    chosen = spec.data.predictors
    others = {response, *(extra.column for extra in extras)}
    predictors = [name for name in rows.table.column_names if name not in others]
    if chosen != "all":
        for i, name in enumerate(chosen):
            if name not in there:
                raise _no_column(spec_file, f"data.predictors[{i}]", name, rows)
        if response in chosen:
            what = f"{quoted(response)} is the response"
            raise spec_file.error(f"data.predictors[{chosen.index(response)}]", what, "remove it")
        predictors = chosen
    if not predictors:
        raise spec_file.error("data.predictors", f"{rows.source} has no column but the response")
    known = set(predictors)
    lists: dict[str, Any] = {
        "data.categorical": spec.data.categorical,
        "experts.predictors": spec.experts.predictors,
        "gate.predictors": spec.gate.predictors,
    }
    for setting, names in lists.items():
        for i, name in enumerate([] if names == "all" else names):
            if name not in there:
                raise _no_column(spec_file, f"{setting}[{i}]", name, rows)
            if name not in known:
                what = f"{quoted(name)} is not a predictor"
                raise spec_file.error(f"{setting}[{i}]", what, "remove it")
    return predictors


def _no_column(spec_file: SpecFile, setting: str, name: str, rows: Rows) -> InputError:
    names = rows.table.column_names
    remedy = did_you_mean(name, names) or f"columns: {listed(names)}"
    return spec_file.error(setting, f"no column {quoted(name)} in {rows.source}", remedy)
