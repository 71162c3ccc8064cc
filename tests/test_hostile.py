"""Nothing in a file is executed, imported or fetched; what means harm is named in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hostile_files import CANARY, COMMANDS, PARAMETERS, PREDICT, Hostile, hostile

from pyromoe.inference import fit
from pyromoe.inference.files.verified import seal
from pyromoe.inference.runs.run_directory import save_run
from pyromoe.models.specs.spec_file import read_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parent
SPEC = """
data: {file: train.csv, response: y}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 2, restarts: 1, optimiser: adam, mode: eager}
output: {draws: 5}
"""
FIRST = (("inspect", "RUN"), PREDICT, ("report", "RUN"))
"""Called first, so that what libraries do when they are loaded is over."""
Result = dict[str, Any]


def watched(folder: Path, commands: Sequence[Sequence[str]], *options: str) -> list[Result]:
    """Call commands in a process that is watched; see `watched.py`."""
    ended = subprocess.run(
        [sys.executable, TESTS / "watched.py", folder, *options],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
        env=os.environ | {"PYTHONPATH": str(TESTS.parent / "src"), "TMPDIR": str(folder)},
    )
    found: list[Result] = json.loads(ended.stdout)
    return found


def is_quiet(text: str) -> bool:
    """No terminal takes anything in a text for a command."""
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a module that must not be imported, and a run directory."""
    folder = tmp_path_factory.mktemp("sandbox")
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    table = pa.table({"x": x, "y": np.abs(x) + 0.1 * rng.normal(size=40)})
    pyarrow.csv.write_csv(table, folder / "train.csv")
    (folder / "evil.py").write_text(f"open({CANARY!r}, 'w').close()\n")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "run").mkdir()
    save_run(fit(read_spec(folder / "spec.yaml")), folder / "run", folder / "run")
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file["secret"] = np.arange(4.0)
    return folder


@pytest.fixture(scope="module")
def whole(sandbox: Path) -> dict[str, bytes]:
    paths = [path for path in (sandbox / "run").rglob("*") if path.is_file()]
    return {path.relative_to(sandbox / "run").as_posix(): path.read_bytes() for path in paths}


def write_run(folder: Path, whole: dict[str, bytes], case: Hostile) -> list[str]:
    """Write a run directory with one file in it, which its manifest vouches for; its command."""
    for name, raw in {**whole, case.file: case.raw}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    if case.file != "manifest.json":
        seal(folder)
    return [str(folder) if word == "RUN" else word for word in COMMANDS[case.file]]


@pytest.fixture(scope="module")
def of_cases(sandbox: Path, whole: dict[str, bytes]) -> list[tuple[Hostile, Result]]:
    cases = list(hostile(whole, sandbox / "elsewhere.h5"))
    commands = [write_run(sandbox / f"case-{i}", whole, case) for i, case in enumerate(cases)]
    whole_run = [[str(sandbox / "run") if w == "RUN" else w for w in c] for c in FIRST]
    found = watched(sandbox, [*whole_run, *commands])
    assert [result["code"] for result in found[: len(FIRST)]] == [0] * len(FIRST)
    return list(zip(cases, found[len(FIRST) :], strict=True))


@pytest.mark.slow
def test_hostile_files_are_named_and_do_nothing(
    of_cases: list[tuple[Hostile, Result]], sandbox: Path
) -> None:
    assert len(of_cases) > 100
    wrong = []
    for case, result in of_cases:
        named = result["code"] == (2 if case.said else 0) and case.said in result["err"]
        one_line = result["err"].count("\n") == bool(case.said) and is_quiet(result["err"])
        if not named or not one_line or result["seen"] or not is_quiet(result["out"]):
            wrong.append((case.name, case.said, result["code"], result["err"], result["seen"]))
    assert not wrong
    assert not (sandbox / CANARY).exists()


@pytest.mark.slow
def test_a_reader_that_runs_what_it_reads_is_caught(
    sandbox: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """The negative control: the same files, where a reader of pickles is planted."""
    cases = [c for c in hostile(whole, sandbox / "elsewhere.h5") if c.file == PARAMETERS]
    of_pickles = [
        case for case in cases if case.name.startswith("pickle") and "pt" not in case.name
    ]
    commands = [write_run(tmp_path / f"case-{i}", whole, c) for i, c in enumerate(of_pickles)]
    pyarrow.csv.write_csv(pa.table({"x": [0.0], "y": [0.0]}), tmp_path / "train.csv")
    found = watched(tmp_path, commands, "--planted")
    assert sum(any("pickle" in seen for seen in result["seen"]) for result in found) >= 3
    assert any("os.system" in seen for result in found for seen in result["seen"])
    assert any("eval" in seen for result in found for seen in result["seen"])
    assert (tmp_path / CANARY).exists()
