"""What the documents say runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, get_args

import jupytext
import pytest
import torch

from pyromoe.inference import pictures
from pyromoe.inference.files.arviz_versions import to_tree
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import MixtureOfExperts
from pyromoe.models.data.data import load
from pyromoe.models.gates import GATES
from pyromoe.models.likelihoods import FAMILIES, Binomial, Normal
from pyromoe.models.specs.fit_settings import Initialisation
from pyromoe.models.specs.spec_file import json_schema, parse_spec, read_spec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


FAMILIES_PAGE = (ROOT / "docs" / "families.md").read_text()
FITTING_PAGE = (ROOT / "docs" / "fitting.md").read_text()
ROWS_PAGE = (ROOT / "docs" / "rows.md").read_text()
PREDICTIONS_PAGE = (ROOT / "docs" / "predictions.md").read_text()
SELECTION_PAGE = (ROOT / "docs" / "selection.md").read_text()
PICTURES_PAGE = (ROOT / "docs" / "pictures.md").read_text()
ARVIZ_PAGE = (ROOT / "docs" / "arviz.md").read_text()
GATES_PAGE = (ROOT / "docs" / "gates.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def run(page: str) -> dict[str, Any]:
    """Run the program of a page and return its names."""
    (program,) = blocks("python", page)
    names: dict[str, Any] = {}
    exec(program, names)
    return names


def test_the_readme_program_runs_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    (program,) = blocks("python")
    exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    value = float(re.findall(r"= (-?\d+\.\d+) nats", printed)[0])
    one_line = -1.2  # about what a single straight line reaches
    assert value > one_line + 0.5


def test_the_readme_shows_a_program_within_thirty_lines() -> None:
    lines = README.splitlines()
    start = lines.index("```python")
    assert start < 30
    assert lines.index("```", start) - start <= 30


def test_the_readme_spec_is_valid() -> None:
    (text,) = blocks("yaml")
    plan = make_plan(parse_spec(text, "spec.yaml"))
    assert plan.schedules["temperature"].at(1.0) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "text", [b for page in (FAMILIES_PAGE, ROWS_PAGE, FITTING_PAGE) for b in blocks("yaml", page)]
)
def test_the_specs_of_the_pages_are_valid(text: str) -> None:
    file = parse_spec(text, "spec.yaml")
    if file.spec.data.dataset is not None:
        load(file)
    make_plan(file)


def test_every_initialisation_and_warning_is_documented() -> None:
    source = (ROOT / "inference" / "maximum_likelihood" / "warned.py").read_text()
    warnings = set(re.findall(r'yield\s*\(?\s*"(\w+)"', source))
    assert len(warnings) > 8
    named = set(re.findall(r"^\| `(\w+)` \|", FITTING_PAGE, re.MULTILINE))
    assert named == warnings | {*get_args(Initialisation)}


def test_the_program_of_predictions_runs() -> None:
    names = run(PREDICTIONS_PAGE)
    assert names["whole"].shape == (3, 190)
    assert names["of_experts"].shape == (3, 2, 190)
    assert {"q0.05", "q0.5", "q0.95"} <= set(names["table"].column_names)


def test_the_page_of_pictures_draws_one_and_names_all() -> None:
    assert run(PICTURES_PAGE)["svg"].startswith(b"<?xml")
    named = set(re.findall(r"\w+", PICTURES_PAGE))
    drawn = {name for name in dir(pictures) if name.startswith("plot_") or "_figure" in name}
    assert drawn
    assert drawn <= named


def test_the_program_of_the_selection_runs() -> None:
    found = run(SELECTION_PAGE)["found"]
    assert found.recommendation.startswith("Recommended: ")
    assert found.fit.spec.experts.number in (1, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what ArviZ asks of pandas
def test_the_program_for_arviz_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(ARVIZ_PAGE)
    tree = to_tree(names["posterior"])
    assert set(re.findall(r"^\| `(\w+)` \|", ARVIZ_PAGE, re.MULTILINE)) == set(tree.children)
    assert float(names["loo"].se) > 0
    assert names["compared"].index[0] == "two lines"
    assert (tmp_path / "posterior.nc").stat().st_size > 0
    assert names["again"]["posterior"].sizes["chain"] == 2


def test_every_family_is_documented() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    for name in FAMILIES:
        assert f"| `{name}` |" in FAMILIES_PAGE
        assert FAMILIES_PAGE.count(f"`{name}`") > 1
        assert f"`{name}`" in changes
    (program,) = blocks("python", FAMILIES_PAGE)
    exec(program, {"MixtureOfExperts": MixtureOfExperts, "Binomial": Binomial})
    (program,) = blocks("python", ROWS_PAGE)
    exec(program, {})


@pytest.mark.parametrize("text", blocks("yaml", GATES_PAGE))
def test_the_specs_of_the_gates_are_valid(text: str) -> None:
    file = parse_spec(text, "spec.yaml")
    load(file)
    make_plan(file)


def test_every_gate_is_documented_and_has_an_example() -> None:
    forms = {read_spec(path).spec.gate.form for path in (ROOT / "examples").glob("*.yaml")}
    assert forms == set(GATES)
    assert set(re.findall(r"^\| `(\w+)` \|", GATES_PAGE, re.MULTILINE)) == set(GATES)
    named = dict(re.findall(r"\[(\w+)\]\((\S+)\)", GATES_PAGE))
    assert set(named) == set(GATES)
    for name, path in named.items():
        assert read_spec(ROOT / "docs" / path).spec.gate.form == name
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert not [name for name in GATES if f"`{name}`" not in changes]
    (program,) = blocks("python", GATES_PAGE)
    exec(program, {"MixtureOfExperts": MixtureOfExperts, "Normal": Normal})


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_valid_and_say_what_to_look_at(path: Path) -> None:
    comment = "".join(re.findall("^#.*\n", path.read_text(), re.MULTILINE))
    assert path.read_text().startswith(comment)
    assert "# Shows: " in comment
    assert "Look at " in comment
    file = read_spec(path)
    make_plan(file)
    load(file)


def test_the_changelog_names_every_treatment() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert not [name for name in TREATMENTS if f"`{name}`" not in text]
    assert all(f"{len(TREATMENTS)} " in each for each in (text, README))


def test_the_catalogue_is_what_the_table_says() -> None:
    """`make pages` writes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "catalogue.py"))
    assert (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8") == made["page"]()


def test_the_page_of_the_spec_is_what_is_declared() -> None:
    """`make pages` writes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "spec.py"))
    page = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    assert page == made["page"]()
    definitions = [json_schema(), *json_schema()["$defs"].values()]
    names = {name for each in definitions for name in each.get("properties", {})}
    assert [name for name in names if f"`{name}`" not in page and f"## {name}" not in page
            and f".{name}\n" not in page] == []  # fmt: skip
    for text in blocks("yaml", page):
        parse_spec(text, "spec.yaml")


def test_the_documents_speak_of_the_project_alone() -> None:
    """No path of one machine in what everybody reads."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.py")]
    assert not [f.name for f in files if re.search(r"/(work|root|home|tmp)/", f.read_text())]


def test_notebooks_are_pairs_without_outputs_and_in_the_index() -> None:
    """`make notebooks` writes their `.ipynb` anew."""
    folder, index = ROOT / "notebooks", (ROOT / "docs" / "notebooks.md").read_text()
    names = {file.stem for file in folder.glob("*.ipynb")}
    assert names == {file.stem for file in folder.glob("*.py")}
    assert names == set(re.findall(r"notebooks/(\w+)\.ipynb", index))
    for name in names:
        one, other = (jupytext.read(folder / f"{name}{end}") for end in (".py", ".ipynb"))
        each = [[(c.cell_type, c.source) for c in half.cells] for half in (one, other)]
        assert each[0] == each[1], name
        assert not any(cell.get("outputs") for cell in other.cells)
        linked = re.findall(r"\]\((\w+)\.ipynb\)", (folder / f"{name}.py").read_text())
        assert set(linked) <= names


def test_every_family_has_an_example() -> None:
    specs = [read_spec(path).spec for path in (ROOT / "examples").glob("*.yaml")]
    assert {f for spec in specs for families in spec.families for f in families} == set(FAMILIES)
