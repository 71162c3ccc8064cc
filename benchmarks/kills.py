"""Fits that are killed, or whose disk is full, and gone on with: are they the same to the bit?

    python benchmarks/kills.py [--kills 100]

For each way of running a step, fits are killed with SIGKILL at random times, four times each, and
gone on with; a checkpoint is written after every step, so that many kills fall into a write. Then
a fit is stopped at every single call by which its checkpoints are written: killed before it, after
it and half-way through it, or with a full disk. The last lines are of the controls, which must
fail. Exits with 1 where a fit is lost or differs, or a control passes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from interruptions import (
    NOISY,
    Problem,
    in_place,
    interrupt_every_call,
    kill_at_random,
    without_moments,
    without_noise,
)

MODES = {
    "eager": ["fit.mode=eager"],
    "captured": ["fit.mode=captured"],
    "compiled": ["fit.mode=compiled"],
    "auto": ["fit.mode=auto"],
    "four side by side": ["fit.mode=captured", "fit.restarts=4"],
}
CONTROLS = {"no noise": without_noise, "no moments": without_moments}


def killed(kills: int, folder: Path) -> bool:
    """Kill fits in every mode, and the controls; return whether all is as it must be."""
    good = True
    heading = f"{'':20} {'kills':>6} {'saved':>6} {'in a write':>10} {'fits':>5} {'same':>5}"
    print(heading, "seconds")
    controls = {f"control: {name}": MODES["eager"] for name in CONTROLS}
    for name, settings in (MODES | controls).items():
        sabotage = [c for n, c in CONTROLS.items() if name == f"control: {n}"]
        started = time.perf_counter()
        problem = Problem.of(["fit.epochs=12", NOISY, *settings])
        number = max(12, kills // 5) if sabotage else kills
        found = kill_at_random(problem, folder, number, *sabotage)
        good &= (found.same < found.runs) if sabotage else (found.same == found.runs)
        counts = f"{found.kills:6} {found.saved:6} {found.writing:10} {found.runs:5} {found.same:5}"
        print(f"{name:20} {counts} {time.perf_counter() - started:7.0f}", flush=True)
    return good


def at_every_call(folder: Path) -> bool:
    """Stop a fit at every call; return whether none was lost."""
    good = True
    print("\nat every call that writes:", "same bits / all")
    problem = Problem.of(["fit.epochs=1", "fit.mode=eager", NOISY])
    for how in ("before", "after", "torn", "full"):
        found = interrupt_every_call(problem, folder, hows=[how])
        same = found.get((how, True), 0)
        good &= same == sum(found.values())
        print(f"{how:20} {same} / {sum(found.values())}", flush=True)
    found = interrupt_every_call(problem, folder, in_place, hows=["torn"])
    good &= ("torn", False) in found
    print(f"control: in place    {found.get(('torn', True), 0)} / {sum(found.values())}")
    return good


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each way of running a step")
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as name:
        good = killed(kills, Path(name))
        good &= at_every_call(Path(name))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
