r"""Names that mean harm, of columns, levels, classes and folders, in all that is written.

What a spreadsheet takes for a formula, `=cmd|...`, is written as it is: a table keeps its values.
"""

from __future__ import annotations

import base64
import csv
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import xarray as xr
from report_pages import is_safe
from test_hostile import Result, is_quiet, watched

from pyromoe.models import InputError
from pyromoe.models.data.data import from_table
from pyromoe.models.errors import one_line
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script></style></title>",
    "{{ 7 * 7 }}{% raw %}",
    r"$\frac{",
    "\u202eabc\u2066",
    "=cmd|' /C calc'!A0",
    "../../x",
    "a/b",
    "\x1b[31mred\x1b]0;title\x07\x1b[2J",
    "\x9b31m\x85\u2028x",
    "_hidden",
    "[red]markup[/red]",
    "line\nbreak\r\x0b\ttab",
    "n" * 1000,
    "-- +1 @x",
)
ALSO_LEVELS = ("l" * 10_000,)
FOLDER = "<script>$\\frac{ \x1b[31m\u202e\n=x"
REFUSED = {
    "": "must not be empty",
    "a\0b": "not allowed",
    "\ud800": "not allowed",
    "c" * 10_000: "at most 1000 characters",
}
SETTINGS = {
    "experts": {"number": 2},
    "fit": {"epochs": 2, "restarts": 1, "optimiser": "adam", "mode": "eager"},
    "output": {"draws": 4},
}


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """A fit of numbers and a fit of classes, and all that can be asked of them."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    levels = (*NAMES, *ALSO_LEVELS)
    chosen = rng.integers(len(levels), size=120)
    chosen[: len(levels)] = np.arange(len(levels))
    columns = {name: rng.normal(size=120) for name in NAMES}
    words = np.array(levels, dtype=object)
    response = NAMES[9] + " y"
    columns |= {"level": words[chosen], "class": words[rng.permutation(chosen)]}
    columns[response] = rng.normal(size=120)
    pa.parquet.write_table(pa.table(columns), folder / "train.parquet")
    commands: list[list[str]] = []
    for y, family in ((response, "normal"), ("class", "categorical")):
        data = {"file": "train.parquet", "response": y, "predictors": [*NAMES, "level"]}
        spec = {"data": data | {"categorical": ["level"]}, "likelihood": {"family": family}}
        (folder / f"{family}.yaml").write_text(json.dumps(spec | SETTINGS))
        run = f"{FOLDER} {family}"
        commands += [
            ["check", f"{family}.yaml"],
            ["fit", f"{family}.yaml", "--out", run],
            ["inspect", run],
            ["inspect", run, "--obs", "0", "--expert", "0"],
            ["predict", run, "train.parquet", "--out", f"{family}.csv", "--per-expert"],
            ["report", run],
        ]
    commands += [
        ["coefficients", f"{FOLDER} normal", "--errors", "none"],
        ["compare", "normal.yaml", "--treatments", "enumerate", "--out", f"{FOLDER} all"],
        ["predict", f"{FOLDER} normal", "\x1b[31m\udcff.csv", "--out", "x.csv"],
    ]
    return folder, watched(folder, commands)


@pytest.mark.slow
def test_no_name_does_anything(called: tuple[Path, list[Result]]) -> None:
    folder, results = called
    assert [result["code"] for result in results] == [0] * (len(results) - 1) + [2]
    assert results[-1]["err"].count("\n") == 1
    for result in results:
        assert is_quiet(result["out"] + result["err"])
    assert "\\x1b[31m" in "".join(result["out"] for result in results)
    allowed = {"train.parquet", "normal.yaml", "categorical.yaml", "normal.csv", "categorical.csv"}
    folders = {f"{FOLDER} {kind}" for kind in ("normal", "categorical", "all")}
    assert {path.name for path in folder.iterdir()} == allowed | folders
    of_libraries = ("'fc-list'", "'uname'")  # which look for fonts, and for the processor
    every = [seen for result in results for seen in result["seen"]]
    assert [seen for seen in every if not any(name in seen for name in of_libraries)] == []


@pytest.mark.slow
def test_reports_show_them_and_nothing_else(called: tuple[Path, list[Result]]) -> None:
    folder, _ = called
    for kind in ("normal", "categorical", "all"):
        page = is_safe((folder / f"{FOLDER} {kind}" / "report.html").read_text(encoding="utf-8"))
        assert is_quiet(page.text)
        assert "{{ 7 * 7 }}{% raw %}" in page.text
        assert not page.all("script")
        pictures = page.all("img")
        assert pictures
        for picture in pictures:
            svg = ET.fromstring(base64.b64decode(picture["src"].partition("base64,")[2]))
            assert not [e.tag for e in svg.iter() if "script" in e.tag or "foreign" in e.tag]
            assert is_quiet("".join(svg.itertext()))


@pytest.mark.slow
def test_files_hold_them_as_they_are(called: tuple[Path, list[Result]]) -> None:
    folder, _ = called
    classes = [*NAMES, *ALSO_LEVELS]
    with xr.open_datatree(folder / f"{FOLDER} categorical" / "posterior.nc") as tree:
        assert set(NAMES) <= set(tree["constant_data"]["predictor"].to_numpy().tolist())
        assert set(json.loads(tree.attrs["classes"])) == {each.strip() for each in classes}
    with (folder / "categorical.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {f"p({each.strip()})" for each in classes} <= set(rows[0])
    assert {row[0] for row in rows[1:]} <= {each.strip() for each in classes}
    metrics = json.loads((folder / f"{FOLDER} normal" / "metrics.json").read_text())
    assert metrics["n"]["train"] + metrics["n"]["test"] == 120


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_kept_are_refused(name: str) -> None:
    text = json.dumps({"data": {"file": "a.csv", "response": name}, "likelihood": {}})
    with pytest.raises(InputError) as caught:
        parse_spec(text, "fit.yaml")
    assert REFUSED[name] in str(caught.value)
    assert one_line(str(caught.value)) == str(caught.value)


@pytest.mark.parametrize(("bad", "said"), [("\ud800", "surrogate"), ("a\0b", "a NUL")])
@pytest.mark.parametrize("where", ["column", "level", "class"])
def test_characters_that_no_file_can_hold_are_refused(bad: str, said: str, where: str) -> None:
    family = "bernoulli" if where == "class" else "normal"
    data = "{response: y, categorical: [x]}" if where == "level" else "{response: y}"
    spec = parse_spec(f"{{data: {data}, likelihood: {{family: {family}}}}}", "fit.yaml")
    words = [bad, "b"] * 10
    columns: dict[str, object] = {"x": np.arange(20.0), "y": np.arange(20.0)}
    columns |= {"class": {"y": words}, "level": {"x": words}}.get(where, {bad: np.arange(20.0)})
    with pytest.raises(InputError, match=said):
        from_table(spec.spec, columns)
