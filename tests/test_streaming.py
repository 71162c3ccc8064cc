"""Tables that are read again and again, a part at a time, beside the same tables in memory."""

from __future__ import annotations

import dataclasses
import gc
import gzip
import subprocess
import sys
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from pyromoe.inference import fit, predict
from pyromoe.inference.fitting.batches import Batch
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.loop import Loop
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.recognised import digest
from pyromoe.inference.fitting.restarts import start
from pyromoe.inference.fitting.streamed import StreamedBatches
from pyromoe.inference.posterior.streamed_prediction import predict_file, write_tables
from pyromoe.models import InputError, parse_spec
from pyromoe.models.data import row_parts
from pyromoe.models.data.data import load, quietly
from pyromoe.models.data.divide import split
from pyromoe.models.data.row_parts import KEPT, TEST, TRAIN, RowParts
from pyromoe.models.data.stream import shards_of
from pyromoe.models.tables import blocks, csv_pieces, sample
from pyromoe.models.tables.csv_blocks import blocks_of
from pyromoe.models.tables.table import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pyromoe.models.data.divide import Data
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.specs.spec_file import SpecFile

N = 1000
ROWS = 90
"""Of a block, in these tests."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tables of many blocks out of a thousand rows."""
    monkeypatch.setattr(blocks, "ROWS", ROWS)
    monkeypatch.setattr("pyromoe.models.tables.csv_blocks.ROWS", ROWS)
    monkeypatch.setattr(blocks, "PIECE", 40)
    monkeypatch.setattr("pyromoe.models.tables.parquet_blocks.PIECE", 40)
    monkeypatch.setattr(csv_pieces, "BYTES", 4000)
    monkeypatch.setattr(csv_pieces, "PIECE", 1500)


def columns() -> dict[str, Any]:
    chance = np.random.default_rng(0)
    trials = chance.integers(3, 9, N)
    return {
        "x": chance.normal(5, 3, N),
        "k": chance.integers(-4, 5, N),
        "c": chance.choice(["a", "b", "c"], N),
        "e": chance.uniform(0.5, 2, N),
        "m": trials,
        "n": chance.binomial(trials, 0.3),
        "w": chance.uniform(0.5, 2, N),
        "y": chance.normal(1e3, 2, N),
    }


def table(**changed: Any) -> pa.Table:
    return pa.table(columns() | changed)


def spec(data: str, family: str = "normal", *more: str) -> SpecFile:
    text = f"data: {{{data}}}\nlikelihood: {{family: {family}}}\n"
    settings = ["fit.restarts=1", "fit.epochs=2", "fit.batch_size=64", "fit.mode=captured"]
    return parse_spec(text, "s.yaml", [*settings, *more])


def write(found: pa.Table, path: Path) -> Path:
    """Write a table; a folder gets two files, whose row groups are blocks."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(found, path, row_group_size=ROWS)
    elif path.suffix == ".gz":
        write(found, path.with_suffix(""))
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(found, path)
    else:
        path.mkdir()
        write(found.slice(0, 4 * ROWS), path / "a.parquet")
        write(found.slice(4 * ROWS), path / "b.parquet")
    return path


FILES = ["t.parquet", "t.csv", "t.csv.gz", "folder"]
STREAM = "response: y, predictors: [x, k, c], categorical: [c], stream: {buffer: 260}"


def of_file(path: Path, *more: str) -> SpecFile:
    return spec(f"file: '{path}', {STREAM}", "normal", *more)


# Which rows


def test_parts_of_rows_are_a_function_of_their_numbers() -> None:
    rows, share = 2 * row_parts.BLOCK + 5000, 0.2
    parts = RowParts(rows, 3, share, 0.1)
    whole = parts.of(0, rows)
    cuts = [0, 7, 65536, 70000, 131073, rows]
    pieces = [parts.of(a, b) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    for first in range(0, rows, row_parts.BLOCK):
        block = whole[first : first + row_parts.BLOCK]
        assert (block == TEST).sum() == round(share * len(block))
        assert (block == KEPT).sum() == round(0.1 * (len(block) - round(share * len(block))))
    assert not np.array_equal(whole, RowParts(rows, 4, share, 0.1).of(0, rows))


@pytest.mark.parametrize("seed", [0, 5, 2**40])
def test_few_rows_are_divided_as_in_memory(seed: int) -> None:
    train, test = split(N, 0.3, seed)
    found = RowParts(N, seed, 0.3).of(0, N)
    np.testing.assert_array_equal(np.flatnonzero(found == TRAIN), train)
    np.testing.assert_array_equal(np.flatnonzero(found == TEST), test)


def test_a_sample_is_the_same_whatever_the_blocks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample.Sample.__init__, "__defaults__", (50,))
    found = []
    for rows in (90, 400, 5000):
        monkeypatch.setattr(blocks, "ROWS", rows)
        data = _of_table(table())
        assert len(data.train.rows) == len(data.test.rows) == 50
        assert (data.size, data.tested) == (800, 200)
        found.append((data.train.rows, data.test.rows))
    for train, test in found[1:]:
        np.testing.assert_array_equal(train, found[0][0])
        np.testing.assert_array_equal(test, found[0][1])


def _of_table(found: pa.Table, *more: str) -> Data:
    from pyromoe.models.data.data import from_table

    return from_table(spec(f"file: t.csv, {STREAM}", "normal", *more).spec, found)


# What is learned


def numbers_of(encoding: Encoding) -> list[float]:
    found: list[float] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for one in value:
                walk(one)
        elif isinstance(value, float):
            found.append(value)

    walk(encoding.model_dump())
    return found


def without_numbers(encoding: Encoding) -> object:
    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {key: walk(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(one) for one in value]
        return None if isinstance(value, float) else value

    return walk(encoding.model_dump())


def with_holes(name: str, share: float = 0.1) -> dict[str, Any]:
    values = columns()[name].astype(object)
    values[np.random.default_rng(1).random(N) < share] = None
    values[ROWS : 2 * ROWS] = None  # a whole block
    return {name: pa.array(values.tolist())}


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "numbers": ("response: y, predictors: [x, k]", "normal", {}),
    "names": ("response: y, predictors: [k, c], categorical: [k, c]", "normal", {}),
    "classes": ("response: c, predictors: [x]", "categorical", {}),
    "ordered": ("response: k, predictors: [x]", "ordinal", {}),
    "weights": ("response: y, predictors: [x], weights: w", "student_t", {}),
    "exposure": ("response: n, predictors: [x], exposure: e", "poisson", {}),
    "offset": ("response: n, predictors: [x], offset: w", "negative_binomial", {}),
    "trials": ("response: n, predictors: [x], trials: m, weights: w", "binomial", {}),
    "large": ("response: y, predictors: [x]", "normal", {"x": columns()["x"] * 5e298}),
    "constant": ("response: y, predictors: [x, k]", "normal", {"x": np.full(N, 0.1)}),
    "several": ("response: [y, x], predictors: [k]", "multivariate_normal", {}),
    "raw": ("response: y, predictors: [x, c], categorical: [c], standardise: none", "normal", {}),
    "indicated": (
        "response: y, predictors: [x, c], categorical: [c], missing: {predictors: indicate}",
        "normal",
        with_holes("x") | with_holes("c"),
    ),
    "marginalised": (
        "response: y, predictors: [x], missing: {responses: marginalise}",
        "normal",
        with_holes("y"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_learned_in_blocks_is_what_the_whole_table_teaches(
    case: str, tmp_path: Path
) -> None:
    data, family, changed = CASES[case]
    path = write(table(**changed), tmp_path / "t.parquet")
    whole = load(spec(f"file: '{path}', {data}", family))
    found = load(spec(f"file: '{path}', {data}, stream: {{}}", family))
    assert without_numbers(found.encoding) == without_numbers(whole.encoding)
    assert numbers_of(found.encoding) == pytest.approx(numbers_of(whole.encoding), rel=1e-12)
    assert found.stream is not None
    for part, name in ((TRAIN, "train"), (TEST, "test")):
        wanted, own = getattr(whole, name), getattr(found, name)
        np.testing.assert_array_equal(own.rows, wanted.rows)
        np.testing.assert_allclose(own.x, wanted.x, rtol=1e-9, atol=1e-12)
        each = [*found.stream.all(part)]
        x, y = (np.concatenate([getattr(one, n) for one in each]) for n in ("x", "y"))
        np.testing.assert_array_equal(x, own.x.astype(np.float32))
        np.testing.assert_array_equal(y, own.y)


def test_rows_with_missing_values_are_dropped(tmp_path: Path) -> None:
    path = write(table(**with_holes("x")), tmp_path / "t.parquet")
    missing = "missing: {predictors: drop}"
    whole = load(spec(f"file: '{path}', response: y, predictors: [x], {missing}"))
    found = load(spec(f"file: '{path}', response: y, predictors: [x], {missing}, stream: {{}}"))
    one, two = (np.sort(np.concatenate([d.train.rows, d.test.rows])) for d in (whole, found))
    np.testing.assert_array_equal(one, two)
    assert found.stream is not None
    assert sum(len(one.x) for one in found.stream.all(TRAIN)) == found.size == len(found.train.rows)


# What is wrong with a table


def planted(name: str, row: int, value: Any) -> dict[str, Any]:
    values = columns()[name].tolist()
    values[row] = value
    return {name: pa.array(values)}


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "missing": ("response: y, predictors: [x]", "normal", planted("x", 700, None)),
    "large": ("response: y, predictors: [x]", "normal", planted("x", 700, 1e301)),
    "outsize": ("response: y, predictors: [x]", "normal", planted("x", 700, 1e20)),
    "count": ("response: n, predictors: [x]", "poisson", planted("n", 700, -1)),
    "trials": ("response: n, predictors: [x], trials: m", "binomial", planted("n", 700, 99)),
    "weight": ("response: y, predictors: [x], weights: w", "normal", planted("w", 700, 1e30)),
    "column": ("response: y, predictors: [z]", "normal", {}),
    "classes": ("response: c, predictors: [x]", "bernoulli", {}),
    "unordered": ("response: c, predictors: [x]", "ordinal", {}),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("file", ["t.parquet", "t.csv"])
def test_what_is_wrong_is_said_as_of_a_table_in_memory(
    case: str, file: str, tmp_path: Path
) -> None:
    data, family, changed = WRONG[case]
    path, said = write(table(**changed), tmp_path / file), []
    for stream in ("", ", stream: {}"):
        with pytest.raises(InputError) as caught:
            load(spec(f"file: '{path}', {data}{stream}", family))
        said.append(str(caught.value))
    assert said[1] == said[0]
    if changed:
        assert f"row {700 + (2 if file == 't.csv' else 1)}" in said[1]


BROKEN: dict[str, Callable[[list[str]], list[str]]] = {
    "text": lambda lines: [*lines[:700], "abc" + lines[700][3:], *lines[701:]],
    "short": lambda lines: [*lines[:700], "1,2", *lines[701:]],
    "bytes": lambda lines: [*lines[:700], "\udcff" + lines[700], *lines[701:]],
    "closing": lambda lines: [*lines[:700], '"1"2' + lines[700][3:], *lines[701:]],
    "blank": lambda lines: [*lines[:700], "", *lines[700:]],
    "nothing": lambda lines: [],
    "header": lambda lines: lines[:1],
    "names": lambda lines: [lines[0].replace("k", "x"), *lines[1:]],
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("zipped", [False, True])
def test_broken_text_is_told_as_in_memory(case: str, zipped: bool, tmp_path: Path) -> None:
    lines = write(table(), tmp_path / "t.csv").read_text().splitlines()
    text = "".join(line + "\n" for line in BROKEN[case](lines)).encode(errors="surrogateescape")
    path = tmp_path / ("b.csv.gz" if zipped else "b.csv")
    path.write_bytes(gzip.compress(text) if zipped else text)
    said = []
    for stream in ("", ", stream: {}"):
        with pytest.raises(InputError) as caught:
            load(spec(f"file: '{path}', response: y, predictors: [x]{stream}"))
        said.append(str(caught.value))
    if zipped and case == "nothing":
        assert all("the file is empty" in one or "header" in one for one in said)
    else:
        assert said[1] == said[0]


def test_a_quote_that_is_not_closed_is_found_before_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_pieces, "MOST", 20_000)
    lines = write(table(), tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*lines[:100], '"' + lines[100], *lines[101:]]))
    with pytest.raises(InputError, match=r"row 101: a quote is opened, but not closed"):
        load(of_file(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "2.5", "3"],
        ["007", "8", "a", "9"],
        ["", "", "4", "5"],
        ["", "", "a", "007"],
        ["a", "b", "7", "07"],
        ["0x1", "2", "3", "4"],
        ["1", "2", "2020-01-01", "3"],
        ["true", "1", "2", "x"],
        [" ", "1", "2", "1.5"],
        ['"a\nb"', '"c, d"', '"say ""so"""', "e"],
    ],
)
def test_text_is_parsed_in_blocks_as_it_is_as_a_whole(values: list[str], tmp_path: Path) -> None:
    cells = [values[4 * i // N] for i in range(N)]
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    whole, found = read_table(path), blocks_of(path, quietly)
    each = [
        rows for i, size in enumerate(found.sizes) for rows in found.read(i, 0, size, ["a", "b"])
    ]
    joined = pa.concat_tables([rows.table for rows in each])
    assert joined.equals(whole.cast(joined.schema))
    assert joined.schema == whole.schema
    assert [rows.first_row for rows in each[:2]] == [2, 42]


def test_files_of_a_folder_have_the_same_columns(tmp_path: Path) -> None:
    path = write(table(), tmp_path / "folder")
    write(table().drop_columns(["k"]), path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: has no column k; all files"):
        load(of_file(path))
    write(table(k=columns()["x"]), path / "c.parquet")
    with pytest.raises(InputError, match="holds double, and int64 in the first file"):
        load(of_file(path))


def test_a_column_of_lists_is_refused_and_what_is_unfinished_left_out(tmp_path: Path) -> None:
    path = write(table(), tmp_path / "folder")
    (path / "_temporary").mkdir()
    write(table().slice(0, 9), path / "_temporary" / "a.parquet")
    assert load(of_file(path)).size == 800
    other = write(table(v=[[1.0]] * N), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="v: holds list<element: double>, neither"):
        load(of_file(other))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"nothing: has no \.parquet file in it"):
        load(of_file(tmp_path / "nothing"))


def test_an_error_in_a_folder_names_the_file_and_its_row(tmp_path: Path) -> None:
    path = write(table(**planted("x", 500, None)), tmp_path / "folder")
    with pytest.raises(InputError, match=rf"b\.parquet: x: row {501 - 4 * ROWS}: missing value"):
        load(of_file(path))


def test_a_folder_can_be_read_whole(tmp_path: Path) -> None:
    settings = "response: y, predictors: [x, k, c], categorical: [c]"
    one = load(spec(f"file: '{write(table(), tmp_path / 't.parquet')}', {settings}"))
    two = load(spec(f"file: '{write(table(), tmp_path / 'folder')}', {settings}"))
    np.testing.assert_array_equal(one.train.x, two.train.x)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("fit.optimiser=lbfgs", "fit.optimiser"),
        ("fit.optimiser=em", "fit.optimiser"),
        ("fit.batch_size=full", "fit.batch_size"),
        ("guide.weights=mean_field", "guide.weights"),
        ("data.group=k", "data.group"),
    ],
)
def test_what_needs_all_rows_at_once_is_refused(more: str, field: str, tmp_path: Path) -> None:
    path = write(table(), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=rf"{field}: .*or (remove )?data\.stream"):
        fit(of_file(path, more))


# Batches


def batches(data: Data, file: SpecFile, mine: range | None = None, size: int = 64) -> Any:
    assert data.stream is not None
    shards = range(len(data.stream.shards)) if mine is None else mine
    return StreamedBatches(data.stream, size, shards, file.spec)


def keys_of(found: list[Batch]) -> list[list[float]]:
    """Return the first predictor of all rows of each batch, which no two rows share."""
    return [[float(v) for x, _ in batch.pieces for v in x[:, 0]] for batch in found]


@pytest.mark.parametrize("shards", [1, 4])
def test_an_epoch_has_every_training_row_once(shards: int, tmp_path: Path) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"), f"fit.shards={shards}")
    data = load(file)
    own = batches(data, file)
    first, second = ([*own.left(0)] for _ in range(2))
    expected = sorted(data.train.x[:, 0].astype(np.float32).tolist())
    for epoch in (first, second):
        assert len(epoch) == own.number
        assert sorted(chain(*keys_of(epoch))) == expected
        assert [batch.rows for batch in epoch] == [len(keys) for keys in keys_of(epoch)]
    assert keys_of(first) != keys_of(second)
    assert keys_of(first) == keys_of([*batches(data, file).left(0)])
    # Shuffled: neighbours in a batch are not neighbours in the table.
    place = {key: i for i, key in enumerate(data.train.x[:, 0].astype(np.float32).tolist())}
    steps = np.abs(np.diff([place[key] for key in keys_of(first)[0]]))
    assert np.median(steps) > 5


@pytest.mark.parametrize("shards", [1, 4])
def test_an_epoch_goes_on_where_it_was_left(shards: int, tmp_path: Path) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"), f"fit.shards={shards}")
    data = load(file)
    own = batches(data, file)
    for _ in range(2):
        began, whole = own.orders[0].get_state(), keys_of([*own.left(0)])
    for taken in range(1, own.number + 1):
        other = batches(data, file)
        other.began = [began]
        assert keys_of([*other.left(taken)]) == whole[taken:]


class Watched:
    """Blocks that note what is read of them: block, start and stop."""

    def __init__(self, source: Any, noted: list[tuple[int, int, int]]) -> None:
        self.source, self.noted = source, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def read(self, block: int, start: int, stop: int, names: Any) -> Any:
        self.noted.append((block, start, stop))
        return self.source.read(block, start, stop, names)


def test_processes_share_the_shards_and_read_their_own_rows_only(tmp_path: Path) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"), "fit.shards=4")
    data = load(file)
    whole = [*batches(data, file).left(0)]
    assert data.stream is not None
    for mine in (range(2), range(2, 4), range(3, 4)):
        read, source = list[tuple[int, int, int]](), data.stream.blocks

        stream = dataclasses.replace(data.stream, blocks=Watched(source, read))
        found = [*batches(dataclasses.replace(data, stream=stream), file, mine).left(0)]
        for batch, all_ in zip(found, whole, strict=True):
            assert batch.rows == all_.rows
            pieces = all_.pieces[mine.start : mine.stop]
            for (x, y), (a, b) in zip(batch.pieces, pieces, strict=True):
                assert torch.equal(x, a)
                assert torch.equal(y, b)
        rows = [(block * ROWS + a, block * ROWS + b) for block, a, b in read]
        assert min(a for a, _ in rows) == mine.start * N // 4
        assert max(b for _, b in rows) == mine.stop * N // 4


def test_shards_divide_the_rows_evenly_in_their_order() -> None:
    found = shards_of([90, 90, 7, 200], 3)
    rows = [[(s.first + s.start, s.first + s.stop) for s in shard] for shard in found]
    assert [shard[0][0] for shard in rows] == [0, 129, 258]
    assert [shard[-1][1] for shard in rows] == [129, 258, 387]
    assert len(shards_of([2], 4)[0]) == 0  # of fewer rows than shards, some have none


# Fits


def bits(found: Any) -> str:
    return str(found.metrics["parameters_sha256"])


def test_a_table_and_every_kind_of_file_give_the_same_bits(tmp_path: Path) -> None:
    found = [fit(of_file(write(table(), tmp_path / name))) for name in FILES]
    found.append(fit(of_file(tmp_path / "nothing.csv"), table()))
    assert len({bits(one) for one in found}) == 1
    assert bits(fit(of_file(tmp_path / "t.csv", "seed=1"))) != bits(found[0])


class Replayed:
    """Batches of rows in memory, in an order that was recorded."""

    stacked = False

    def __init__(self, x: torch.Tensor, y: torch.Tensor, epochs: list[list[torch.Tensor]]) -> None:
        self.x, self.y, self.epochs, self.number = x, y, iter(epochs), len(epochs[0])

    def left(self, taken: int) -> Iterator[Batch]:
        for rows in next(self.epochs):
            yield Batch([(self.x[rows], self.y[rows])], len(rows))


@pytest.mark.parametrize("treatment", ["enumerate", "straight_through_gumbel_softmax"])
def test_a_fit_in_memory_in_the_same_order_gives_the_same_bits(
    treatment: str, tmp_path: Path
) -> None:
    path = write(table(), tmp_path / "t.parquet")
    file = of_file(path, f"treatment={treatment}", "data.split.test=0")
    streamed, data = fit(file), load(file)
    x, y = to_tensors(data.train, file.spec)  # all rows: a sample has more
    place = {float(key): i for i, key in enumerate(x[:, 0])}
    own = batches(data, file)
    epochs = [
        [torch.tensor([place[key] for key in keys]) for keys in keys_of([*own.left(0)])]
        for _ in range(2)
    ]
    backwards = [[rows.flip(0) for rows in epoch[::-1]] for epoch in epochs]
    found = {}
    for name, order in (("same", epochs), ("other", backwards)):
        plan = make_plan(file)
        in_memory = dataclasses.replace(data, stream=None)
        loop = Loop(plan, in_memory, [start(plan, in_memory, 0)], Budget("epochs", 2), quietly)
        loop.batches = Replayed(x, y, order)  # type: ignore[assignment]
        loop.run()
        found[name] = dict(loop.restarts[0].model.named_parameters())
    own_parameters = dict(streamed.model.named_parameters())
    assert all(torch.equal(found["same"][n], p) for n, p in own_parameters.items())
    assert any(not torch.equal(found["other"][n], p) for n, p in own_parameters.items())


def test_steps_and_totals_do_not_depend_on_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"))
    whole = fit(file)
    monkeypatch.setattr(sample.Sample.__init__, "__defaults__", (60,))
    found = fit(file)
    assert found.data is not None
    assert len(found.data.train.rows) == 60
    assert bits(found) == bits(whole)
    for name in ("log_likelihood", "n", "rmse", "bic", "icl", "effective_experts"):
        assert found.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-12)
    estimate, exact = (f.metrics["restarts"][0]["log_likelihood"] for f in (found, whole))
    assert estimate == pytest.approx(exact, rel=0.2)
    assert estimate != exact


def test_exact_totals_are_those_of_the_rows_in_memory(tmp_path: Path) -> None:
    found = fit(of_file(write(table(), tmp_path / "t.parquet")))
    assert found.data is not None
    in_memory = dataclasses.replace(found.data, stream=None)
    wanted, own = found.measure(in_memory), found.measure(found.data)
    assert own.keys() == wanted.keys()
    assert own.pop("measured_on") == wanted.pop("measured_on") == "test"
    for name, value in wanted.items():
        assert own[name] == pytest.approx(value, rel=1e-6), name  # both in single precision


def test_early_stopping_keeps_rows_back_from_every_step(tmp_path: Path) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"), "fit.early_stopping={share: 0.25}")
    data = load(file)
    assert data.kept is not None
    assert (data.size, len(data.kept.rows), data.tested) == (600, 200, 200)
    keys = set(chain(*keys_of([*batches(data, file).left(0)])))
    assert not keys & set(data.kept.x[:, 0].astype(np.float32).tolist())
    assert fit(file).metrics["early_stopping"]["n"] == 200


def test_data_are_told_apart_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(of_file(write(table(), tmp_path / "t.parquet")))
    other = load(of_file(write(table(x=columns()["x"][::-1]), tmp_path / "u.parquet")))
    given = [_of_table(table(**c)).stream for c in ({}, {}, {"x": columns()["x"][::-1]})]
    same, too, changed = (each.blocks.stamp for each in given if each is not None)
    assert same == too != changed
    again = load(of_file(tmp_path / "t.parquet"))

    def refused(*given: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("pyromoe.models.tables.parquet_blocks.ParquetBlocks.read", refused)
    assert digest(data) == digest(again) != digest(other)


def test_a_file_that_changes_during_a_fit_is_an_error(tmp_path: Path) -> None:
    file = of_file(write(table(), tmp_path / "t.parquet"))
    data = load(file)
    write(table().slice(0, 800), tmp_path / "t.parquet")
    assert [*batches(load(file), file).left(0)]
    with pytest.raises(InputError, match=r"t\.parquet: "):
        list(batches(data, file).left(0))


@pytest.mark.parametrize("more", [True, False])
def test_a_file_whose_missing_values_change_during_a_fit_is_an_error(
    more: bool, tmp_path: Path
) -> None:
    file = spec(
        f"file: '{tmp_path / 't.parquet'}', response: y, predictors: [x], stream: {{}}, "
        "missing: {predictors: drop}"
    )
    write(table(**with_holes("x", 0.1)), tmp_path / "t.parquet")
    data = load(file)
    write(table(**with_holes("x", 0.0 if more else 0.2)), tmp_path / "t.parquet")
    assert data.stream is not None
    data.stream.blocks.opened = None  # type: ignore[attr-defined]  # as after another file
    with pytest.raises(InputError, match="has other rows than when it was read first"):
        list(batches(data, file).left(0))


def test_the_first_pass_reports_and_needs_no_torch(tmp_path: Path) -> None:
    path, told = write(table(), tmp_path / "t.csv"), list[tuple[float, str]]()
    load(of_file(path), lambda done, text: told.append((done, text)))
    shares = [done for done, text in told if "t.csv, row" in text]
    assert shares[-1] == 1.0
    assert len(shares) > 20
    code = f"""
import sys
from pyromoe.models import parse_spec
from pyromoe.models.data.data import load
file = parse_spec("data: {{file: '{path}', {STREAM}}}\\nlikelihood: {{family: normal}}", "s.yaml")
assert load(file).size == 800
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_copy_of_a_text_goes_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    path = write(table(), tmp_path / "t.csv")
    data = load(of_file(path))
    assert len([*copies.rglob("*.parquet")]) == 1
    del data
    gc.collect()
    assert not [*copies.iterdir()]
    write(table(**planted("x", 700, None)), path)
    with pytest.raises(InputError):
        load(of_file(path))
    gc.collect()
    assert not [*copies.iterdir()]


# Predictions


@pytest.mark.parametrize("kind", ["t.parquet", "folder", "t.csv.gz"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_predictions_in_parts_are_those_of_the_whole_table(
    kind: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromoe.inference.posterior.streamed_prediction.PIECE", 512)
    monkeypatch.setattr("pyromoe.inference.posterior.predictive.CHUNK", 128)
    monkeypatch.setattr("pyromoe.inference.fitting.probabilities.CHUNK", 128)
    found = fit(of_file(write(table(), tmp_path / "f.parquet")))
    path, out = write(table(), tmp_path / kind), tmp_path / f"out{ending}"
    options: dict[str, Any] = {"per_expert": True, "report": quietly}
    rows, _ = write_tables(predict_file(found, path, [0.5], **options), out)
    wanted = predict(found, table(), quantiles=[0.5], per_expert=True)
    assert rows == N
    if ending == ".csv":
        pyarrow.csv.write_csv(wanted, tmp_path / "wanted.csv")
        assert out.read_bytes() == (tmp_path / "wanted.csv").read_bytes()
    else:
        assert pyarrow.parquet.read_table(out).equals(wanted)


def test_nothing_is_left_of_predictions_that_fail_late(tmp_path: Path) -> None:
    found = fit(of_file(write(table(), tmp_path / "f.parquet")))
    path = write(table(**planted("x", 990, None)), tmp_path / "t.parquet")
    before = sorted(tmp_path.iterdir())
    tables = predict_file(found, path, [], per_expert=False, report=quietly)
    with pytest.raises(InputError, match="row 991: missing value"):
        write_tables(tables, tmp_path / "out.csv")
    assert sorted(tmp_path.iterdir()) == before
