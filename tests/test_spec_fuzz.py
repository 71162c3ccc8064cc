"""Broken specifications: each is read or refused; benchmarks/fuzz_specs.py takes thousands."""

import importlib
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from spec_mutations import broken_bytes, broken_tree, outcome, texts, trees

TREES, TEXTS = trees(), texts()
CHANCE = st.randoms(use_true_random=False)


def fuzz(phases: tuple[Phase, ...]) -> set[bool]:
    seen: set[bool] = set()

    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANCE, st.booleans())
    def run(chance: Random, of_bytes: bool) -> None:
        raw = broken_bytes(TEXTS, chance) if of_bytes else broken_tree(TREES, chance)
        seen.add(bool(outcome(raw)))

    run()
    return seen


def test_every_broken_text_gives_a_specification_or_one_line() -> None:
    assert fuzz((Phase.generate, Phase.shrink)) == {True, False}


class Planted(Exception):
    pass


def test_the_fuzzing_finds_a_planted_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: in a reader that fails on one kind of mistake only, the mistake is found."""

    def crash(*_: object) -> str:
        raise Planted

    module = importlib.import_module("pyromoe.models.specs.spec_errors")
    monkeypatch.setattr(module, "closest", crash)
    with pytest.raises(Planted):
        fuzz((Phase.generate,))
