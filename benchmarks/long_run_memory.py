"""Resident memory of long fits: does it grow with the steps?

    python benchmarks/long_run_memory.py [--steps 200000] [--only captured]

A small model takes so many steps in a process of its own, in several ways, with checkpoints every
second and its log written. What is resident is read at every row of the history; between 1% of the
steps, when all graphs are made, and the last it may grow by 1%. In the control something is kept
every step. Exits with 1 where a fit grows, or the control does not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference import Checkpoints, LogFiles, fit
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.loop import Loop
from pyromoe.models import parse_spec

if TYPE_CHECKING:
    from pyromoe.inference.fitting.batches import Batch

TEXT = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
fit: {restarts: 1, checkpoint_seconds: 1}
treatment: {name: gumbel_softmax, temperature: {start: 1.0, end: 0.1}}
"""
FULL, BATCHES = "fit.batch_size=full", "fit.batch_size=64"
WAYS = {
    "captured, a step an epoch": ["fit.mode=captured", FULL],
    "captured, mini-batches": ["fit.mode=captured", BATCHES],
    "captured, four side by side": ["fit.mode=captured", BATCHES, "fit.restarts=4"],
    "captured, early stopping": ["fit.mode=captured", FULL, "fit.early_stopping.patience=1000000"],
    "captured, with a baseline": ["fit.mode=captured", BATCHES, "treatment=reinforce"],
    "auto, mini-batches": ["fit.mode=auto", BATCHES],
    "eager, a step an epoch": ["fit.mode=eager", FULL],
    "eager, mini-batches": ["fit.mode=eager", BATCHES],
}
CONTROL = "control: a tensor is kept every step"
MOST = 0.01
"""By what share resident memory may grow."""


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Watched:
    """A log that reads what is resident at every row, beside the files of a fit."""

    def __init__(self, folder: Path) -> None:
        self.files, self.found = LogFiles(folder), dict[int, int]()

    def __call__(self, event: str, /, **values: Any) -> None:
        """Take an event."""
        self.files(event, **values)
        if event == "row":
            self.found[values["step"]] = resident()


def keep_every_step() -> None:
    """Sabotage: 2 KiB are kept every step."""
    step, kept = Loop.step, list[Any]()

    def keeping(self: Loop, batch: Batch) -> list[float]:
        kept.append(torch.ones(512))
        return step(self, batch)

    Loop.step = keeping  # type: ignore[method-assign]


def measure(name: str, steps: int) -> float:
    """Fit in one of the ways, print what is resident, and return by what share it grew."""
    if name == CONTROL:
        keep_every_step()
    settings = WAYS.get(name, WAYS["captured, a step an epoch"])
    spec, started = parse_spec(TEXT, "engel.yaml", settings), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        log = Watched(Path(folder))
        fit(spec, budget=Budget("steps", steps), checkpoints=Checkpoints(f"{folder}/r"), log=log)
    first, middle, last = (
        log.found[min(log.found, key=lambda at: abs(at - share * steps))]
        for share in (0.01, 0.1, 1)
    )
    sizes = " ".join(f"{size / 2**20:10.1f}" for size in (first, middle, last))
    grown = last / first - 1
    print(f"{name:40} {sizes} {grown:8.2%} {time.perf_counter() - started:8.0f}", flush=True)
    return grown


def main(arguments: list[str] | None = None) -> None:
    """Print a line for every way, each from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--only", default="", help="ways whose names hold this")
    parser.add_argument("--here", default="", help="one way, in this process")
    options = parser.parse_args(arguments)
    if options.here:
        grown = measure(options.here, options.steps)
        sys.exit((grown <= MOST) if options.here == CONTROL else (grown > MOST))
    at = [f"step {round(share * options.steps):,}" for share in (0.01, 0.1, 1)]
    print(f"{'MiB':40} {at[0]:>10} {at[1]:>10} {at[2]:>10} {'grown':>8} {'seconds':>8}", flush=True)
    bad = False
    for name in [*WAYS, CONTROL]:
        if options.only in name:
            command = [sys.executable, __file__, "--here", name, "--steps", str(options.steps)]
            bad |= subprocess.run(command, check=False).returncode != 0
    sys.exit(bad)


if __name__ == "__main__":
    main()
