"""Tables are read exactly, or refused with file, column, row and advice."""

import gzip
import random
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.datasets
import statsmodels.api as sm

from pyromoe.models.errors import InputError
from pyromoe.models.tables import datasets
from pyromoe.models.tables.columns import numbers, texts
from pyromoe.models.tables.csv_text import parse_csv
from pyromoe.models.tables.table import Rows, read_rows, read_table

UTF8 = "save it as UTF-8"
COMMA = "add or remove a comma"
NAME = "name it, or remove a comma at the end of the rows"
BAD_CSV = [
    (b"\n", "row 1: the header is blank; start with the names"),
    (b"\n\nx,y\n1,2\n", "row 1: the header is blank; start with the names"),
    (b"   \n1\n", "row 1: the header is blank; start with the names"),
    (b"x,y\n", "has a header, but no rows below it"),
    (b"x,y", "has a header, but no rows below it"),
    (b"x,y\n\n\n", "has a header, but no rows below it"),
    (b"x,x\n1,2\n", "x: columns 1 and 2 have the same name; rename one"),
    (b"x, x\n1,2\n", "x: columns 1 and 2 have the same name; rename one"),
    (b"a,x,b,x\n1,2,3,4\n", "x: columns 2 and 4 have the same name; rename one"),
    (
        "\u00e9,e\u0301\n1,2\n".encode(),
        "e\u0301: columns 1 and 2 have names that look the same; rename one",
    ),
    (b"x,y,\n1,2,\n", f"column 3 has no name; {NAME}"),
    (b",y\n1,2\n", f"column 1 has no name; {NAME}"),
    (b"x,  ,y\n1,2,3\n", f"column 2 has no name; {NAME}"),
    (b"x,y,w\n1,2,3\n4,5\n", f"row 3: 2 values, but the header has 3; {COMMA}"),
    (b"x,y\n1,2\n3,4,5\n", f"row 3: 3 values, but the header has 2; {COMMA}"),
    (b"x,y\n1,2\n3\n", f"row 3: 1 value, but the header has 2; {COMMA}"),
    (b"x,y\n1,2\n\n3\n", f"row 4: 1 value, but the header has 2; {COMMA}"),
    (b"# made by hand\nx,y\n1,2\n", f"row 2: 2 values, but the header has 1; {COMMA}"),
    (b'x,y\n"a,2\nc,3\n', "row 2: 1 value, but the header has 2; is a quote left open?"),
    (b'x,y\n1,2\n3,"4\n', 'y: row 3: a quote is opened, but never closed; add or remove a "'),
    (b'x\n1\n"2\n3\n', 'x: row 3: a quote is opened, but never closed; add or remove a "'),
    (
        b'x,c,y\n1,"a,2\n3,b",4\n5,c,6\n',
        "c: row 2: a value goes on in the next row; is a quote left open? otherwise remove the "
        "line break",
    ),
    (
        b'x,c,y\n1,"a,2\r\n3,b,4\r\n5,c",6\r\n7,d,8\r\n',
        "c: row 2: a value goes on in the next row; is a quote left open? otherwise remove the "
        "line break",
    ),
    (
        b'x,y\n1,2\n"3"4,5\n',
        'row 3: a value goes on after its closing quote; write "" for a quote inside',
    ),
    (
        b'x,y\n1,2\n""3,5\n',
        'row 3: a value goes on after its closing quote; write "" for a quote inside',
    ),
    (
        b"x," + b"y" * 1001 + b"\n1,2\n",
        "the name of column 2 has 1001 characters; shorten it to "
        "1000; does the table have a header?",
    ),
    (
        "x,y,y\u200b\n1,2,3\n".encode(),
        "y\\u200b: columns 2 and 3 have names that look the same; rename one",
    ),
    ("x,\u200b\n1,2\n".encode(), f"column 2 has no name; {NAME}"),
    (b"x;y\n1,5;2\n", "row 1: columns seem to be separated by ';'; save it with commas"),
    (b"x\ty\n1\t2\n", "row 1: columns seem to be separated by a tab; save it with commas"),
    (b"x|y\n1|2\n", "row 1: columns seem to be separated by '|'; save it with commas"),
    ("x,y\n1,2\n".encode("utf-16"), f"looks like UTF-16; {UTF8}"),
    ("x,y\n1,2\n".encode("utf-16-le"), f"looks like UTF-16; {UTF8}"),
    ("x,y\n1,2\n".encode("utf-16-be"), "row 1: not UTF-8 text (byte 0x00); " + UTF8),
    ("pr\u00e9,y\n1,2\n".encode("latin-1"), f"row 1: not UTF-8 text (byte 0xe9); {UTF8}"),
    ("x,y\n1,2\n\u00e9,2\n".encode("latin-1"), f"row 3: not UTF-8 text (byte 0xe9); {UTF8}"),
    (b"x,y\n1\x00,2\n", f"row 2: not UTF-8 text (byte 0x00); {UTF8}"),
]


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(("raw", "message"), BAD_CSV)
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_bad_csv_file_has_exactly_this_message(
    raw: bytes, message: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(raw) if ending == ".csv.gz" else raw)
    assert message_of(path) == message


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["1", "0x1f"], ["1", "0x1f"]),
        (["1", "0X1f", ""], ["1", "0X1f", None]),
        (["9007199254740993", "9007199254740992"], [2**53 + 1, 2**53]),
        (["92233720368547758079", "92233720368547758078"],) * 2,
        (["1989" + "0" * 27, "2989" + "0" * 27], [1.989e30, 2.989e30]),
        (["1", " ", "\t", "\u00a0", "2"], [1, None, None, None, 2]),
        (["1", '" "', "2"], ["1", " ", "2"]),
        (["2020-01-01", " "], ["2020-01-01", None]),
        (["0x", "1e400"], ["0x", "1e400"]),
        (["1e400", "1e-400"], [float("inf"), 0.0]),
        (['"a, b\nc"', "d"], ["a, b\nc", "d"]),
        (['"a ""b"" c"', 'd"e'], ['a "b" c', 'd"e']),
    ],
)
def test_a_column_holds_what_is_written(cells: list[str], column: list[object]) -> None:
    text = "z,x,y\n" + "".join(f"q,{cell},7\n" for cell in cells)
    assert parse_csv(text.encode(), "").to_pydict() == {
        "z": ["q"] * len(cells),
        "x": column,
        "y": [7] * len(cells),
    }


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet"])
def test_what_unpacks_to_far_more_than_a_table_is_refused(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = tmp_path / f"a{ending}", 2_000_000
    if ending == ".csv.gz":
        path.write_bytes(gzip.compress(b"x\n" + b"1\n" * rows))
    else:
        pq.write_table(pa.table({"x": np.ones(rows)}), path)
    assert read_table(path).num_rows == rows
    assert path.stat().st_size * 200 < 2 * rows
    monkeypatch.setattr("pyromoe.models.tables.table.LARGE", 2**20)
    assert message_of(path) == "unpacks to more than 200 times its size; is this the right file?"


def test_a_parquet_file_without_rows_says_so(tmp_path: Path) -> None:
    for columns in ({"x": pa.array([], pa.int64())}, {}):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        assert message_of(tmp_path / "a.parquet") == "has no rows"


def test_decimals_that_a_number_cannot_tell_apart_stay_text(tmp_path: Path) -> None:
    wide = [Decimal(10**37 + i) for i in range(3)]
    pq.write_table(
        pa.table({"x": wide, "y": [Decimal("0.1"), None, Decimal(2)]}), tmp_path / "a.parquet"
    )
    table = read_table(tmp_path / "a.parquet")
    assert table.to_pydict() == {"x": [str(value) for value in wide], "y": [0.1, None, 2.0]}


def test_ten_thousand_columns_are_read_at_once() -> None:
    names = [f"x{i}" for i in range(10_000)]
    rows = Rows(
        parse_csv((",".join(names) + "\n" + ",".join("1" * 10_000) + "\n").encode(), ""), ""
    )
    started = time.process_time()
    assert all(numbers(rows, name).tolist() == [1.0] for name in names)
    assert time.process_time() - started < 5  # and not minutes


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    for name in ("bikes.csv", "empty.csv", "empty.parquet", "bikes.xlsx", "bikes"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    endings = "the name must end in .csv, .csv.gz, .parquet"
    assert {
        name: message_of(tmp_path / name)
        for name in (
            "bike.csv",
            "zzz.csv",
            "x/y.csv",
            "folder.csv",
            "empty.csv",
            "empty.parquet",
            "bikes.xlsx",
            "bikes",
        )
    } == {
        "bike.csv": "no such file; did you mean 'bikes.csv'?",
        "zzz.csv": "no such file; check the path",
        "x/y.csv": "no such folder; check the path",
        "folder.csv": "is a folder, not a file; name a file in it",
        "empty.csv": "the file is empty",
        "empty.parquet": "the file is empty",
        "bikes.xlsx": f"cannot tell its format; {endings}",
        "bikes": f"cannot tell its format; {endings}",
    }


@pytest.mark.parametrize("ending", ["", ".csv", ".parquet"])
def test_a_path_that_is_too_long_is_an_error_in_the_path(ending: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / f"{'x' * 300}{ending}")
    line = str(caught.value)
    assert line.startswith("..." + "x" * (200 - len(ending)) + ending + ": cannot ")
    assert line.endswith(("(File name too long)", ".parquet"))


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfx,y\n1,2.5\n3,4\n",
        b"x, y\n1, 2.5\n 3,4 \n",
        b"x,y\r\n1,2.5\r\n3,4\r\n\r\n",
        b"x,y\r1,2.5\r3,4\r",
        b'"x","y"\n1,2.5\n3,"4"\n',
        b"x,y\n+1,25e-1\n3.,4.0",
    ],
)
def test_harmless_differences_do_not_matter(raw: bytes) -> None:
    rows = Rows(parse_csv(raw, "a.csv"), "a.csv")
    assert [numbers(rows, name).tolist() for name in ("x", "y")] == [[1.0, 3.0], [2.5, 4.0]]


def test_what_is_no_number_stays_as_it_is_written() -> None:
    table = parse_csv(
        b'd,b,t,q\n2020-01-01,True,10:11:12,"NA"\n2020-01-02,false,11:00:00,"a\nb"\n', ""
    )
    assert table.to_pydict() == {
        "d": ["2020-01-01", "2020-01-02"],
        "b": ["True", "false"],
        "t": ["10:11:12", "11:00:00"],
        "q": ["NA", "a\nb"],
    }


def test_the_row_is_that_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("x\n" + "1\n" * 20_000 + "oops\n")
    with pytest.raises(InputError, match="row 20002: 'oops' is not a number"):
        numbers(read_rows(path), "x")
    path.write_text("x,y\n1,1\n\n3,3\n")
    with pytest.raises(InputError, match="row 3: missing value"):
        numbers(read_rows(path), "x")


def test_parquet_keeps_numbers_and_turns_the_rest_into_text(tmp_path: Path) -> None:
    columns = {
        "i": pa.array([1, 2], pa.int8()),
        "f": pa.array([1.5, 2], pa.float32()),
        "b": pa.array([True, False]),
        "d": pa.array([1, 2], pa.date32()),
        "c": pa.array(["u", "v"]).dictionary_encode(),
        "m": pa.array([Decimal("1.0"), Decimal("2.0")]),
        "l": pa.array(["u", "v"], pa.large_string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet")
    assert [numbers(rows, name).tolist() for name in "ifm"] == [[1.0, 2.0], [1.5, 2.0], [1.0, 2.0]]
    assert [texts(rows, name)[1] for name in "bdcli"] == [
        *(("true", "false"), ("1970-01-02", "1970-01-03"), ("u", "v"), ("u", "v"), ("1", "2"))
    ]
    pq.write_table(pa.table({"x": [[1], [2]]}), tmp_path / "b.parquet")
    advice = "convert or remove it"
    nested = message_of(tmp_path / "b.parquet")
    assert nested.startswith("x: holds list<")
    assert nested.endswith(f"neither numbers nor text; {advice}")


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet"])
def test_no_damage_is_silent(ending: str, tmp_path: Path) -> None:
    table = pa.table({"x": list(range(500)), "y": [i / 7 for i in range(500)]})
    if ending == ".parquet":
        pq.write_table(table, tmp_path / "whole.parquet", write_page_checksum=True)
    else:
        rows = "".join(f"{x},{y!r}\n" for x, y in zip(*table.to_pydict().values(), strict=True))
        (tmp_path / "whole.csv.gz").write_bytes(gzip.compress(f"x,y\n{rows}".encode()))
    whole = (tmp_path / f"whole{ending}").read_bytes()
    assert read_table(tmp_path / f"whole{ending}").equals(table)
    chance = random.Random(0)
    path = tmp_path / f"broken{ending}"
    refused = 0
    for trial in range(150):
        broken = bytearray(whole)
        place = chance.randrange(len(whole))
        if trial % 2:
            broken = broken[:place]
        else:
            broken[place] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            assert read_table(path).to_pydict() == table.to_pydict()
        except InputError:
            refused += 1
    assert refused > 100


def as_arrays(name: str, response: str) -> tuple[np.ndarray, list[object]]:
    table, default = datasets.read_dataset(name)
    assert default == response
    rows = Rows(table, name)
    predictors = [column for column in table.column_names if column != response]
    x = np.column_stack([numbers(rows, column) for column in predictors])
    return x, table.column(response).to_pylist()


@pytest.mark.parametrize(
    ("name", "response"), [("iris", "species"), ("wine", "class"), ("breast_cancer", "diagnosis")]
)
def test_labelled_datasets_equal_those_of_scikit_learn(name: str, response: str) -> None:
    x, y = as_arrays(name, response)
    theirs = getattr(sklearn.datasets, f"load_{name}")()
    np.testing.assert_array_equal(x, theirs.data)
    assert y == theirs.target_names[theirs.target].tolist()
    names = [n.removesuffix(" (cm)").replace(" ", "_") for n in theirs.feature_names]
    assert datasets.read_dataset(name)[0].column_names == [*names, response]


def test_digits_and_diabetes_equal_those_of_scikit_learn() -> None:
    x, y = as_arrays("digits", "digit")
    digits = sklearn.datasets.load_digits()
    np.testing.assert_array_equal(x, digits.data)
    assert y == digits.target.tolist()
    names = datasets.read_dataset("digits")[0].column_names
    assert names == [*digits.feature_names, "digit"]
    x, y = as_arrays("diabetes", "progression")
    diabetes = sklearn.datasets.load_diabetes(scaled=False)
    np.testing.assert_array_equal(x, diabetes.data)
    assert y == diabetes.target.tolist()


@pytest.mark.parametrize("name", ["engel", "longley", "fair", "stackloss", "randhie", "grunfeld"])
def test_tables_equal_those_of_statsmodels(name: str) -> None:
    table, response = datasets.read_dataset(name)
    assert response == ("foodexp" if name == "engel" else None)
    theirs = getattr(sm.datasets, name).load_pandas().data
    rows = Rows(table, name)
    shared = [column for column in theirs.columns if column in table.column_names]
    assert len(shared) > 1
    for column in shared:
        if theirs[column].dtype.kind in "if":
            np.testing.assert_array_equal(numbers(rows, column), theirs[column])


def test_every_listed_dataset_can_be_read() -> None:
    with pytest.raises(
        InputError, match=r"no dataset 'iriss'; did you mean 'iris'\? known: digits, "
    ) as caught:
        datasets.read_dataset("iriss")
    names = caught.value.remedy.split("known: ")[1].split(", ")
    assert len(names) > 20
    assert all(datasets.read_dataset(name)[0].num_rows for name in names)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "find_spec", lambda _: None)
    with pytest.raises(
        InputError, match="dataset 'digits' needs scikit-learn; pip install scikit-learn"
    ):
        datasets.read_dataset("digits")
    with pytest.raises(InputError, match="for more, pip install statsmodels"):
        datasets.read_dataset("engel")
