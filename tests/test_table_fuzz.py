"""Malformed tables: read as what they hold, or refused; benchmarks/fuzz_tables.py has more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzzing import watched
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from table_mutations import (
    KINDS,
    WHOLE,
    Mutation,
    broken_cell,
    broken_row,
    cells,
    fixed,
    joined,
    outcome,
    referee,
)

from pyromoe.models.tables import csv_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

SMALL = settings(
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def fuzz(kind: Callable[[Random], Mutation], folder: Path, number: int = 60) -> set[str]:
    seen: set[str] = set()

    @settings(SMALL, max_examples=number)
    @given(st.randoms(use_true_random=False))
    def run(chance: Random) -> None:
        seen.add(outcome(kind(chance), folder))

    run()
    return seen


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_a_malformed_table_is_read_as_what_it_holds_or_refused(
    kind: Callable[[Random], Mutation], tmp_path: Path
) -> None:
    assert len(fuzz(kind, tmp_path) - {""}) > 5


@pytest.mark.parametrize("number", range(6))
def test_large_and_odd_tables_too(number: int, tmp_path: Path) -> None:
    table = fixed()[number]
    line = outcome(table, tmp_path)
    assert bool(line) == (table.name != "10,000 columns")


def test_the_referee_finds_what_is_there() -> None:
    found = referee(joined(cells()))
    assert found == {**WHOLE, "k": [float(k) for k in WHOLE["k"]]}
    assert referee(joined(cells()).replace(b"red", b"red,1", 1)) is None
    assert referee(joined(cells()).replace(b"red", b"", 1)) is None


@pytest.mark.parametrize(
    ("check", "kind", "found"),
    [
        ("_written_otherwise", broken_cell, "silent: cell '0"),
        ("_check_rows_in_cells", broken_row, "silent: quoted"),
        ("_check_closing_quotes", broken_cell, "silent: cell '\""),
    ],
)
def test_the_fuzzing_finds_a_cell_that_is_another(
    check: str,
    kind: Callable[[Random], Mutation],
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: hexadecimal numbers pass, values with rows in them, text after quotes."""
    monkeypatch.setattr(csv_text, check, lambda *_: ())
    with pytest.raises(AssertionError, match=f"^{found}"):
        fuzz(kind, tmp_path, 400)


def test_what_is_written_meanwhile_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="executed"), watched():
        (tmp_path / "x").write_text("")
    with watched():
        (tmp_path / "x").read_text()


def test_a_wrong_row_is_found(tmp_path: Path) -> None:
    rows = cells()
    rows[3][0] = "oops"
    right, wrong = (Mutation("", ".csv", joined(rows), (), ("x", row)) for row in (4, 5))
    assert "row 4" in outcome(right, tmp_path)
    with pytest.raises(AssertionError, match="not row 5"):
        outcome(wrong, tmp_path)
