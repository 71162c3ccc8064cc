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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import by_hand
import in_pyro
import ours
import torch
from problem import CASES, TREATMENTS

try:
    import in_numpyro
except ImportError:
    in_numpyro = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
BURST = 0.05
"""Seconds of a burst of steps."""
OURS = "pyromoe compiled"
BOUNDS: dict[int | None, dict[str, float]] = {
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


@dataclass(frozen=True)
class Contestant:
    """A call that takes `count` steps, and how many calls are a burst."""

    call: Callable[[], float]
    count: int = 1
    burst: int = 1

    def warm(self) -> Contestant:
        """Return the same with bursts of a set length."""
        for _ in range(3):
            self.call()
        started = time.perf_counter()
        self.call()
        each = time.perf_counter() - started
        return Contestant(self.call, self.count, max(1, round(BURST / each)))

    def seconds(self) -> float:
        """Return the seconds of a step in a burst."""
        started = time.perf_counter()
        for _ in range(self.burst):
            self.call()
        return (time.perf_counter() - started) / self.burst / self.count


def contestants(case: Case, treatment: str) -> tuple[dict[str, Contestant], float]:
    """Return every contestant, and the seconds until captured steps were ready."""
    captured, ready = ours.step(case, treatment, "captured")
    found = {
        OURS: Contestant(ours.step(case, treatment, "compiled")[0]),
        "pyromoe captured": Contestant(captured),
        "pyromoe eager": Contestant(ours.step(case, treatment, "eager")[0]),
        "Pyro SVI.step": Contestant(in_pyro.step(case, treatment)),
        "by hand, eager": Contestant(by_hand.eager(case, treatment)),
        "by hand, compiled": Contestant(by_hand.compiled(case, treatment)),
    }
    if in_numpyro is not None:
        found["NumPyro update"] = Contestant(in_numpyro.update(case, treatment))
        loop = in_numpyro.loop(case, treatment)
        found["NumPyro fori_loop"] = Contestant(loop, in_numpyro.LOOP)
    return found, ready


def measure(entered: dict[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step in every burst of every contestant, who take turns."""
    warm = {name: contestant.warm() for name, contestant in entered.items()}
    found: dict[str, list[float]] = {name: [] for name in warm}
    for _ in range(rounds):
        for name, contestant in warm.items():
            found[name].append(contestant.seconds())
    return found


def table(found: dict[str, list[float]], number: int, title: str) -> tuple[list[str], float]:
    """Print a case; return what is over its bound, and captured as a part of Pyro's."""
    middle = {name: statistics.median(times) for name, times in found.items()}
    over = []
    print(f"{'':<20}{'ms a step':>10}{'(min,':>9}{'max)':>8}{'compiled / it':>15}")
    for name, times in found.items():
        a, b, c = (f"{1e3 * t:.3f}" for t in (middle[name], min(times), max(times)))
        ratio = middle[OURS] / middle[name]
        print(f"{name:<20}{a:>10}{b:>9}{c:>8}{ratio:>15.3f}", flush=True)
        bound = (BOUNDS[None] | BOUNDS[number]).get(name, float("inf"))
        if ratio > bound:
            over.append(f"{title}: {ratio:.2f} of {name}, more than {bound}")
    return over, middle["pyromoe captured"] / middle["Pyro SVI.step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="0,1,2,3", help="which of the cases")
    parser.add_argument("--treatments", default=",".join(TREATMENTS), help="which treatments")
    parser.add_argument("--rounds", type=int, default=15, help="bursts of each contestant")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["XLA_FLAGS"] = ONE_THREAD
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    over = []
    for number in map(int, arguments.cases.split(",")):
        for treatment in arguments.treatments.split(","):
            title = f"{CASES[number].name}, {treatment}"
            entered, ready = contestants(CASES[number], treatment)
            found = measure(entered, arguments.rounds)
            print(f"\n{title}; captured ready in {ready:.2f} s")
            more, part = table(found, number, title)
            over += more
            if number == 0 and (part > CAPTURED or ready > READY):
                over.append(f"{title}: captured {part:.2f} of Pyro's, ready in {ready:.1f} s")
    print("\nover a bound:" if over else "\nevery ratio is within its bound", *over, sep="\n  ")
    if in_numpyro is None:
        print("NumPyro is not installed: `pip install --group bench`")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
