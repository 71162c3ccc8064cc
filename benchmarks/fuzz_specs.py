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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from executed import watched
from spec_mutations import broken_bytes, broken_tree, outcome, texts, trees

from pyromoe.models.errors import InputError
from pyromoe.models.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spec_mutations import Read

    from pyromoe.models.spec_file import SpecFile

EVERY = 1000
CONTROL = 200
"""Texts that are given to each faulty reader."""


@dataclass
class Tally:
    """What became of the texts."""

    lines: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def line(self) -> str:
        """Return the counts."""
        specs, errors = self.lines[""], sum(self.lines.values()) - self.lines[""]
        distinct = len(set(self.lines) - {""})
        return (
            f"{specs} specifications, {errors} errors ({distinct} distinct), "
            f"{len(self.failures)} failures, {len(self.executed)} executed, "
            f"slowest {1000 * self.slowest:.0f} ms"
        )


def broken(mutations: int, seed: int) -> Iterator[bytes]:
    """Yield broken texts, the same ones for the same seed."""
    whole, parsed, chance = texts(), trees(), Random(seed)
    for number in range(mutations):
        yield broken_bytes(whole, chance) if number % 2 else broken_tree(parsed, chance)


def fuzz(mutations: int, seed: int, read: Read = parse_spec, *, say: bool = False) -> Tally:
    """Read broken texts with a reader."""
    tally, started = Tally(), time.perf_counter()
    for number, raw in enumerate(broken(mutations, seed), start=1):
        before = time.perf_counter()
        try:
            with watched() as executed:
                tally.lines[outcome(raw, read)] += 1
        except Exception as error:
            tally.failures.append(f"mutation {number}: {type(error).__name__}: {error}; {raw!r}")
        tally.executed += executed
        tally.slowest = max(tally.slowest, time.perf_counter() - before)
        if say and number % EVERY == 0:
            print(f"{number:6d} in {time.perf_counter() - started:4.0f} s: {tally.line()}")
    return tally


def command_failures(number: int, seed: int) -> list[str]:
    """Return what was wrong where `pyromoe check` read broken texts, in a process for each."""
    failures = []
    for raw in broken(number, seed):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "s.yaml")
            path.write_bytes(raw)
            command = [sys.executable, "-m", "pyromoe", "check", path.name]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            lines = done.stderr.count("\n")
            ends = (done.returncode, lines) in ((0, 0), (2, 1))
            if not ends or "Traceback" in done.stderr or [*Path(folder).iterdir()] != [path]:
                failures.append(f"exit {done.returncode}: {done.stderr}; {raw!r}")
    return failures


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
    tally = fuzz(asked.mutations, asked.seed, say=True)
    seconds = time.perf_counter() - started
    print(f"{asked.mutations} mutations in {seconds:.0f} s: {tally.line()}")
    failures = [*tally.failures, *command_failures(asked.commands, asked.seed + 1)]
    failed = len(failures) - len(tally.failures)
    print(f"{asked.commands} through the command line: {failed} failures")
    for failure in failures[:10]:
        print(failure[:1000])
    blind = False
    for read in (lets_through, without_a_place):
        found = len(fuzz(CONTROL, asked.seed, read).failures)
        print(f"control, {read.__name__}: {found} failures in {CONTROL}")
        blind |= not found
    return int(bool(failures or tally.executed or blind))


if __name__ == "__main__":
    sys.exit(main())
