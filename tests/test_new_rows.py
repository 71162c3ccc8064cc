"""New rows for `pyromoe predict`: what they lack is named, and what does not matter does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from command import captured

from pyromoe.inference import fit, predict
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = """
data: {file: train.csv, response: y, predictors: [x, colour], categorical: [colour]}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 2, restarts: 1, precision: float64}
output: {draws: 2}
"""
NEW: dict[str, list[Any]] = {"x": [0.5, 1.5, 2.5], "colour": ["red", "blue", "red"]}
KNOWN = "known: blue, red"
MISSING = "fill it in, remove the row, or see data.missing"


def columns() -> dict[str, Any]:
    chance = np.random.default_rng(0)
    x, colour = chance.normal(size=60), np.where(chance.random(60) > 0.5, "red", "blue")
    y = np.abs(x) + (colour == "red") + 0.1 * chance.normal(size=60)
    return {"x": x, "colour": colour, "y": y}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows")
    pyarrow.csv.write_csv(pa.table(columns()), path / "train.csv")
    (path / "spec.yaml").write_text(SPEC)
    assert captured(["fit", f"{path}/spec.yaml", "--out", f"{path}/run"]).code == 0
    return path


@pytest.fixture
def predicted(folder: Path, tmp_path: Path) -> Callable[..., str | list[float]]:
    """Give the means of new rows, or the message without the name of the file."""

    def run(new: dict[str, Any] | str, ending: str = ".csv") -> str | list[float]:
        path, out = tmp_path / f"new{ending}", tmp_path / "out.parquet"
        out.unlink(missing_ok=True)
        if isinstance(new, str):
            path.write_text(new)
        elif ending == ".csv":
            pyarrow.csv.write_csv(pa.table(new), path)
        else:
            pyarrow.parquet.write_table(pa.table(new), path)
        result = captured(["predict", f"{folder}/run", str(path), "--out", str(out)])
        if result.code == 0:
            means: list[float] = pyarrow.parquet.read_table(out)["mean"].to_pylist()
            return means
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert not [*tmp_path.glob("*out*"), *tmp_path.glob(".*")]
        return result.err.strip().removeprefix(f"pyromoe: error: {path}: ")

    return run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "x: no such column; columns: colour"),
        ({"X": [1.0, 2, 3], "x": None}, "x: no such column; did you mean 'X'?"),
        (
            {"colour": ["red", "rad", "blue"]},
            f"colour: row 3: 'rad' was not there in training; did you mean 'red'? {KNOWN}",
        ),
        ({"colour": [1, 2, 3]}, f"colour: row 2: '1' was not there in training; {KNOWN}"),
        ({"colour": ["red", None, "red"]}, f"colour: row 3: missing value; {MISSING}"),
        ({"x": ["1", "2", "3a"]}, "x: row 4: '3a' is not a number; correct it"),
        ({"x": [1.0, None, None]}, f"x: row 3: missing value (and 1 more); {MISSING}"),
        (
            {"x": [1.0, float("inf"), 2]},
            "x: row 3: inf is too large a number; correct or remove the row",
        ),
        ({"y": ["a", "1", "2"]}, "y: row 2: 'a' is not a number; correct it"),
        ({"y": [1.0, None, 2]}, f"y: row 3: missing value; {MISSING}"),
        ({"x ": [1.0, 2, 3]}, "x: columns 1 and 3 have the same name; rename one"),
    ],
)
def test_what_new_rows_lack_is_named(
    change: dict[str, Any], message: str, predicted: Callable[..., str | list[float]]
) -> None:
    new = {name: values for name, values in (NEW | change).items() if values is not None}
    assert predicted(new) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("x,colour\n", "has a header, but no rows below it"),
        ("x;colour\n1;red\n", "row 1: columns seem to be separated by ';'; save it with commas"),
        ("x,colour\n1\n", "row 2: 1 value, but the header has 2; add or remove a comma"),
    ],
)
def test_a_table_that_is_none_is_refused(
    text: str, message: str, predicted: Callable[..., str | list[float]]
) -> None:
    assert predicted(text) == message


def test_order_type_and_other_columns_do_not_matter(
    predicted: Callable[..., str | list[float]],
) -> None:
    plain = predicted(NEW)
    assert len(plain) == 3
    assert predicted({"other": ["?", None, ""], **dict(reversed(NEW.items()))}) == plain
    assert predicted({**NEW, "y": [1.0, 2.0, 3.0]}) == plain
    assert predicted({n: v[:1] for n, v in NEW.items()}) == pytest.approx(plain[:1], rel=1e-12)
    assert predicted(NEW, ".parquet") == plain
    exact = {"x": pa.array(NEW["x"], pa.float32()), "colour": pa.array(NEW["colour"])}
    assert predicted({**exact, "colour": exact["colour"].dictionary_encode()}, ".parquet") == plain
    assert predicted({**NEW, "x": pa.array([1, 2, 3], pa.int8())}, ".parquet") == predicted(
        {**NEW, "x": [1.0, 2.0, 3.0]}
    )
    assert predicted({n: pa.array([], pa.string()) for n in NEW}, ".parquet") == "has no rows"


@pytest.mark.parametrize(
    ("scale", "shift", "optimiser"),
    [
        (1e6, 0.0, "adam"),
        (1e-6, 0.0, "adam"),
        (1.0, 1e6, "adam"),
        (1e6, 1e6, "adam"),
        (-1e6, 1e6, "lbfgs"),
    ],
)
def test_units_of_a_predictor_do_not_matter(scale: float, shift: float, optimiser: str) -> None:
    """Standardised, it is the same column but for rounding, and so is every step of the fit."""
    changes = [f"fit.optimiser={optimiser}", "fit.epochs=20"]
    spec, table = parse_spec(SPEC, "spec.yaml", changes).spec, columns()
    moved = table | {"x": scale * table["x"] + shift}
    one, other = (predict(fit(spec, t), t)["mean"].to_numpy() for t in (table, moved))
    assert np.ptp(one) > 0.5
    np.testing.assert_allclose(other, one, rtol=1e-6)
