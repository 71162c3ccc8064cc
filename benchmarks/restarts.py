"""Restarts side by side against one by one: the time of a whole fit, and of one restart.

    python benchmarks/restarts.py [--restarts 32] [--rounds 3] [--spec examples/engel.yaml]

Captured steps of Adam on one thread; the fits take turns. The last line tells whether the restarts
side by side take at most 6 times as long as one, and how far their log-likelihoods are from those
of restarts that were fitted alone.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch

from pyromoe.inference import svi
from pyromoe.models.specs.spec_file import read_spec

if TYPE_CHECKING:
    from pyromoe.inference import Fit
    from pyromoe.models.specs.spec_file import SpecFile

SPEC = Path(__file__).parent.parent / "examples" / "engel.yaml"
BOUND = 6.0


def timed(file: SpecFile, restarts: int, room: int) -> tuple[float, Fit]:
    """Return the seconds of a fit, and the fit; `room` as `restarts.SIDE_BY_SIDE`."""
    settings = file.spec.fit.model_copy(
        update={"restarts": restarts, "mode": "captured", "optimiser": "adam"}
    )
    file = replace(file, spec=file.spec.model_copy(update={"fit": settings}))
    with patch("pyromoe.inference.fitting.restarts.SIDE_BY_SIDE", room):
        started = time.perf_counter()
        found = svi.fit(file)
    return time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=32, help="how many")
    parser.add_argument("--rounds", type=int, default=3, help="fits of each kind")
    parser.add_argument("--spec", type=Path, default=SPEC, help="what is fitted")
    arguments = parser.parse_args()
    file, number = read_spec(arguments.spec), arguments.restarts
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    kinds = {"one": (1, 0), "side by side": (number, 2**40), "one by one": (number, 0)}
    timed(file, 1, 0)  # what is loaded once a process
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    fits = {}
    for _ in range(arguments.rounds):
        for kind, how in kinds.items():
            took, fits[kind] = timed(file, *how)
            seconds[kind].append(took)
    one = statistics.median(seconds["one"])
    print(f"{'restarts':<16}{'seconds':>9}{'(min,':>9}{'max)':>8}{'/ one':>8}")
    for kind, times in seconds.items():
        middle = statistics.median(times)
        print(f"{kind:<16}{middle:>9.2f}{min(times):>9.2f}{max(times):>8.2f}{middle / one:>8.2f}")
    values = [
        [r["log_likelihood"] for r in fits[kind].metrics["restarts"]]
        for kind in ("side by side", "one by one")
    ]
    gap = max(abs(a - b) for a, b in zip(*values, strict=True))
    ratio = statistics.median(seconds["side by side"]) / one
    within = "within" if ratio <= BOUND else "over"
    print(f"{number} side by side take {ratio:.2f} times one, {within} {BOUND:g}; the greatest")
    print(f"difference of a restart's log-likelihood from that of one by one is {gap:.1e} nats")
    sys.exit(ratio > BOUND)


if __name__ == "__main__":
    main()
