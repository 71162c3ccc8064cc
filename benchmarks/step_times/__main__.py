"""The time of a step: pyromoe beside Pyro, plain torch and NumPyro, on the same work.

    python benchmarks/step_times [--cases 0,1,2,3] [--treatments enumerate,...] [--rounds 15]

All of a case's contestants live in one process and take turns, a burst of steps each, so that a
slow moment of the machine meets them all; one thread each. A step ends when its loss has been read
as a number. The table has the milliseconds of a step (median of the bursts, and their least and
greatest), and pyromoe's compiled step as a part of each. NumPyro needs `pip install --group bench`;
without it its columns are left out, and the last lines say so.

Every contestant fits the same mixture of classifiers from the same values to the same rows:
`enumerate` sums z out; `leave_one_out` draws two z for each datum (Pyro's and NumPyro's TraceGraph
ELBO with two particles have another baseline); the other two relax z at a temperature of 0.5.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import torch

torch.set_num_threads(1)

import by_hand
import in_pyro
import ours
from problem import CASES, TREATMENTS

try:
    import in_numpyro
except ImportError:
    in_numpyro = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case

BURST = 0.05
"""Seconds of a burst of steps."""
OURS = "pyromoe compiled"
BOUNDS = {
    # case: contestant, greatest ratio of ours to it; None for every case
    None: {"NumPyro update": 1.0, "by hand, compiled": 1.1},
    0: {"Pyro SVI.step": 0.1, "NumPyro update": 0.7},
    1: {"Pyro SVI.step": 0.25, "NumPyro fori_loop": 1.3},
    2: {"Pyro SVI.step": 0.35, "NumPyro fori_loop": 1.3},
    3: {"NumPyro fori_loop": 1.3},
}
"""What is claimed of the compiled step."""
CAPTURED, READY = 0.4, 2.0
"""What is claimed of the captured step of the first case: part of Pyro's, seconds until ready."""


def contestants(case: Case, treatment: str) -> tuple[dict[str, tuple[Callable[[], float], int]], float]:
    """Return every contestant's call and how many steps it takes, and when captured is ready."""
    captured, ready = ours.step(case, treatment, "captured")
    steps = {
        OURS: (ours.step(case, treatment, "compiled")[0], 1),
        "pyromoe captured": (captured, 1),
        "pyromoe eager": (ours.step(case, treatment, "eager")[0], 1),
        "Pyro SVI.step": (in_pyro.step(case, treatment), 1),
        "by hand, eager": (by_hand.eager(case, treatment), 1),
        "by hand, compiled": (by_hand.compiled(case, treatment), 1),
    }
    if in_numpyro is not None:
        steps["NumPyro update"] = (in_numpyro.update(case, treatment), 1)
        steps["NumPyro fori_loop"] = (in_numpyro.loop(case, treatment), in_numpyro.LOOP)
    return steps, ready


def measure(steps: dict[str, tuple[Callable[[], float], int]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step in every burst of every contestant."""
    bursts = {}
    for name, (call, count) in steps.items():
        for _ in range(3):
            call()
        started = time.perf_counter()
        call()
        each = time.perf_counter() - started
        bursts[name] = max(1, round(BURST / each))
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (call, count) in steps.items():
            started = time.perf_counter()
            for _ in range(bursts[name]):
                call()
            found[name].append((time.perf_counter() - started) / bursts[name] / count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", default="0,1,2,3", help="which of the cases")
    parser.add_argument("--treatments", default=",".join(TREATMENTS), help="which treatments")
    parser.add_argument("--rounds", type=int, default=15, help="bursts of each contestant")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    over = []
    for number in map(int, arguments.cases.split(",")):
        for treatment in arguments.treatments.split(","):
            steps, ready = contestants(CASES[number], treatment)
            found = measure(steps, arguments.rounds)
            middle = {name: statistics.median(times) for name, times in found.items()}
            print(f"\n{CASES[number].name}, {treatment}; captured ready in {ready:.2f} s")
            print(f"{'':<20}{'ms a step':>10}{'(min,':>9}{'max)':>8}{'compiled / it':>15}")
            for name, times in found.items():
                ms = [1e3 * t for t in (middle[name], min(times), max(times))]
                ratio = middle[OURS] / middle[name]
                print(f"{name:<20}{ms[0]:>10.3f}{ms[1]:>9.3f}{ms[2]:>8.3f}{ratio:>15.3f}", flush=True)
                bound = (BOUNDS[None] | BOUNDS[number]).get(name, float("inf"))
                if ratio > bound:
                    over.append(f"{CASES[number].name}, {treatment}: {ratio:.2f} of {name}, more than {bound}")
            part = middle["pyromoe captured"] / middle["Pyro SVI.step"]
            if number == 0 and (part > CAPTURED or ready > READY):
                over.append(f"{treatment}: captured {part:.2f} of Pyro's, ready in {ready:.1f} s")
    print("\nover a bound:" if over else "\nevery ratio is within its bound", *over, sep="\n  ")
    if in_numpyro is None:
        print("NumPyro is not installed: `pip install --group bench`")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
