"""Seconds until a fit of the digits reaches a held-out log p(y | x), by treatment.

    python benchmarks/time_to_likelihood.py [--treatments enumerate,switch] [--starts 3]

Every treatment fits the model of a spec, with its split, priors and learning rates, from the same
first values and on the same batches in the same order, as `pyromoe fit` would. For each start

    target = first + share (best - first)

in nats a datum, of the first values and of the best that `enumerate` reaches in its first epochs
(10 of them, and a share of 0.99, unless said otherwise). The exact held-out log p(y | x), z summed
out, is looked at every 2 steps; neither that nor capturing the graph counts as time. Ratios are
medians over the starts of time / that of `enumerate` from the same start.
"""

from __future__ import annotations

import argparse
import math
import platform
import re
import statistics
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.loop import Loop, NumericalError
from pyromoe.inference.fitting.plan import make_plan, with_treatment
from pyromoe.inference.fitting.probabilities import log_likelihood, to_tensors
from pyromoe.inference.fitting.restarts import start
from pyromoe.models import read_spec
from pyromoe.models.data.data import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.models.data.divide import Data

SPEC = Path(__file__).parent.parent / "examples" / "digits.yaml"
EXACT = "enumerate"
DEFAULT = (
    "enumerate,jensen,expectation_maximisation,leave_one_out,q_baseline,gumbel_softmax,"
    "straight_through_gumbel_softmax,reinmax,gumbel_rao,sparse_mixer,switch"
)
EVERY = 2


@dataclass(frozen=True)
class Mark:
    """Where a fit is: steps and seconds so far, held-out log p(y | x) in nats a datum."""

    steps: int
    seconds: float
    held_out: float


class Run:
    """A fit, step by step, timed.

    Args:
        plan: what is fitted; `fit.mode` says how steps are run.
        data: to fit to and to hold out.
        number: of the start, of which first values, noise and batches follow.
    """

    def __init__(self, plan: Plan, data: Data, number: int) -> None:
        begun = start(plan, data, number)
        self.restart = begun[0]
        budget = Budget("epochs", plan.spec.fit.epochs)
        self.loop = Loop(plan, data, [begun], budget, lambda done, text: None)
        self.test = to_tensors(data.test, plan.spec)
        self.log_jacobian = data.encoding.log_jacobian
        rows = torch.arange(len(self.loop.x)).split(self.loop.batches.size)
        options = {name: s.at(0) for name, s in plan.schedules.items()}
        for each in {len(r): r for r in rows}.values():
            x, y = self.loop.x[each], self.loop.y[each]
            self.loop.take.ready(x, y, len(self.loop.x), options=options)

    def held_out(self) -> float:
        """The exact log p(y | x) of the held-out rows, nats a datum."""
        weights = self.restart.guide.weights.values()
        found = log_likelihood(self.restart.model, weights, *self.test).double().mean()
        return float(found) + self.log_jacobian

    def marks(self) -> Iterator[Mark]:
        """Take steps on the batches of `fit`; yield where it is, first and every few steps."""
        loop, seconds = self.loop, 0.0
        yield Mark(0, seconds, self.held_out())
        while loop.done() < 1:
            for batch in loop.batches.left(0):
                started = time.perf_counter()
                loop.step(batch)
                seconds += time.perf_counter() - started
                if self.restart.failure:
                    raise NumericalError(self.restart.failure)
                if self.restart.steps % EVERY == 0 or loop.done() >= 1:
                    yield Mark(self.restart.steps, seconds, self.held_out())


def target_of(plan: Plan, data: Data, number: int, epochs: int, share: float) -> float:
    """What is to be reached from a start, in nats a datum: see the top."""
    run = Run(plan, data, number)
    count = epochs * run.loop.batches.number // EVERY
    values = [mark.held_out for mark in islice(run.marks(), count + 1)]
    return values[0] + share * (max(values) - values[0])


def reach(plan: Plan, data: Data, number: int, target: float) -> tuple[Mark | None, str]:
    """Where a fit first reaches a target, if it does, and how it went otherwise."""
    best, last = -math.inf, Mark(0, 0.0, -math.inf)
    run = Run(plan, data, number)
    try:
        for last in run.marks():
            best = max(best, last.held_out)
            if last.held_out >= target:
                return last, run.loop.take.note
    except NumericalError as error:
        return None, str(error)
    return None, f"within {last.steps} steps ({last.seconds:.1f} s): at best {best:.3f}"


def middle(values: Sequence[float], digits: int) -> str:
    """The median, least and most of some values."""
    numbers = (statistics.median(values), min(values), max(values))
    return "{:.{d}f} ({:.{d}f}, {:.{d}f})".format(*numbers, d=digits)


def line(found: list[Mark | None], notes: list[str], exact: list[Mark | None]) -> tuple[str, float]:
    """The figures of a treatment over the starts, and its ratio to those of `enumerate`."""
    there = [m for m in found if m is not None]
    missed = next((n for m, n in zip(found, notes, strict=True) if m is None), "")
    if not there:
        return f"  not reached {missed}", math.inf
    pairs = zip(found, exact, strict=True)
    ratio = statistics.median(m.seconds / e.seconds if m and e else math.inf for m, e in pairs)
    seconds, steps = middle([m.seconds for m in there], 2), middle([m.steps for m in there], 0)
    each = statistics.median(1e3 * m.seconds / max(1, m.steps) for m in there)
    text = f"{seconds:>22}{steps:>18}{each:9.2f}{ratio:9.2f}"
    if missed:
        text += f"  reached from {len(there)} of {len(found)} starts; not {missed}"
    return text, ratio


def machine() -> str:
    """What the times were measured on."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cpu = found[1] if found else platform.processor() or platform.machine()
    return f"{cpu}, torch {torch.__version__}, threads: {torch.get_num_threads()}"


def reading(ratios: dict[str, float]) -> str:
    """One sentence on the table."""
    others = {name: ratio for name, ratio in ratios.items() if name != EXACT}
    faster = [name for name, ratio in others.items() if ratio < 0.9]
    never = [name for name, ratio in others.items() if ratio == math.inf]
    text = f"{len(faster)} of {len(others)} treatments take under 0.9 of the time of {EXACT}"
    if len(never) < len(others):
        best = min(others, key=lambda name: others[name])
        text += f", {best} soonest, in {others[best]:.2f} of its time"
    return f"{text}; from half of the starts or more {len(never)} do not get there at all."


def main(given: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--treatments", default=DEFAULT, help="names, divided by commas")
    parser.add_argument("--spec", type=Path, default=SPEC, help="the settings of model and fit")
    parser.add_argument("--starts", type=int, default=3, help="first values and orders of rows")
    parser.add_argument("--epochs", type=int, help="of every fit; those of the spec if left out")
    parser.add_argument("--reference", type=int, default=10, help="epochs that set the target")
    parser.add_argument("--share", type=float, default=0.99, help="of the way to the best of these")
    parser.add_argument("--mode", choices=("eager", "captured", "compiled"), default="captured")
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    file = read_spec(arguments.spec)
    epochs = arguments.epochs or file.spec.fit.epochs
    changes: dict[str, Any] = {"mode": arguments.mode, "epochs": epochs}
    settings = file.spec.fit.model_copy(update=changes)
    file = replace(file, spec=file.spec.model_copy(update={"fit": settings}))
    data, starts = load(file), range(arguments.starts)
    names = [EXACT, *(n for n in arguments.treatments.split(",") if n not in ("", EXACT))]
    plans = {name: make_plan(with_treatment(file, name)) for name in names}
    share, first = arguments.share, arguments.reference
    targets = [target_of(plans[EXACT], data, s, first, share) for s in starts]
    print(f"{machine()}, steps {arguments.mode}")
    print(f"targets {', '.join(f'{t:.4f}' for t in targets)} nats a datum, one for each start")
    print(
        f"{'treatment':32}{'objective':>10}{'runs':>6}{'seconds (min, max)':>22}"
        f"{'steps':>18}{'ms each':>9}{'ratio':>9}"
    )
    exact: list[Mark | None] = []
    ratios: dict[str, float] = {}
    for name, plan in plans.items():
        pairs = [reach(plan, data, s, t) for s, t in zip(starts, targets, strict=True)]
        found, notes = [m for m, _ in pairs], [n for _, n in pairs]
        exact = exact or found
        text, ratios[name] = line(found, notes, exact)
        runs = plan.treatment.evaluations(plan.config, plan.spec.experts.number)
        print(f"{name:32}{plan.objective:>10}{runs:>6}{text}", flush=True)
    print(f"\n{reading(ratios)}")
    return ratios


if __name__ == "__main__":
    main()
