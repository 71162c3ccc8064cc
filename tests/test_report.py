"""Reports: one file, safe whatever is in the data, the same words as in the terminal."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from command import called
from report_pages import CLASSES, HOSTILE, Elements, as_yaml, is_safe, spec, table, write_run

from pyromoe.inference.commands.inspection import summary_lines
from pyromoe.inference.files.verified import seal
from pyromoe.inference.report.written import write_report
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.of_directory import summarise
from pyromoe.models import InputError
from pyromoe.models.errors import one_line
from pyromoe.models.specs.spec_file import read_spec

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
KINDS: dict[str, dict[str, Any]] = {
    "normal": spec(),
    "one_expert": spec(number=1),
    "many_experts": spec(number=64),
    "no_test_rows": spec(data={"split": {"test": 0}}),
    "classes": spec("class", "categorical", 3),
    "responses": spec([HOSTILE[4], "second"], "multivariate_normal"),
    "groups": spec(data={"group": "g"}),
    "mlp": spec(experts={"number": 3, "kind": "mlp", "hidden": [4]}),
    "no_predictors": spec(data={"predictors": [], "categorical": []}),
    "posterior": spec(guide={"weights": "mean_field"}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the run directory of one of the specs; its data file is beside it."""
    root = tmp_path_factory.mktemp("runs")
    pyarrow.csv.write_csv(pa.table(table()), root / "train.csv")

    def give(kind: str) -> Path:
        folder = root / kind
        if not folder.exists():
            write_run(folder, KINDS[kind])
            with_file = read_spec(folder / "spec.yaml").spec.data.file
            assert with_file is not None
            text = (folder / "spec.yaml").read_text()
            (folder / "spec.yaml").write_text(text.replace(with_file, "../train.csv", 1))
            seal(folder)
        return folder

    return give


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_one_safe_file(runs: Callable[[str], Path], kind: str) -> None:
    folder = runs(kind)
    path = write_report(folder)
    assert path == folder / "report.html"
    page = path.read_text(encoding="utf-8")
    found = is_safe(page)
    style = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    (policy,) = (m["content"] for m in found.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    pictures = found.all("img")
    assert pictures
    for picture in pictures:
        assert re.search(r"\d", picture["alt"])
        svg = base64.b64decode(picture["src"].partition("base64,")[2])
        assert b"<svg" in svg[:600]
        assert b"<script" not in svg.lower()
        assert not re.findall(rb'href="(?!#|data:)', svg)
    assert page.count("<h1>") == 1
    assert not list(folder.glob(".*partial"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_terminal_says_the_same(runs: Callable[[str], Path], kind: str) -> None:
    folder = runs(kind)
    summary = summarise(folder)
    text = Elements(write_report(folder).read_text(encoding="utf-8")).text
    terminal = "\n".join(summary_lines(summary))
    shown = [summary.title, *summary.what, *summary.how_good, summary.bars_of]
    shown += [each.text for each in summary.bars[:8]]
    shown += [part for each in summary.worries for part in (each.what, each.remedy)]
    assert len(shown) > 8
    for said in shown:
        assert said in terminal
        assert " ".join(said.split()) in text
    assert terminal.isprintable() or set(c for c in terminal if not c.isprintable()) == {"\n"}


def test_names_are_shown_as_they_are(runs: Callable[[str], Path]) -> None:
    text = Elements(write_report(runs("normal")).read_text(encoding="utf-8")).text
    for name in HOSTILE[:3]:
        assert " ".join(one_line(name).split()) in text
    assert "{{ 7 * 7 }}" in text
    of_classes = Elements(write_report(runs("classes")).read_text(encoding="utf-8")).text
    assert any(name in of_classes for name in CLASSES)


def test_the_same_directory_gives_the_same_bytes(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = runs("normal")
    one, two = (write_report(folder, tmp_path / name) for name in ("one.html", "two.html"))
    assert one.read_bytes() == two.read_bytes()


def test_held_out_rows_are_calibrated_where_there_are_any(runs: Callable[[str], Path]) -> None:
    held_out = Elements(write_report(runs("normal")).read_text(encoding="utf-8")).text
    assert "12 held-out rows" in held_out
    none = Elements(write_report(runs("no_test_rows")).read_text(encoding="utf-8")).text
    assert "No row was held out" in none
    assert "60 training rows" in none


def test_a_report_outlives_its_data(runs: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "run"
    shutil.copytree(runs("normal"), folder)
    page = Elements(write_report(folder).read_text(encoding="utf-8"))
    assert "The held-out rows are missing: " in page.text
    assert "no such file" in page.text
    there = Elements(write_report(runs("normal")).read_text(encoding="utf-8"))
    assert len(page.all("img")) == len(there.all("img"))


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: object) -> tuple[int, str, str]:
        return called(monkeypatch, capsys, *args)

    return call


def changed(text: str, name: str, value: object) -> str:
    return json.dumps(json.loads(text) | {name: value})


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.json", "garbage"), ("metrics.json", "[]"), ("metrics.json", "{}"),
        ("metrics.json", lambda text: changed(text, "restarts", [3])),
        ("metrics.json", lambda text: changed(text, "n", None)),
        ("spec.yaml", "garbage"), ("spec.yaml", None),
        ("history.csv", None), ("history.csv", "a,b\n1\n"),
        ("history.csv", "restart,step,loss\nx,y,z"),
        ("posterior.nc", None), ("posterior.nc", "garbage"),
        ("checkpoints/encoding.json", None), ("checkpoints/encoding.json", "{}"),
        ("checkpoints/parameters.safetensors", None),
        ("checkpoints/parameters.safetensors", "garbage"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(
    runs: Callable[[str], Path],
    run: Callable[..., tuple[int, str, str]],
    name: str,
    damage: str | Callable[[str], str] | None,
    sealed: bool,
) -> None:
    """Also where the manifest says that the file is as it was written."""
    folder = Path("run")
    shutil.copytree(runs("normal"), folder)
    (folder / "report.html").unlink(missing_ok=True)
    path = folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage if isinstance(damage, str) else damage(path.read_text()))
    if sealed:
        seal(folder)
    code, _, err = run("report", folder)
    assert code == 2
    assert path.name in err
    assert err.count("\n") == 1
    assert not [p for p in folder.iterdir() if "report" in p.name]


@pytest.mark.parametrize("name", ["comparison.json", "gradients.json", "selection.json"])
@pytest.mark.parametrize("text", ["garbage", "[]", '{"rows": [{}]}'])
def test_a_broken_directory_of_another_kind_is_named(
    run: Callable[..., tuple[int, str, str]], name: str, text: str
) -> None:
    Path("made").mkdir()
    Path("made", name).write_text(text)
    seal(Path("made"))
    for command in ("report", "inspect"):
        code, _, err = run(command, "made")
        assert code == 2
        assert name in err
        assert err.count("\n") == 1
    assert {p.name for p in Path("made").iterdir()} == {name, "manifest.json"}


def test_a_folder_of_something_else_is_refused(run: Callable[..., tuple[int, str, str]]) -> None:
    Path("empty").mkdir()
    for folder in ("empty", "absent"):
        code, _, err = run("report", folder)
        assert code == 2
        assert "pyromoe fit, compare, gradients or select" in err


def test_a_report_goes_where_it_is_asked_to(
    runs: Callable[[str], Path], run: Callable[..., tuple[int, str, str]]
) -> None:
    folder = runs("normal")
    code, out, _ = run("report", folder, "--out", "mine.html")
    assert (code, out) == (0, "report: mine.html\n")
    assert is_safe(Path("mine.html").read_text(encoding="utf-8"))
    code, _, err = run("report", folder, "--out", "absent/mine.html")
    assert code == 2
    assert err.endswith("no such folder; make it, or name another --out\n")


def test_every_command_that_writes_a_directory_writes_its_report(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    """The last line of each is the path of the report: make demo is compare, and ends with it."""
    pyarrow.csv.write_csv(pa.table(table()), "train.csv")
    settings = spec(number=2)
    settings["fit"]["restarts"] = 1
    Path("spec.yaml").write_text(as_yaml(settings), encoding="utf-8")
    commands: dict[str, tuple[object, ...]] = {
        "fit": (),
        "compare": ("--treatments", "enumerate,gumbel_softmax,leave_one_out", "--seeds", "0,1"),
        "gradients": ("--treatments", "enumerate,gumbel_softmax", "--draws", "4"),
        "select": ("--experts", "1,2", "--folds", "2"),
    }
    for command, options in commands.items():
        code, out, err = run(command, "spec.yaml", "--out", f"of {command}", *options)
        assert code == 0, err
        path = Path(f"of {command}", "report.html")
        assert out.splitlines()[-1] == f"report: {path}"
        found = is_safe(path.read_text(encoding="utf-8"))
        assert found.all("img")
        assert all(re.search(r"\d", picture["alt"]) for picture in found.all("img"))
        summary = summarise(path.parent)
        for said in (summary.title, *summary.what, *summary.how_good):
            assert " ".join(said.split()) in found.text
        assert read_spec(path.parent / "spec.yaml").spec.experts.number == 2
        again, text, _ = run("inspect", path.parent)
        assert again == 0
        assert summary.title in text
    compared = Elements(Path("of compare/report.html").read_text(encoding="utf-8"))
    assert "Agreement of fits" in compared.text
    order = re.findall(r"(?:enumerate|gumbel_softmax|leave_one_out)-[01]", compared.text)
    rows = json.loads(Path("of compare/comparison.json").read_text())["rows"]
    best = max(rows, key=lambda row: row["test_log_likelihood"])
    assert order[0] == f"{best['treatment']}-{best['seed']}"
    headings = Elements(Path("of gradients/report.html").read_text(encoding="utf-8")).text
    assert "bias of objective bias of estimator" in headings


def test_a_comparison_is_reported_without_its_runs(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    pyarrow.csv.write_csv(pa.table(table()), "train.csv")
    Path("spec.yaml").write_text(as_yaml(spec(number=2)), encoding="utf-8")
    assert run("compare", "spec.yaml", "--treatments", "enumerate", "--out", "made")[0] == 0
    for folder in Path("made").glob("enumerate-*"):
        shutil.rmtree(folder)
    Path("made/spec.yaml").unlink()
    code, _, err = run("report", "made")
    assert code == 2
    assert "delete its line in manifest.json" in err
    manifest = Path("made/manifest.json")
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if '"spec.yaml"' not in line))
    assert run("report", "made")[0] == 0
    text = Elements(Path("made/report.html").read_text(encoding="utf-8")).text
    assert "The run directories of the fits are no longer there." in text
    assert "The spec is no longer there." in text


def test_inspect_shows_rows_and_experts(
    runs: Callable[[str], Path], run: Callable[..., tuple[int, str, str]]
) -> None:
    import xarray as xr

    folder = runs("normal")
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        rows = tree["constant_data"]["row"].to_numpy()
        r = tree["posterior"]["resp"].mean(("chain", "draw")).to_numpy()
        y = tree["observed_data"]["y"].to_numpy()
    code, out, _ = run("inspect", folder, "--obs", f"{rows[3]},{rows[7]}")
    assert code == 0
    assert [f"row {rows[i]}" in out for i in (3, 7)] == [True, True]
    first = out.split(f"row {rows[7]}")[0]
    shares = {int(k): float(s) for k, s in re.findall(r"expert (\d).* (\d+\.\d)%  gate", first)}
    np.testing.assert_allclose([shares[0], shares[1]], 100 * r[3], atol=0.051)
    assert f": {y[3]:.3g}; predicted" in first
    low, high = map(float, re.findall(r"90% between (\S+) and (\S+)", first)[0])
    assert low < high
    code, out, _ = run("inspect", folder, "--expert", "1")
    assert code == 0
    assert f"{r[:, 1].mean():.1%}" in out
    assert out.count("expert_slope") == 4
    for option, text in (("--expert", "9"), ("--obs", "999"), ("--obs", "one")):
        code, _, err = run("inspect", folder, option, text)
        assert code == 2
        assert option in err
    held_out = sorted({*range(60)} - {*rows.tolist()})[0]
    assert "pyromoe predict" in run("inspect", folder, "--obs", held_out)[2]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("classes", "%"),
        ("responses", "predicted"),
        ("groups", "predicted"),
        ("one_expert", "100.0%"),
    ],
)
def test_inspect_shows_rows_of_every_kind(
    runs: Callable[[str], Path], run: Callable[..., tuple[int, str, str]], kind: str, text: str
) -> None:
    first = ",".join(map(str, read_assignments(runs(kind)).row[:2]))
    code, out, err = run("inspect", runs(kind), "--obs", first, "--expert", "0")
    assert code == 0, err
    assert text in out.split("row ")[2]


def test_a_file_that_lacks_something_names_it(runs: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs("normal"), folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["parameters"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    seal(folder)
    with pytest.raises(InputError, match=r"metrics\.json: parameters: "):
        write_report(folder)
