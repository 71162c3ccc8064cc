"""Malformed tables by the hundred: each is read as what it holds, or refused with one line.

    python benchmarks/fuzz_tables.py [--mutations 400] [--commands 10] [--seed 0]

Cells, rows, headers, encodings, delimiters and bytes of a CSV file are changed; gzip and Parquet
files are cut off and their bits flipped; columns of Parquet files get unusual types. What is read
must be what a strict reader, written apart, finds in the same bytes: a cell that is no number, or
a row that is lost, may not pass. An error must be one printable line with a file, and with column
and row where one cell is wrong. Some of the tables go through the command line, in a process of
their own. The last lines are of the control: the same tables in readers with a planted fault,
which must be found. Exits with 1 where a table fails.
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

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzzing import check_failures, fuzz
from table_mutations import fixed, mutation, outcome, spec_of

from pyromoe.models.data.data import from_table, load
from pyromoe.models.errors import InputError
from pyromoe.models.tables.csv_text import parse_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from table_mutations import Mutation

    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec_file import SpecFile

CONTROL = 200
"""Tables that are given to each faulty reader."""


def broken(mutations: int, seed: int) -> Iterator[Mutation]:
    """Yield malformed tables, the same ones for the same seed."""
    chance = Random(seed)
    for _ in range(mutations):
        yield mutation(chance)


def lets_through(file: SpecFile) -> Data:
    """Read as ever, but with a KeyError for a missing value."""
    try:
        return load(file)
    except InputError as error:
        if "missing value" in error.what:
            raise KeyError(error.field) from None
        raise


def takes_short_rows(file: SpecFile) -> Data:
    """Read as ever, but fill up or cut off rows of another length than the header's."""
    try:
        return load(file)
    except InputError as error:
        if "but the header has" not in error.what:
            raise
    path = file.directory / str(file.spec.data.file)
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    even = [[*row, *("0" for _ in header)][: len(header)] for row in rows]
    text = "".join(f"{','.join(row)}\n" for row in [header, *even])
    return from_table(file.spec, parse_csv(text.encode(), path.name), path.name)


def writes_beside(file: SpecFile) -> Data:
    """Read as ever, but leave a file behind."""
    (file.directory / "left.txt").write_text("")
    return load(file)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=400, help="how many tables")
    parser.add_argument("--commands", type=int, default=10, help="how many through the command")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        tables = [*broken(asked.mutations, asked.seed), *fixed()]
        tally = fuzz(tables, partial(outcome, folder=folder), every=100)
        seconds = time.perf_counter() - started
        print(f"{len(tables)} mutations in {seconds:.0f} s: {tally.line()}")
        some = broken(asked.commands, asked.seed + 1)
        failures = check_failures({"s.yaml": spec_of(t), t.file: t.raw} for t in some)
        print(f"{asked.commands} through the command line: {len(failures)} failures")
        for failure in [*tally.failures, *failures][:10]:
            print(failure[:1000])
        blind = False
        for read in (lets_through, takes_short_rows, writes_beside):
            faulty = partial(outcome, folder=folder, read=read)
            control = fuzz(broken(CONTROL, asked.seed), faulty)
            print(f"control, {read.__name__}: {len(control.failures)} failures in {CONTROL}")
            blind |= not control.failures
    return int(bool(tally.failures or failures or blind))


if __name__ == "__main__":
    sys.exit(main())
