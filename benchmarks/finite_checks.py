"""What it costs to check a step before it is taken, on the fit of examples/digits.yaml.

    python benchmarks/finite_checks.py [--rounds 30] [--fits 8] [--modes captured,eager,compiled]

Rounds of ten steps of Adam, with the checks and without, alternate, so that a slow moment of the
machine meets both. Seconds are those of the process on one thread. The ratio is the median over
pairs of rounds; of several fits, whose tensors lie in other places, the mean and its standard error
are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.inference.fitting.batches import Batch
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.choice import settle
from pyromoe.inference.fitting.loop import Loop
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.restarts import start
from pyromoe.inference.steps.optimisers import FIRST, OPTIMISERS, SECOND, SMALLEST, Optimiser
from pyromoe.inference.steps.threads import one_thread
from pyromoe.models.data.data import load
from pyromoe.models.specs.spec_file import read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

SPEC = Path(__file__).parent.parent / "examples" / "digits.yaml"
STEPS = 10
"""In a round."""


class Unchecked(Optimiser):
    """Adam that changes values and moments in place, whatever the gradient is."""

    def with_gradient(self, gradient: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
        """Return the whole step; it gives the loss and that it was taken."""

        def step(factors: Tensor, scale: Tensor, *given: Tensor) -> list[Tensor]:
            (mean, square), rest = given[:2], given[2:]
            loss, found = gradient(*rest)
            size, root = factors.unbind()
            mean.lerp_(found, 1 - FIRST)
            square.mul_(SECOND).addcmul_(found, found, value=1 - SECOND)
            rest[0].sub_(size * (mean / (square.sqrt() / root + SMALLEST)))
            return [loss, scale]

        return step

    def take(self, values: Tensor, before: Sequence[Tensor], *found: Tensor) -> list[Tensor]:
        """Return the moments, which are changed already."""
        return list(before)


def loop_of(mode: str, checked: bool) -> Loop:
    """Return the fit before its first step, with the checks or without."""
    file = read_spec(SPEC, [f"fit.mode={mode}"])
    data, plan = load(file), make_plan(file)
    plan = dataclasses.replace(plan, spec=settle(plan.spec, len(data.train.rows)))
    loop = Loop(plan, data, [start(plan, data, 0)], Budget("epochs", 80), lambda *_: None)
    if not checked:
        adam = OPTIMISERS["adam"]
        loop.take.optimiser = Unchecked(adam.moments, adam.sizes, adam.rule)
    return loop


def seconds(loop: Loop) -> float:
    """Take a round of steps on the first rows; return the seconds of a step."""
    size = loop.batches.size
    batch = Batch([(loop.x[:size], loop.y[:size])], size)
    started = time.process_time()
    for _ in range(STEPS):
        loop.step(batch)
    return (time.process_time() - started) / STEPS


def rounds_of(mode: str, rounds: int) -> list[list[float]]:
    """Return a step's seconds without and with the checks, in pairs of rounds."""
    pair = [loop_of(mode, checked) for checked in (False, True)]
    for loop in pair:
        seconds(loop)  # the graph is made in the first step
    return [[seconds(loop) for loop in pair] for _ in range(rounds)]


def measure(mode: str, rounds: int, fits: int) -> tuple[float, float, float, float]:
    """Return a step's seconds without and with the checks, their ratio and its standard error."""
    both = np.array([rounds_of(mode, rounds) for _ in range(fits)])  # (fits, rounds, 2)
    ratios = np.median(both[..., 1] / both[..., 0], 1)
    without, checked = np.median(both, (0, 1)).tolist()
    return without, checked, float(ratios.mean()), float(ratios.std(ddof=1) / fits**0.5)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print a row for each mode; return the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="pairs of rounds of a fit")
    parser.add_argument("--fits", type=int, default=8, help="fits of each mode")
    parser.add_argument("--modes", default="captured,eager,compiled", help="how steps are run")
    given = parser.parse_args(arguments)
    found = dict[str, float]()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"{'mode':>10}{'without, ms':>14}{'with, ms':>12}{'ratio':>9}{'error':>9}")
    for mode in given.modes.split(","):
        with one_thread():
            without, checked, ratio, error = measure(mode, given.rounds, given.fits)
        found[mode] = ratio
        row = f"{mode:>10}{1e3 * without:>14.3f}{1e3 * checked:>12.3f}{ratio:>9.4f}{error:>9.4f}"
        print(row, flush=True)
    return found


if __name__ == "__main__":
    main()
