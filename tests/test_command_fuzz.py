"""Mangled command lines: one line and nothing written; benchmarks/fuzz_commands.py has more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from command import captured
from command_mutations import COMMANDS, mangled, outcome, prepare, without_fits
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from command import Result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as in the command
    prepare(path)
    torch.set_default_dtype(before)
    return path


def fuzz(name: str, folder: Path, number: int = 15) -> set[str]:
    seen: set[str] = set()

    @settings(
        max_examples=number,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def run(chance: Random) -> None:
        seen.add(outcome(mangled(name, chance), folder))

    run()
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mangled_command_line_does_something_or_ends_with_one_line(
    name: str, folder: Path
) -> None:
    assert len(fuzz(name, folder)) > 2


@pytest.mark.parametrize("name", ["check", "new"])
def test_the_fuzzing_finds_a_planted_crash(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("pyromoe.models.tables.table.read_table", crash)
    with pytest.raises(AssertionError, match=r"exit 1: .*a bug: KeyError"):
        fuzz(name, folder, 60)


def test_the_fuzzing_finds_what_is_left_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(message: str) -> None:
        (folder / "left.txt").touch()
        print(f"pyromoe: error: {message!a}", file=sys.stderr)

    monkeypatch.setattr("pyromoe.inference.terminal.fail", leave)
    with pytest.raises(AssertionError, match=r"written: \{'left.txt'\}"):
        fuzz("check", folder)
    assert not (folder / "left.txt").exists()


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    monkeypatch.chdir(folder)

    def call(line: str) -> Result:
        with without_fits():
            return captured([word.strip("'") for word in line.split(" ")])

    return call


FOLDER = "no such folder; make it, or name another --out"
NO_NAME = ".: is not the name of a directory; name another"
LINES = [
    ("report run --out ''", ".: the name must end in .html; name another --out"),
    ("report run --out train.csv", "train.csv: the name must end in .html; name another --out"),
    ("report run --out none/a.html", f"none/a.html: {FOLDER}"),
    ("schema --out none/a.json", f"none/a.json: {FOLDER}"),
    ("schema --out run --overwrite", "run: is a folder; name a file in it"),
    ("predict run new.csv --out none/a.csv", f"none/a.csv: {FOLDER}"),
    ("coefficients run --errors none --out none/a.json", f"none/a.json: {FOLDER}"),
    ("fit spec.yaml --out . --overwrite", NO_NAME),
    ("fit spec.yaml --out ''", NO_NAME),
    ("compare spec.yaml --out .. --overwrite", NO_NAME.replace(".:", "..:")),
    (
        "gradients run --treatments ,",
        "treatments: names none; leave it out for all; `pyromoe treatments` lists them",
    ),
    *(
        (
            f"fit spec.yaml --budget {budget}",
            f"--budget: cannot read '{budget}'; write steps=N, evaluations=N or seconds=S, "
            "of 1e+12 at most",
        )
        for budget in ("steps=1e30", "steps=nan", "epochs=3", "seconds=", "1")
    ),
]


@pytest.mark.parametrize(("line", "message"), LINES)
def test_a_command_line_has_exactly_this_message(
    line: str, message: str, run: Callable[[str], Result], folder: Path
) -> None:
    before = {*folder.rglob("*")}
    result = run(line)
    assert (result.code, result.err) == (2, f"pyromoe: error: {message}\n")
    assert {*folder.rglob("*")} == before
