"""Processes divide the reading of a streamed table, to the bits of one that reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from ranks import in_a_fresh_process
from torchrun import Torchrun

from pyromoe.models import InputError, parse_spec
from pyromoe.models.data.data import load
from pyromoe.models.tables.readers import ALONE, found_by

if TYPE_CHECKING:
    from pathlib import Path

N = 1000
SIZES = (1, 2, 3, 4)
SOME = (1, 3)
FIT = """
fit: {shards: 4, restarts: 1, epochs: 1, batch_size: 200, mode: eager}
"""


def columns() -> dict[str, Any]:
    """Columns with holes, one of them all through a block, and words some of which come late."""
    chance = np.random.default_rng(0)
    words = chance.choice(["a", "b", "c"], N).tolist()
    words[40], words[960] = "early", "late"
    known = chance.random(N) < 0.9
    known[90:180] = False
    return {
        "x": pa.array(chance.normal(5, 3, N), mask=~known),
        "c": pa.array(words, mask=chance.random(N) < 0.05),
        "d": chance.choice(["7", "8", "10"], N),
        "w": chance.uniform(0.1, 9, N),
        "e": chance.uniform(0.5, 2, N),
        "n": chance.poisson(3, N),
        "y": pa.array(chance.normal(1e3, 2, N), mask=chance.random(N) < 0.1),
    }


def write(path: Path, **changed: Any) -> Path:
    table = pa.table(columns() | changed)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path, row_group_size=90)
    return path


def spec(path: Path, data: str, family: str = "normal") -> str:
    source = f"file: '{path}', stream: {{buffer: 200}}"
    return f"data: {{{source}, {data}}}\nlikelihood: {{family: {family}}}{FIT}"


INDICATED = "predictors: [x, c], categorical: [c], missing: {predictors: indicate}"
CASES = {
    "indicated": ("response: n, exposure: e, weights: w, " + INDICATED, "poisson"),
    "marginalised": (
        "response: y, predictors: [w, e], weights: e, standardise: predictors_and_response, "
        "missing: {responses: marginalise}",
        "normal",
    ),
    "dropped": (
        "response: y, predictors: [x], missing: {predictors: drop, responses: drop}",
        "normal",
    ),
    "classes": ("response: d, predictors: [w, e]", "categorical"),
}


@pytest.mark.slow
def test_the_bits_are_those_of_any_number_of_processes_and_each_reads_its_part(
    tmp_path: Path,
) -> None:
    parquet, text = (write(tmp_path / f"t.{kind}") for kind in ("parquet", "csv"))
    sizes = {name: SIZES if name in ("indicated", "marginalised") else SOME for name in CASES}
    paths = {name: text if name == "classes" else parquet for name in CASES}
    texts = {name: spec(paths[name], *case) for name, case in CASES.items()}
    calls = [["streamed", size, texts[name], []] for name in CASES for size in sizes[name]]
    *found, apart = in_a_fresh_process([*calls, ["streamed", 2, texts["classes"], [], True]])
    for name in CASES:
        made = {size: found.pop(0) for size in sizes[name]}
        for size, each in made.items():
            assert all(one["same"] == made[1][0]["same"] for one in each), (name, size)
            own = [(4 * (r + 1) // size - 4 * r // size) * N // 4 for r in range(size)]
            assert [one["rows"][0] for one in each] == own
            # Test rows, training rows, and an epoch; what has no training rows is left out of it.
            again = [one["rows"][1] / rows for one, rows in zip(each, own, strict=True)]
            assert all(2 < times <= 3 for times in again)
            assert name == "dropped" or {*again} == {3}
    # The control: processes that read as if each was alone.
    assert [one["rows"][0] for one in apart] == [N, N]


def test_the_shards_are_part_of_what_is_learned(tmp_path: Path) -> None:
    """The control: sums in another order have other bits, and are the same to rounding."""
    text = spec(write(tmp_path / "t.parquet"), *CASES["marginalised"])
    one, four = (load(parse_spec(text, "s.yaml", [f"fit.shards={n}"])) for n in (1, 4))
    pairs = zip(one.encoding.predictors, four.encoding.predictors, strict=True)
    assert any(repr(a) != repr(b) for a, b in pairs)
    np.testing.assert_allclose(one.train.x, four.train.x, rtol=1e-12)
    np.testing.assert_array_equal(one.train.rows, four.train.rows)


WRONG: dict[str, tuple[str, str, dict[int, Any], str]] = {
    "missing": ("x", "normal", {700: None}, "x: row 701: missing value"),
    "the first of two": ("x", "normal", {700: None, 300: 1e301}, "x: row 301: "),
    "outsize": ("x", "normal", {700: 1e20}, "x: row 701: beside 1e+20 the others"),
    "unordered": ("d", "ordinal", {700: "high", 900: "low"}, "d: row 701: 'high' is not a number"),
}


def planted(name: str, changed: dict[int, Any]) -> dict[str, Any]:
    """The column x without holes, or another one, with some values changed."""
    whole = np.random.default_rng(1).normal(5, 3, N) if name == "x" else columns()[name]
    values = whole.tolist()
    for row, value in changed.items():
        values[row] = value
    return {name: pa.array(values)}


@pytest.mark.slow
def test_an_error_in_the_rows_of_one_process_is_said_by_all_as_by_one(tmp_path: Path) -> None:
    calls = []
    for case, (name, family, changed, _) in WRONG.items():
        path = write(tmp_path / f"{case}.parquet", **planted(name, changed))
        data = "response: y, predictors: [x], missing: {responses: marginalise}"
        text = spec(path, data if name == "x" else "response: d, predictors: [w]", family)
        calls += [["streamed", size, text, []] for size in SOME]
    for rank in range(2):  # whose process has other rows, or no file
        (tmp_path / str(rank)).mkdir()
        other = planted("e", {700: 1.5 + rank})  # in one value
        write(tmp_path / str(rank) / "other.parquet", **other)
    write(tmp_path / "0" / "absent.parquet")
    data = "response: n, predictors: [w, e]"
    for name in ("other", "absent"):
        calls.append(["streamed", 2, spec(tmp_path / "RANK" / f"{name}.parquet", data), []])
    *found, other, absent = in_a_fresh_process(calls)
    assert all("process 1 has other data than process 0" in one for one in other)
    assert all("absent.parquet: no such file" in one for one in absent)
    assert absent[0].startswith("process 1: ")
    for i, (case, (*_, wanted)) in enumerate(WRONG.items()):
        said = {one for each in found[len(SOME) * i : len(SOME) * (i + 1)] for one in each}
        assert len(said) == 1, (case, said)
        (text,) = said
        assert text.startswith(f"{tmp_path / case}.parquet: {wanted}"), text


@pytest.mark.slow
def test_an_error_under_torchrun_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", **planted("x", {300: 1e301, 700: None}))
    (tmp_path / "s.yaml").write_text(spec(path, "response: n, predictors: [x]"))
    program = ["-m", "pyromoe", "fit", "s.yaml", "--out", "run"]
    with Torchrun(*program, place=tmp_path, restarts=0) as torchrun:
        assert torchrun.end(60) == 1
    lines = [line for line in torchrun.text.splitlines() if "t.parquet" in line]
    assert len(lines) == 1, torchrun.text
    assert f"{path}: x: row 301: " in lines[0]
    assert "exitcode  : 2" in torchrun.text
    assert torchrun.text.count("Traceback") == 1  # torchrun's own


def test_what_readers_tell_each_other_is_kept_to_the_bit() -> None:
    odd = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), 2**70, "a\x00\n\U0001f600"]
    ((found,),) = [found_by(ALONE, lambda: odd)]
    assert [repr(value) for value in found] == [repr(value) for value in odd]
    (nan,) = found_by(ALONE, lambda: float("nan"))
    assert nan != nan

    def wrong() -> None:
        raise InputError("what", remedy="do", file="t.csv", line=3, column=4, field="x")

    with pytest.raises(InputError, match=r"^t\.csv:3:4: x: what; do$"):
        found_by(ALONE, wrong)


@pytest.mark.slow
def test_experts_that_are_divided_are_fitted_to_a_stream(tmp_path: Path) -> None:
    """To rounding those of one process, of the same shards; and not those of other rows."""
    path = write(tmp_path / "t.parquet")
    text = spec(path, "response: n, predictors: [w, e]", "poisson")
    more = ["fit.precision=float64", "fit.expert_parallel=true", "experts.number=3"]
    more += ["fit.mode=auto"]
    calls = [["divided_stream", size, text, more] for size in (1, 2)]
    calls.append(["divided_stream", 1, text, [*more, "seed=1"]])
    (one,), (first, second), (other,) = in_a_fresh_process(calls)
    assert "divided" in first["metrics"]["mode"]
    assert second["metrics"] == first["metrics"]
    assert first["tensors"].keys() == one["tensors"].keys()
    for name, values in one["tensors"].items():
        np.testing.assert_allclose(first["tensors"][name], values, rtol=1e-10, atol=1e-10)
    assert any(
        not np.allclose(other["tensors"][name], values, atol=1e-3)
        for name, values in one["tensors"].items()
    )
    for name in ("bic", "icl"):
        assert first["metrics"][name] == pytest.approx(one["metrics"][name], rel=1e-12)
    assert first["metrics"]["n"] == one["metrics"]["n"]
