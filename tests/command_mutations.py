"""Mangled command lines: for the tests and benchmarks/fuzz_commands.py.

Where a fit would begin or a report be drawn, a command ends as if its input were wrong: all else is
done.
"""

from __future__ import annotations

import os
import shutil
from contextlib import chdir, contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from command import captured
from spec_mutations import misspelt

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

SPEC = """
data: {file: train.csv, response: y}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 1, restarts: 1}
output: {draws: 2}
"""
ROWS = "x,w,y\n" + "".join(f"{i % 7},{i * i % 5},{i % 3}.5\n" for i in range(20))
COMMANDS = {
    line.split()[0]: line.split()
    for line in (
        "new train.csv --out new.yaml --response y --family normal --experts 2 --gate linear --yes",
        "check spec.yaml --set experts.number=2",
        "fit spec.yaml --treatment enumerate --set fit.epochs=1 --out out --budget steps=1",
        "compare spec.yaml --treatments enumerate,reinforce --seeds 0,1 --out out",
        "select spec.yaml --experts 1,2 --folds 2 --bootstrap 3 --set seed=1 --out out",
        "gradients run --treatments enumerate,jensen --draws 2 --out out",
        "predict run new.csv --out p.csv --quantiles 0.1,0.9 --per-expert --overwrite",
        "inspect run --rows 2 --obs 1,2 --expert 0",
        "report run --out report.html",
        "coefficients run --errors none --draws 2 --out c.json --overwrite",
        "evaluate spec.yaml --parameters c.json --set seed=1",
        "treatments enumerate",
        "schema --out schema.json --overwrite",
    )
}
WORDS = [
    "", " ", "-", "--", "---", "-1", "0", "00", "1.5", "nan", "inf", "1e999", "9" * 30, "-9", ",",
    "1,,2", "1,1", "[", "]", "{", "a=b", "=", "a.b=", ".=1", "seed=", "seed=[", "fit.epochs=1=2",
    "data=null", "fit=3", "treatment.x=1", "data.file=run", "data.response=x,y", "steps=0",
    "steps=nan", "seconds=-1", "minutes=1", "all", "none", "None", "true", "é", "\u202e",
    "\x1b[31m", "\n", "\t", "\udcff", "x" * 300, ".", "..", "run", "runs", "spec.yaml",
    "train.csv", "new.csv", "--resume",
    "missing.csv", "missing/a.csv", "train.csv/a.csv", "a.parquet", "a.csv.gz", "a.xlsx", ".csv",
    "run/metrics.json", "run/spec.yaml", "/dev/null", "/proc/none", "~", "$HOME", "$(touch x)",
    "; touch x", "--help", "--version", "-h", "--set", "--out", "--overwrite", "--force", "--yes",
    "--parameters", "--out=", "--out=out", "--draws=x", "--rows=-1", "--obs=", "--seeds=a",
]  # fmt: skip


def mangled(name: str, chance: Random) -> list[str]:
    """Return the arguments of a command after one to three changes."""
    words = [*COMMANDS[name]]
    for _ in range(chance.choice([1, 1, 2, 3])):
        first = chance.choice([0, 1, 1, 1]) if words else 0
        place, change = chance.randrange(first, len(words) + 1), chance.randrange(6)
        word = words[place] if place < len(words) else ""
        if change == 0:
            words[place : place + 1] = []
        elif change == 1:
            words.insert(place, word)
        elif change == 2:
            words[place : place + 1] = [misspelt(word, chance)]
        elif change == 3:
            words.insert(place, chance.choice(WORDS))
        elif change == 4:
            words.insert(place, chance.choice(COMMANDS[chance.choice([*COMMANDS])]))
        else:
            words[place : place + 1] = [chance.choice(WORDS)]
    return [word for word in words if "\0" not in word]  # no shell could give these


def prepare(folder: Path) -> None:
    """Write what the commands read: a table, a spec, a run and its parameters."""
    (folder / "spec.yaml").write_text(SPEC)
    for name in ("train.csv", "new.csv"):
        (folder / name).write_text(ROWS)
    with chdir(folder):
        for args in ("fit spec.yaml --out run", "coefficients run --errors none --out c.json"):
            assert captured(args.split()).code == 0


@contextmanager
def without_fits() -> Iterator[None]:
    """End every fit, measurement and report before it begins."""

    def end(*_: object) -> None:
        raise InputError("would begin", file="work")

    with (
        patch("pyromoe.inference.svi.settle", end),
        patch("pyromoe.inference.lab.lab.Lab.measure", end),
        patch.dict("pyromoe.inference.report.written.PAGES", {"run": end}),
    ):
        yield


def found_in(folder: Path) -> dict[str, bytes | None]:
    """Return every file in a folder with its bytes, and every folder."""
    return {
        os.fsdecode(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def outcome(args: list[str], folder: Path) -> str:
    """Run a command line in a folder, and return the line of its error, or nothing.

    Raises:
        AssertionError: where it ends in another way, or leaves something behind after an error.
    """
    before = found_in(folder)
    # The traceback of a bug would be left among the temporary files.
    with chdir(folder), without_fits(), patch("tempfile.tempdir", str(folder)):
        result = captured(args)
    after = found_in(folder)
    _restore(folder, before, after)
    assert result.code in (0, 2, 3), f"exit {result.code}: {result.err!r}"
    assert "Traceback" not in result.out + result.err
    if result.code == 0:
        assert not result.err, f"silent: {result.err!r}"
        return ""
    line = result.err.removesuffix("\n")
    assert line.startswith("pyromoe: error: "), f"no error: {result.err!r}"
    assert line.isprintable(), f"not a line: {line!r}"
    assert len(line) <= 420, f"too long: {line!r}"
    assert after == before, f"written: {set(after) ^ set(before)}"
    return line


def _restore(folder: Path, before: dict[str, bytes | None], after: dict[str, bytes | None]) -> None:
    for name in sorted(set(after) - set(before)):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name, raw in before.items():
        if raw is not None and after.get(name) != raw:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(raw)
