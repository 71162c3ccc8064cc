"""The architecture, as tests."""

import ast
import importlib
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models.gates import GATES
from pyromoe.models.likelihoods import FAMILIES

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "models": {"models"},
    "guides": {"models", "guides"},
    "inference": {"models", "guides", "inference"},
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
PACKAGES = ["pyromoe", *(f"pyromoe.{p}" for p in MAY_IMPORT), "pyromoe.inference.pictures"]


def modules() -> dict[str, Path]:
    """Every module of the library by its name."""
    files = [f for p in MAY_IMPORT for f in (ROOT / p).rglob("*.py")]
    names = (".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files)
    return {f"pyromoe.{n.removesuffix('.__init__')}": f for n, f in zip(names, files, strict=True)}


def imports(file: Path) -> set[str]:
    """The modules of the library that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyromoe"):
            found.add(node.module or "")
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("pyromoe")}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for name in imports(file):
            if name.count("."):
                assert name.split(".")[1] in MAY_IMPORT[package], f"{file} imports {name}"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: imports(file) & set(modules()) for name, file in modules().items()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        for name in graph.get(start, set()) - seen:
            seen.add(name)
            if name == goal or reaches(name, goal, seen):
                return True
        return False

    # A package's front door gives names on first use, so only modules can close a circle.
    circles = [n for n, f in modules().items() if f.name != "__init__.py" and reaches(n, n, set())]
    assert not circles


@pytest.mark.parametrize(
    ("root", "back"), [("models", set()), ("inference", {("fitting", "summaries")})]
)
def test_the_folders_of_a_package_have_an_order(root: str, back: set[tuple[str, str]]) -> None:
    """One that is imported imports nothing back; but a fit prints itself in a summary's words."""
    graph = dict[str, set[str]]()
    for name, file in modules().items():
        _, package, *folder = name.split(".")
        if package == root and folder:
            seen = {n.split(".")[2] for n in imports(file) if n.startswith(f"pyromoe.{root}.")}
            graph.setdefault(folder[0], set()).update(seen - {folder[0]})
    for one, other in back:
        graph[one].remove(other)
    TopologicalSorter(graph).prepare()  # CycleError names a circle


@pytest.mark.parametrize(
    ("folder", "table", "others"),
    [
        ("inference/treatments", TREATMENTS, {"__init__", "treatment"}),
        ("models/likelihoods", FAMILIES, {"__init__", "likelihood", "observed", "joint", "mixed"}),
        ("models/gates", GATES, {"__init__", "gate"}),
    ],
)
def test_every_file_is_in_its_table(
    folder: str, table: dict[str, object], others: set[str]
) -> None:
    assert {f.stem for f in (ROOT / folder).glob("*.py")} - others == set(table)


def test_the_library_is_imported_once() -> None:
    assert not {"models", "guides", "inference"} & set(sys.modules)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_import_name_reaches_the_top_level_folders(package: str) -> None:
    assert (ROOT / "src" / "pyromoe" / package).resolve() == ROOT / package


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_every_public_name_can_be_imported(package: str) -> None:
    code = (
        f"import {package} as p; missing = [n for n in p.__all__ if not hasattr(p, n)]; "
        "assert p.__all__ and not missing, missing"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_no_public_name_is_that_of_a_module(package: str) -> None:
    """The import of the module would put it in the place of the other."""
    public = importlib.import_module(package).__all__
    folder = ROOT.joinpath(*package.split(".")[1:])
    own = {file.stem for file in folder.glob("*.py")}
    assert not own & set(public)


def test_every_package_is_listed_for_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    packages = {name for name, file in modules().items() if file.name == "__init__.py"}
    assert all(f'"{name}",' in text for name in packages)


RUNS = """
import pickle
import joblib
import yaml
import subprocess
import socket
import requests
import http.client
import urllib.request
from urllib.request import urlopen
from jinja2 import Template
marshal.loads(raw)
shelve.open("a")
pandas.read_pickle("a")
torch.load("a")
torch.hub.load("a", "b")
numpy.load("a", allow_pickle=True)
importlib.import_module("a")
eval("a")
exec("a")
os.system("a")
os.popen("a")
os.execv("a", [])
jinja2.Environment(loader=None)
"""
"""Each line runs what a file says, reaches out, or lets a name be HTML."""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_ruff_refuses_what_runs_a_file_or_reaches_out(package: str) -> None:
    modules = "import marshal, shelve, pandas, torch, numpy, importlib, os, jinja2"
    options = ["--select", "S,TID251", "--output-format", "json", "--stdin-filename"]
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *options, ROOT / package / "planted.py", "-"],
        input=modules + RUNS,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {each["location"]["row"] for each in json.loads(found.stdout)}
    assert lines == set(range(2, 2 + RUNS.strip().count("\n") + 1))


def calls(text: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]


def test_nothing_in_a_file_is_executed() -> None:
    """What ruff has no rule for."""
    for name, file in modules().items():
        text = file.read_text()
        for call in calls(text):
            function = ast.unparse(call.func)
            assert function not in ("compile", "__import__"), name
            of_store = "get_param_store" in text and function.endswith((".load", ".save"))
            assert not of_store, f"{name}: Pyro's store writes and runs pickles"


WORDS = {
    "set_title", "set_xlabel", "set_ylabel", "set_label", "set_ticks", "set_xticks", "set_yticks",
    "set_xticklabels", "set_yticklabels", "text", "annotate", "suptitle", "supxlabel", "supylabel",
}  # fmt: skip
"""What writes words in pictures; their text is mathematics unless it is told otherwise."""


def test_no_name_is_read_as_mathematics() -> None:
    found = 0
    for name, file in modules().items():
        if not name.startswith("pyromoe.inference.pictures"):
            continue
        for call in calls(file.read_text()):
            if not isinstance(call.func, ast.Attribute) or call.func.attr not in WORDS:
                continue
            found += 1
            off = any(ast.unparse(k) == "parse_math=False" for k in call.keywords)
            written = all(isinstance(word, ast.Constant) for word in call.args)
            assert off or written, f"{name}: {ast.unparse(call)}"
    assert found > 10


def test_files_have_one_job() -> None:
    for name, file in modules().items():
        tree = ast.parse(file.read_text())
        nodes = [n for n in ast.walk(tree) if isinstance(n, DOCUMENTED)]
        words = sum((ast.get_docstring(n, clean=False) or "").count("\n") + 1 for n in nodes)
        assert len(file.read_text().splitlines()) - words <= 200, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
                assert length <= 40, f"{name}.{node.name} has {length} lines"
