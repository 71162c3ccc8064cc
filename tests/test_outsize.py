"""One value that drowns all others of its column is refused where the data are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings, strategies as st

from pyromoe.models.data.data import from_table, load
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.models.data.divide import Data

N = 40
ROW = 7
SETTINGS = {
    "x": ("normal", ""),
    "y": ("normal", ""),
    "weight": ("normal", "weights: weight"),
    "offset": ("normal", "offset: offset"),
    "exposure": ("poisson", "exposure: exposure"),
    "trials": ("binomial", "trials: trials"),
}
SPREAD = "correct or remove the row"


def table() -> dict[str, Any]:
    chance = np.random.default_rng(0)
    return {
        "x": chance.normal(size=N),
        "weight": chance.uniform(0.5, 2, N),
        "offset": chance.normal(size=N),
        "exposure": chance.uniform(1, 9, N),
        "trials": chance.integers(5, 9, N).astype(float),
        "y": chance.integers(0, 5, N).astype(float),
    }


def read(columns: dict[str, Any], family: str, data: str, more: str = "") -> Data:
    chosen = f"data: {{response: y, predictors: [x], {data}}}"
    spec = parse_spec(f"{chosen}\nlikelihood: {{family: {family}}}\n{more}", "s.yaml").spec
    return from_table(spec, columns)


def message(columns: dict[str, Any], family: str, data: str, more: str = "") -> str:
    with pytest.raises(InputError) as caught:
        read(columns, family, data, more)
    return str(caught.value)


@pytest.mark.parametrize("column", SETTINGS)
@pytest.mark.parametrize("planted", [1e30, 1e20])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_planted_value_is_named(column: str, planted: float, precision: str) -> None:
    columns = table()
    assert len(read(columns, *SETTINGS[column]).train.rows) == 32
    columns[column][ROW] = planted
    more = f"fit: {{precision: {precision}}}"
    line = message(columns, *SETTINGS[column], more)
    assert line.startswith(f"table: {column}: row {ROW + 1}: beside {planted:g} ")
    assert line.endswith("; correct or remove the row")


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        (c, v, "missing value" if np.isnan(v) else f"{v:g} is too large a number")
        for c in SETTINGS
        for v in (np.nan, np.inf, -np.inf)
    ],
)
def test_what_is_not_finite_is_named(column: str, value: float, what: str) -> None:
    columns = table()
    columns[column][ROW] = value
    assert message(columns, *SETTINGS[column]).startswith(f"table: {column}: row {ROW + 1}: {what}")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_the_file_and_its_row_are_named(ending: str, tmp_path: Path) -> None:
    columns = {"x": table()["x"], "y": table()["y"]}
    columns["x"][ROW] = 1e30
    write = pyarrow.csv.write_csv if ending == ".csv" else pyarrow.parquet.write_table
    write(pa.table(columns), tmp_path / f"a{ending}")
    text = f"data: {{file: a{ending}, response: y}}\nlikelihood: {{family: normal}}"
    with pytest.raises(InputError) as caught:
        load(parse_spec(text, f"{tmp_path}/s.yaml"))
    others = np.delete(columns["x"], ROW)
    assert str(caught.value) == (
        f"{tmp_path}/a{ending}: x: row {ROW + (2 if ending == '.csv' else 1)}: beside 1e+30 the "
        f"others, {others.min():g} to {others.max():g}, cannot be told apart; {SPREAD}"
    )


@pytest.mark.parametrize("column", ["x", "y", "offset"])
@pytest.mark.parametrize("scale", [1e-30, 1.989e30, 1e120])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_units_do_not_matter(column: str, scale: float, shift: float) -> None:
    columns = table()
    columns[column] = scale * (columns[column] + shift)
    assert len(read(columns, *SETTINGS[column]).train.rows) == 32
    columns[column][ROW] = scale * 1e18
    assert f"row {ROW + 1}: beside" in message(columns, *SETTINGS[column])


def test_a_value_that_fills_a_place_is_named_although_it_is_repeated() -> None:
    columns = table()
    columns["x"][[ROW, 9, 30]] = -9.96921e36
    assert f"row {ROW + 1}: beside -9.96921e+36" in message(columns, *SETTINGS["x"])


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 39 + [1e30],  # two values, which differ
        [1e30] * 20 + [0.0] * 20,
        [5.0] * 38 + [0.0, 1e-12],  # zeros, but for rounding
        list(10.0 ** np.linspace(-30, 30, N)),
        list(1.0 + np.arange(N) * 1e-3),
    ],
)
def test_other_columns_of_unusual_spread_are_fine(values: list[float]) -> None:
    columns = table() | {"x": np.array(values)}
    assert np.isfinite(read(columns, *SETTINGS["x"]).train.x).all()


def test_a_row_that_is_dropped_may_hold_anything() -> None:
    columns = table()
    columns["x"][ROW], columns["y"][ROW] = 1e30, np.nan
    data = "missing: {responses: drop}"
    assert len(read(columns, "normal", data).train.rows) == 31
    columns["x"][ROW + 1] = 1e30
    assert f"row {ROW + 2}: beside" in message(columns, "normal", data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(["x", "y", "offset"]),
    st.integers(0, N - 1),
    st.floats(-1e6, 1e6),
    st.floats(17, 60),
    st.sampled_from([-1, 1]),
)
def test_wherever_it_is_planted(
    column: str, row: int, shift: float, exponent: float, sign: int
) -> None:
    columns = table()
    columns[column] += shift
    columns[column][row] = sign * 10**exponent * max(1.0, abs(shift))
    assert f"table: {column}: row {row + 1}: beside" in message(
        columns, *SETTINGS[column], "fit: {optimiser: lbfgs}"
    )
