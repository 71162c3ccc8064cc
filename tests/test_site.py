"""The first pages of the site: what they run, and the numbers that they show."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pyromoe.inference import cli
from pyromoe.inference.treatments import TREATMENTS

ROOT = Path(__file__).parent.parent
START, CONCEPTS, INDEX, README = (
    (ROOT / name).read_text()
    for name in ("docs/start.md", "docs/concepts.md", "docs/index.md", "README.md")
)
PREPARED = ("python3 -m venv", ". env/", "python -m pip install")


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of every block."""
    return re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)


def numbers_of(page: str) -> dict[str, list[float]]:
    """The rows of the page's widest table by the first word of each, without its two last cells."""
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    wide = [row for row in rows if len(row) == 6]
    return {
        re.findall(r"\w+", row[0])[0]: [float(re.findall(r"[\d.]+", cell)[0]) for cell in row[2:5]]
        for row in wide
    }


def words(text: str) -> str:
    """A text without its spaces and the numbers of its two experts, which may be the other way."""
    return " ".join(word for word in text.split() if word not in ("0", "1"))


@pytest.mark.slow
def test_the_first_page_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What it prints is what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    torch.set_default_dtype(torch.float32)
    names: dict[str, Any] = {}
    printed = ""
    for language, text in blocks(START):
        if language == "python":
            exec(compile(text, "start.md", "exec"), names)
        for command in text.splitlines() if language == "shell" else ():
            if command.startswith(PREPARED):
                continue
            monkeypatch.setattr(sys, "argv", command.split())
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code == 0, command
        printed += capsys.readouterr().out
        for line in text.splitlines() if language == "text" else ():
            assert words(line) in words(printed), line
    assert float(names["exact"].detach().mean()) > -0.5  # one line alone: -1.4


def test_the_numbers_of_the_concepts_are_computed() -> None:
    torch.set_default_dtype(torch.float32)
    ((_, program),) = [block for block in blocks(CONCEPTS) if block[0] == "python"]
    names: dict[str, Any] = {}
    exec(compile(program, "concepts.md", "exec"), names)
    table = numbers_of(CONCEPTS)
    assert set(table) == set(names["found"])
    biased = {"gumbel_softmax": 0.031, "sum_of_components": 0.315}
    biased |= {"picked_component": 0.19, "picked_log_component": 0.135}
    for name, (exact, mean, deviation) in table.items():
        found, error, spread = names["found"][name]
        assert found == pytest.approx(mean, abs=0.0006 + error)
        assert spread == pytest.approx(deviation, abs=0.02)
        assert exact - mean == pytest.approx(biased.get(name, 0.0), abs=0.001 + 2 * error)


def test_the_front_page_shows_the_program_of_the_readme() -> None:
    (program,) = [text for language, text in blocks(README) if language == "python"]
    assert ("python", program) in blocks(INDEX)
    assert f"in {len(TREATMENTS)} ways" in " ".join(INDEX.split())


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).is_file()] == []
