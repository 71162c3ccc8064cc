"""What is said of a damaged run directory: damage is done to every file of one, many times.

python benchmarks/corrupt_runs.py [--number 400] [--unverified]

Each trial damages one file and reads the directory as `load_fit`, `inspect` and `report` do. It is
`named` where an error names the file; where the error is of the manifest, which speaks of all of
them, any file. It is `unaffected` where the reader does not open the file and answers as before,
`silent` where it answers otherwise, and `crash` where anything but an error of input comes out.
With --unverified, the negative control, nothing is checked against the manifest.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from pyromoe.inference import fit
from pyromoe.inference.commands.inspection import summary_lines, uncertain_lines
from pyromoe.inference.report.rendering import render
from pyromoe.inference.report.run import run_page
from pyromoe.inference.runs.run_directory import save_run
from pyromoe.inference.runs.store import load_fit
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.run import summarise_run
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

SPEC = """
data: {file: train.csv, response: y}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 3, restarts: 1, optimiser: adam, mode: eager}
output: {draws: 10}
"""
MANIFEST = "manifest.json"
Damage = dict[str, bytes | None]
"""New bytes of files; None where one is gone."""


def loaded(folder: Path) -> str:
    return load_fit(folder).fingerprint()


def inspected(folder: Path) -> str:
    lines = (*summary_lines(summarise_run(folder)), *uncertain_lines(read_assignments(folder), 5))
    return "\n".join(lines)


def reported(folder: Path) -> str:
    return render(run_page(folder))


READERS: dict[str, Callable[[Path], str]] = {
    "load_fit": loaded,
    "inspect": inspected,
    "report": reported,
}


def make_run(folder: Path) -> dict[str, bytes]:
    """Write a run directory, and return its files."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    table = {"x": x, "y": np.abs(x) + 0.1 * rng.normal(size=60)}
    folder.mkdir(parents=True)
    save_run(fit(parse_spec(SPEC, str(folder / "spec.yaml")), table), folder, folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def cut(files: dict[str, bytes], name: str, rng: random.Random) -> Damage:
    return {name: files[name][: rng.randrange(len(files[name]))]}


def flip(files: dict[str, bytes], name: str, rng: random.Random) -> Damage:
    raw = bytearray(files[name])
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return {name: bytes(raw)}


def others(files: dict[str, bytes]) -> Iterator[Damage]:
    """Yield damage of other kinds to every file."""
    names = list(files)
    for name, raw in files.items():
        start = len(raw) // 3
        yield {name: None}
        yield {name: raw[:start] + bytes(64) + raw[start + 64 :]}
        yield {name: raw + b"\0"}
        yield {name: raw + raw}
        yield {name: raw.replace(b"\n", b"\r\n") + b"\r\n"}
        other = names[(names.index(name) + 1) % len(names)]
        yield {name: files[other], other: raw}


def trials(files: dict[str, bytes], number: int) -> Iterator[Damage]:
    """Yield so many cuts and as many flips, each file in turn, and the other damage."""
    rng, names = random.Random(0), list(files)
    for damage in (cut, flip):
        for i in range(number):
            yield damage(files, names[i % len(names)], rng)
    yield from others(files)


def outcome(read: Callable[[Path], str], folder: Path, damaged: set[str], answer: str) -> str:
    try:
        found = read(folder)
    except InputError as error:
        named = MANIFEST in damaged or any(Path(name).name in str(error) for name in damaged)
        return "named" if named else "unnamed"
    except Exception:
        return "crash"
    return "unaffected" if found == answer else "silent"


def measure(
    folder: Path, damages: Iterable[Damage], readers: Mapping[str, Callable[[Path], str]]
) -> dict[str, Counter[str]]:
    """Return how often each reader did what; the directory is mended after each damage."""
    answers = {name: read(folder) for name, read in readers.items()}
    found: dict[str, Counter[str]] = {name: Counter() for name in readers}
    for changed in damages:
        whole = {name: (folder / name).read_bytes() for name in changed}
        for name, raw in changed.items():
            if raw is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(raw)
        for name, read in readers.items():
            found[name][outcome(read, folder, set(changed), answers[name])] += 1
        for name, raw in whole.items():
            (folder / name).write_bytes(raw)
    return found


def unverified() -> AbstractContextManager[object]:
    """Take every file as it is, as if no manifest spoke of it."""
    return mock.patch("pyromoe.inference.files.verified.manifest_of", return_value={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=400, help="cuts, and as many flips")
    parser.add_argument("--unverified", action="store_true", help="the negative control")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, unverified() if given.unverified else nullcontext():
        folder = Path(root) / "run"
        found = measure(folder, trials(make_run(folder), given.number), READERS)
    for name, counts in found.items():
        each = ", ".join(f"{number} {what}" for what, number in counts.most_common())
        print(f"{name}: {counts.total()} damaged directories: {each}")


if __name__ == "__main__":
    main()
