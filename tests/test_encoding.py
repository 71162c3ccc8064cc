"""Columns become numbers and come back; what cannot is refused with column, row and advice."""

import copy
import importlib
import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from pyromoe.models.data.data import encode_table, from_table, load
from pyromoe.models.data.divide import Data, split
from pyromoe.models.data.encoding import Encoding
from pyromoe.models.data.learn import Learner
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec import Spec
from pyromoe.models.specs.spec_file import parse_spec, read_spec
from pyromoe.models.tables.columns import DIGITS, NAMES
from pyromoe.models.tables.table import Rows


def spec(family: str, data: str = "", more: str = "") -> Spec:
    """A specification of a table with the response y, all rows of which are for training."""
    data = f"data: {{response: y, split: {{test: 0}}, {data}}}"
    return parse_spec(f"{data}\nlikelihood: {{family: {family}}}\n{more}", "s.yaml").spec


def encode(csv: str, family: str, folder: Path, data: str = "", more: str = "") -> Data:
    (folder / "a.csv").write_text(csv)
    data = f"file: a.csv, response: y, split: {{test: 0}}, {data}"
    text = f"data: {{{data}}}\nlikelihood: {{family: {family}}}\n{more}"
    (folder / "s.yaml").write_text(text)
    return load(read_spec(folder / "s.yaml"))


MISSING = "fill it in, remove the row, or see data.missing"
LISTING = "correct it, or list the column under data.categorical"
COUNTS = "counts are 0, 1, 2, ...; for other numbers set likelihood.family: normal"
REMOVE = "correct or remove the row"
BAD = [
    ("x,y\n1,1\noops,2\n", "normal", f"a.csv: x: row 3: 'oops' is not a number; {LISTING}"),
    ("x,y\nsun,1\nrain,2\n", "normal", f"a.csv: x: row 2: 'sun' is not a number; {LISTING}"),
    (
        "x,y\n1,1\n2020-01-01,2\n",
        "normal",
        f"a.csv: x: row 3: '2020-01-01' is not a number; {LISTING}",
    ),
    ("x,y\ntrue,1\nfalse,2\n", "normal", f"a.csv: x: row 2: 'true' is not a number; {LISTING}"),
    ('x,y\n1,1\n"1,234",2\n', "normal", f"a.csv: x: row 3: '1,234' is not a number; {LISTING}"),
    (
        "x,y\n1,hi\n2,3\n",
        "normal",
        "a.csv: y: row 2: 'hi' is not a number; correct it, or set likelihood.family: categorical",
    ),
    ("x,y\n1,1\n,2\n3,3\n", "normal", f"a.csv: x: row 3: missing value; {MISSING}"),
    (
        "x,y\n1,1\nNA,2\nnan,3\n",
        "normal",
        f"a.csv: x: row 3: missing value (and 1 more); {MISSING}",
    ),
    ("x,y\n1,1\n \t,2\n3,3\n", "normal", f"a.csv: x: row 3: missing value; {MISSING}"),
    ("x,y\n1,1\nNone,2\n", "normal", f"a.csv: x: row 3: 'None' is not a number; {LISTING}"),
    ("x,y\n1,1\n0x10,2\n", "normal", f"a.csv: x: row 3: '0x10' is not a number; {LISTING}"),
    ("x,y\n1,1\n\u00a03,2\n", "normal", f"a.csv: x: row 3: '\\xa03' is not a number; {LISTING}"),
    ("x,y\n1,1\n\u0663,2\n", "normal", f"a.csv: x: row 3: '\u0663' is not a number; {LISTING}"),
    ('x,y\n1,1\n"3\n",2\n', "normal", f"a.csv: x: row 3: '3\\n' is not a number; {LISTING}"),
    ('x,y\n1,1\n"3,5",2\n', "normal", f"a.csv: x: row 3: '3,5' is not a number; {LISTING}"),
    (
        "x,y\n9007199254740992,1\n9007199254740993,2\n",
        "normal",
        f"a.csv: x: row 3: 9007199254740993 {DIGITS}; {NAMES}",
    ),
    (
        "x,y\n92233720368547758079,1\n92233720368547758078,2\n",
        "normal",
        f"a.csv: x: row 3: '92233720368547758078' {DIGITS}; {LISTING}",
    ),
    ("x,y\n,1\n,2\n", "normal", f"a.csv: x: row 2: missing value (and 1 more); {MISSING}"),
    ("x,y\n1,1\n2,\n", "normal", f"a.csv: y: row 3: missing value; {MISSING}"),
    ("x,y\n1,a\n2,\n3,b\n", "categorical", f"a.csv: y: row 3: missing value; {MISSING}"),
    ('x,y\n1,a\n2,""\n3,b\n', "categorical", f"a.csv: y: row 3: missing value; {MISSING}"),
    ("x,y\n1,1\ninf,2\n", "normal", f"a.csv: x: row 3: inf is too large a number; {REMOVE}"),
    ("x,y\n1,1\n1e400,2\n", "normal", f"a.csv: x: row 3: inf is too large a number; {REMOVE}"),
    ("x,y\n1,1\n2,-1e308\n", "normal", f"a.csv: y: row 3: -1e+308 is too large a number; {REMOVE}"),
    ("x,y\n1,a\n2,a\n", "categorical", "a.csv: y: has one class only, 'a'; check the column"),
    ("x,y\n1,a\n2,a\n", "bernoulli", "a.csv: y: has one class only, 'a'; check the column"),
    (
        "x,y\n1,a\n2,b\n3,c\n",
        "bernoulli",
        "a.csv: y: has 3 classes (a, b, c), but family bernoulli has two; "
        "set likelihood.family: categorical",
    ),
    ("x,y\n1,1\n2,-2\n", "poisson", f"a.csv: y: row 3: -2.0 is not a count; {COUNTS}"),
    ("x,y\n1,1\n2,2.5\n", "poisson", f"a.csv: y: row 3: 2.5 is not a count; {COUNTS}"),
    ("x,y\n1,1\n", "normal", "a.csv: 1 training row; a fit needs two or more"),
    (
        "y\n1\n2\n",
        "normal",
        "s.yaml:1:1: data.predictors: a.csv has no column but the response; "
        "write [] for a mixture without any",
    ),
    (
        "x,z\n1,1\n2,2\n",
        "normal",
        "s.yaml:1:21: data.response: no column 'y' in a.csv; columns: x, z",
    ),
]
BAD_SETTINGS = [
    (
        "predictors: [x, tmp]",
        "",
        "s.yaml:1:68: data.predictors[1]: no column 'tmp' in a.csv; did you mean 'temp'?",
    ),
    (
        "categorical: [w]",
        "",
        "s.yaml:1:66: data.categorical[0]: no column 'w' in a.csv; columns: x, temp, y",
    ),
    ("categorical: [y]", "", "s.yaml:1:66: data.categorical[0]: 'y' is not a predictor; remove it"),
    (
        "",
        "gate: {predictors: [y]}",
        "s.yaml:3:21: gate.predictors[0]: 'y' is not a predictor; remove it",
    ),
    (
        "",
        "experts: {predictors: [x, tem]}",
        "s.yaml:3:27: experts.predictors[1]: no column 'tem' in a.csv; did you mean 'temp'?",
    ),
]


def check(csv: str, family: str, folder: Path, data: str, more: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        encode(csv, family, folder, data, more)
    assert str(caught.value).replace(f"{folder}/", "") == message


@pytest.mark.parametrize(("csv", "family", "message"), BAD)
def test_a_bad_table_has_exactly_this_message(
    csv: str, family: str, message: str, tmp_path: Path
) -> None:
    check(csv, family, tmp_path, "", "", message)


@pytest.mark.parametrize(("data", "more", "message"), BAD_SETTINGS)
def test_a_setting_that_does_not_fit_the_table_is_named(
    data: str, more: str, message: str, tmp_path: Path
) -> None:
    check("x,temp,y\n1,2,3\n4,5,6\n", "normal", tmp_path, data, more, message)


def test_a_specification_needs_data_and_a_response() -> None:
    for data, message in [
        ("response: y", "s.yaml:1:1: data: needs a file or a dataset; add e.g. file: train.csv"),
        (
            "dataset: longley",
            "s.yaml:1:1: data.response: required, for longley has none of its own; "
            "columns: Obs, TOTEMP, GNPDEFL, GNP, UNEMP, ARMED, POP, YEAR",
        ),
        ("dataset: engle", "s.yaml:1:8: data.dataset: no dataset 'engle'; did you mean 'engel'?"),
        (
            "dataset: engel, predictors: [foodexp]",
            "s.yaml:1:37: data.predictors[0]: 'foodexp' is the response; remove it",
        ),
    ]:
        with pytest.raises(InputError) as caught:
            load(parse_spec(f"data: {{{data}}}\nlikelihood: {{family: normal}}\n", "s.yaml"))
        assert str(caught.value).startswith(message)


TABLE: dict[str, Any] = {
    "a": [1.0, 3, 5, 7],
    "c": ["v", "u", "w", "u"],
    "k": [2.0, 2, 2, 2],
    "y": [10.0, 20, 30, 60],
}


def test_the_design_by_hand() -> None:
    data = from_table(spec("normal", "categorical: [c]"), TABLE)
    assert data.encoding.columns == ("a", "c=v", "c=w", "k")
    by_hand = np.array([[-3, 1, 0, 0], [-1, 0, 0, 0], [1, 0, 1, 0], [3, 0, 0, 0]])
    expected = by_hand / np.array([5**0.5, 1, 1, 1])
    np.testing.assert_allclose(data.train.x, expected, rtol=1e-15)
    np.testing.assert_allclose(data.train.y, np.array([-20, -10, 0, 30]) / np.sqrt(350), rtol=1e-15)
    np.testing.assert_allclose(data.encoding.decode(data.train.y), TABLE["y"], rtol=1e-15)
    assert data.encoding.indices("all") == (0, 1, 2, 3)
    assert data.encoding.indices(["k", "c"]) == (1, 2, 3)
    with pytest.raises(InputError, match="no predictor 'cc'"):
        data.encoding.indices(["cc"])


def test_nothing_is_standardised_unless_wanted() -> None:
    data = from_table(spec("normal", "categorical: [c], standardise: none"), TABLE)
    np.testing.assert_array_equal(data.train.x[:, 0], TABLE["a"])
    np.testing.assert_array_equal(data.train.y, TABLE["y"])
    data = from_table(spec("normal", "categorical: [c], standardise: predictors"), TABLE)
    np.testing.assert_allclose(data.train.x[:, 0].mean(), 0, atol=1e-15)
    np.testing.assert_array_equal(data.train.y, TABLE["y"])
    assert data.encoding.log_jacobian == 0


def test_the_jacobian_gives_densities_on_the_original_scale() -> None:
    encoding = from_table(spec("normal", "predictors: [a]"), TABLE).encoding
    mean, sd = encoding.target.mean, encoding.target.sd
    scaled = math.log(NormalDist().pdf((25.0 - mean) / sd)) + encoding.log_jacobian
    np.testing.assert_allclose(scaled, math.log(NormalDist(mean, sd).pdf(25.0)), rtol=1e-14)


@pytest.mark.parametrize(
    ("family", "values", "labels", "codes"),
    [
        ("bernoulli", [0, 1, 1], ("0", "1"), [0, 1, 1]),
        ("bernoulli", [1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        ("bernoulli", [True, False, True], ("false", "true"), [1, 0, 1]),
        ("bernoulli", ["yes", "no", " yes"], ("no", "yes"), [1, 0, 1]),
        ("categorical", [10, 9, 2], ("2", "9", "10"), [2, 1, 0]),
        ("categorical", ["10", "b", "9"], ("10", "9", "b"), [0, 2, 1]),
        ("categorical", [0.5, -0.0, 0.0], ("0", "0.5"), [1, 0, 0]),
    ],
)
def test_classes(family: str, values: list[Any], labels: tuple[str, ...], codes: list[int]) -> None:
    data = from_table(spec(family), {"x": [1, 2, 3], "y": values})
    assert (data.encoding.target.labels, data.encoding.num_classes) == (labels, len(labels))
    assert data.train.y.tolist() == codes
    assert data.train.y.dtype == np.int64
    assert data.encoding.decode(data.train.y).tolist() == [labels[code] for code in codes]


def test_counts_stay_counts() -> None:
    data = from_table(spec("poisson"), {"x": [1, 2], "y": [0, 7]})
    assert data.train.y.tolist() == [0.0, 7.0]
    assert data.train.y.dtype == np.float64
    assert data.encoding.decode(data.train.y).tolist() == [0.0, 7.0]


def test_the_split_is_random_and_repeatable() -> None:
    train, test = split(1000, 0.2, seed=3)
    assert (len(train), len(test)) == (800, 200)
    assert sorted([*train, *test]) == list(range(1000))
    assert (np.diff(train) > 0).all()
    np.testing.assert_array_equal(test, split(1000, 0.2, seed=3)[1])
    assert (test != split(1000, 0.2, seed=4)[1]).any()
    assert [len(part) for part in split(3, 0.99, 0)] == [1, 2]
    assert [len(part) for part in split(5, 0.0, 0)] == [5, 0]


@pytest.mark.parametrize("value", [0.0, 7.0, -1e17, 1e20, 1e300])
def test_a_response_without_spread_has_bounds(value: float) -> None:
    columns = {"x": [1.0, 2, 3], "y": [value] * 3}
    target = from_table(spec("normal", "standardise: none"), columns).encoding.target
    assert target.low == value < target.high


def test_only_training_rows_count_for_means_but_all_rows_for_classes() -> None:
    text = "data: {response: y, split: {test: 0.5}, categorical: [c]}\n"
    text += "likelihood: {family: categorical}"
    columns = {"x": np.arange(10.0), "c": list("abcdefghij"), "y": [str(i) for i in range(10)]}
    data = from_table(parse_spec(text, "s").spec, columns)
    assert (len(data.train.rows), len(data.test.rows)) == (5, 5)
    np.testing.assert_allclose(
        [data.train.x[:, 0].mean(), data.train.x[:, 0].std()], [0, 1], atol=1e-15
    )
    assert abs(data.test.x[:, 0].mean()) > 1e-3 or abs(data.test.x[:, 0].std() - 1) > 1e-3
    assert data.encoding.num_classes == 10
    assert data.train.x.shape == (5, 10)
    np.testing.assert_array_equal(data.test.y, data.test.rows)


def test_new_data_go_by_name(tmp_path: Path) -> None:
    data = from_table(spec("normal", "categorical: [c]"), TABLE)
    shuffled = {"extra": ["?"] * 4, **dict(reversed(TABLE.items()))}
    x, y = encode_table(data.encoding, shuffled)
    np.testing.assert_array_equal(x, data.train.x)
    np.testing.assert_array_equal(y, data.train.y)
    without = {name: values for name, values in TABLE.items() if name != "y"}
    assert encode_table(data.encoding, without)[1] is None
    for table, message in [
        (without, "new: y: no such column; columns: a, c, k"),
        ({**TABLE, "a": list("1x34")}, "new: a: row 2: 'x' is not a number; correct it"),
        (
            {**TABLE, "c": list("vuUx")},
            "new: c: row 3: 'U' was not there in training; did you mean 'u'? known: u, v, w",
        ),
        (
            {**TABLE, "c": ["v", "u", None, None]},
            f"new: c: row 3: missing value (and 1 more); {MISSING}",
        ),
        ({**TABLE, "k": [1.0, np.nan, 2, np.inf]}, f"new: k: row 2: missing value; {MISSING}"),
        ({"a ": TABLE["a"], "y": TABLE["y"]}, "new: c: no such column; columns: a, y"),
    ]:
        with pytest.raises(InputError) as caught:
            encode_table(data.encoding, table, "new", need_response=True)
        assert str(caught.value) == message
    assert encode_table(data.encoding, {n: [] for n in TABLE} | {"c": pa.array([], pa.string())})[
        0
    ].shape == (0, 4)


def test_an_unknown_class_is_named() -> None:
    encoding = from_table(spec("categorical"), {"x": [1, 2], "y": ["cat", "dog"]}).encoding
    with pytest.raises(
        InputError, match=r"y: row 1: 'cats' was not there in training; did you mean 'cat'\?"
    ):
        encode_table(encoding, {"x": [1], "y": ["cats"]})


def test_a_data_frame_is_a_table() -> None:
    frame = importlib.import_module("pandas").DataFrame(TABLE).astype({"c": "category"})
    frame["b"] = frame["a"] > 3
    wanted = spec("normal", "categorical: [c, b]")
    data = from_table(wanted, frame[frame["a"] > 1])
    assert data.encoding.columns == ("a", "c=w", "k", "b=true")
    assert len(data.train.rows) == 3
    same = from_table(wanted, pa.Table.from_pandas(frame[frame["a"] > 1]))
    np.testing.assert_array_equal(same.train.x, data.train.x)
    for table, message in [
        (3, "table: int is not a table; give a data frame, a dictionary or a Table"),
        ({"x": [1, "a"], "y": [1, 2]}, "table: cannot be made a table"),
        ({"x": [1, 2], "y": [1]}, "table: cannot be made a table"),
        ({"x": [[1], [2]], "y": [1, 2]}, "table: x: holds list<"),
    ]:
        with pytest.raises(InputError) as caught:
            from_table(spec("normal"), table)
        assert str(caught.value).startswith(message)


def test_an_encoding_survives_json_and_nonsense_does_not() -> None:
    encoding = from_table(spec("normal", "categorical: [c]"), TABLE).encoding
    plain = json.loads(json.dumps(encoding.to_json()))
    assert Encoding.from_json(plain) == encoding

    def changed(path: str, value: object) -> dict[str, Any]:
        tree: dict[str, Any] = copy.deepcopy(plain)
        node: Any = tree
        *above, last = path.split(".")
        for part in above:
            node = node[int(part)] if isinstance(node, list) else node[part]
        node[last] = value
        return tree

    for value in [
        None,
        3,
        [],
        "x",
        {},
        object(),
        {1: object()},
        changed("predictors.0.sd", 0),
        changed("predictors.0.mean", float("nan")),
        changed("predictors.0.kind", "eval"),
        changed("predictors.1.levels", []),
        changed("predictors.1.levels", ["u", "u"]),
        changed("predictors.0.name", "c"),
        changed("targets.0.labels", ["a", "b"]),
        changed("targets.0.families", ["bernoulli"]),
        changed("targets.0.extra", 1),
    ]:
        with pytest.raises(InputError, match="not a valid encoding") as caught:
            Encoding.from_json(value)
        assert str(caught.value).isprintable()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=6),
    st.floats(1e-6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_every_finite_column_is_encoded_finitely(
    values: list[float], scale: float, shift: float
) -> None:
    def design(column: np.ndarray) -> np.ndarray:
        rows = Rows(pa.table({"x": column, "y": np.arange(len(column)) * 1.0}), "table")
        learner = Learner(
            responses=[("y", ["normal"], None)], predictors=["x"], standardise="predictors"
        )
        return learner.whole(rows, np.arange(len(column))).design(rows)

    assert np.isfinite(design(np.array(values))).all()
    small = np.arange(len(values)) ** 2.0
    np.testing.assert_allclose(design(small), design((small + shift) * scale), atol=1e-4)
