"""Mangled command lines by the hundred: each does what it says, or is refused with one line.

    python benchmarks/fuzz_commands.py [--mutations 1000] [--seed 0]

Arguments of every command are lost, doubled, misspelt, replaced and mixed with those of others. A
command must end with 0, or with 2 (3 where the machine is at fault) and one printable line, and
then leave every file as it was. Where a fit would begin, the command is ended. The last lines are
of the control: the same command lines with a planted fault, which must be found. Exits with 1
where a command line fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from command_mutations import COMMANDS, mangled, outcome, prepare
from fuzzing import fuzz

from pyromoe.inference import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTROL = 150
"""Command lines that are run with each planted fault."""


def broken(mutations: int, seed: int) -> Iterator[list[str]]:
    """Yield mangled command lines, the same ones for the same seed."""
    chance = Random(seed)
    for _ in range(mutations):
        yield mangled(chance.choice([*COMMANDS]), chance)


def bug(error: BaseException) -> int:
    """Print the error, but end as if it were not the user's."""
    terminal.fail(str(error))
    return terminal.BUG


def leave(message: str) -> None:
    """Print the error, but leave a file behind."""
    Path("left.txt").touch()
    terminal.err.print(f"pyromoe: error: {message!a}", markup=False)


PLANTED = {
    "what is wrong is a bug": ("pyromoe.inference.terminal.exit_code", bug),
    "a file is left behind": ("pyromoe.inference.terminal.fail", leave),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1000, help="how many command lines")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        started = time.perf_counter()
        cases = broken(asked.mutations, asked.seed)
        tally = fuzz(cases, partial(outcome, folder=folder), every=100)
        seconds = time.perf_counter() - started
        print(f"{asked.mutations} mutations in {seconds:.0f} s: {tally.line()}")
        for failure in tally.failures[:10]:
            print(failure[:1000])
        blind = False
        for fault, (place, instead) in PLANTED.items():
            with patch(place, instead):
                control = fuzz(broken(CONTROL, asked.seed), partial(outcome, folder=folder))
            print(f"control, {fault}: {len(control.failures)} failures in {CONTROL}")
            blind |= not control.failures
    return int(bool(tally.failures or blind))


if __name__ == "__main__":
    sys.exit(main())
