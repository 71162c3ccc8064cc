"""Broken specifications by the thousand: each is read, or refused with one line.

    python benchmarks/fuzz_specs.py [--mutations 10000] [--commands 40] [--seed 0]

Settings and bytes of all examples and of the test of every setting are changed, half of each. A
text that is still a specification is written and read back, its plan made and its data loaded. An
error must be one printable line of 400 characters at most, with a place. Some of the texts go
through the command line, in a process of their own. The last lines are of the control: the same
texts in readers with a planted fault, which must be found. Exits with 1 where a text fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzzing import check_failures, fuzz
from spec_mutations import broken_bytes, broken_tree, outcome, texts, trees

from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyromoe.models.specs.spec_file import SpecFile

CONTROL = 200
"""Texts that are given to each faulty reader."""


def broken(mutations: int, seed: int) -> Iterator[bytes]:
    """Yield broken texts, the same ones for the same seed."""
    whole, parsed, chance = texts(), trees(), Random(seed)
    for number in range(mutations):
        yield broken_bytes(whole, chance) if number % 2 else broken_tree(parsed, chance)


def lets_through(raw: bytes, source: str) -> SpecFile:
    """Read as ever, but with a KeyError for a misspelt setting."""
    try:
        return parse_spec(raw, source)
    except InputError as error:
        if "did you mean" in error.remedy:
            raise KeyError(error.field) from None
        raise


def without_a_place(raw: bytes, source: str) -> SpecFile:
    """Read as ever, but do not say where a value is of the wrong kind."""
    try:
        return parse_spec(raw, source)
    except InputError as error:
        if error.what.startswith("must be"):
            raise InputError(error.what, file=source) from None
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000, help="how many texts")
    parser.add_argument("--commands", type=int, default=40, help="how many through the command")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    asked = parser.parse_args(arguments)
    started = time.perf_counter()
    tally = fuzz(broken(asked.mutations, asked.seed), outcome, every=1000)
    seconds = time.perf_counter() - started
    print(f"{asked.mutations} mutations in {seconds:.0f} s: {tally.line()}")
    failures = check_failures({"s.yaml": raw} for raw in broken(asked.commands, asked.seed + 1))
    print(f"{asked.commands} through the command line: {len(failures)} failures")
    for failure in [*tally.failures, *failures][:10]:
        print(failure[:1000])
    blind = False
    for read in (lets_through, without_a_place):
        control = fuzz(broken(CONTROL, asked.seed), partial(outcome, read=read))
        print(f"control, {read.__name__}: {len(control.failures)} failures in {CONTROL}")
        blind |= not control.failures
    return int(bool(tally.failures or failures or blind))


if __name__ == "__main__":
    sys.exit(main())
