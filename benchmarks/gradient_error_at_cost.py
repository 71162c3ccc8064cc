r"""The error of every treatment's gradient at equal cost, in expert evaluations and in seconds.

    python benchmarks/gradient_error_at_cost.py [--experts 8,64,1024] [--draws 100]

A mixture of networks 4-32-1 on 512 rows of synthetic data is fitted for a while with z summed out.
On one batch of 64 rows every treatment's gradient in the gate is then drawn as `pyromoe gradients`
draws it, and set against the exact gradient of the treatment's own objective. In units of that
gradient's length:

    bias    of the mean draw, with its floor: what the draws leave even without any bias
    spread  of one step, root of the total variance
    error   sqrt(bias^2 + spread^2 / n), root mean square of the mean of n independent steps,
            n = budget / cost of a step, not rounded

In the error the bias counts without its floor, and as 0 where the treatment is unbiased (the tests
hold it to that). Evaluations are expert likelihoods a datum; seconds are medians of whole steps,
noise and loss and gradient, without an optimiser's moments. Ratios of errors depend on the machine.
A treatment without chance has no error but its bias, so z summed out is exact as soon as the budget
buys one step: what sampling saves shows in the evaluations, and in batches that change.
"""

from __future__ import annotations

import argparse
import math
import platform
import re
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.plan import make_plan, plans_of_all, with_treatment
from pyromoe.inference.lab.measuring import Lab
from pyromoe.inference.steps.step import Step
from pyromoe.inference.svi import fit
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models.data.data import from_table
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.inference.fitting.plan import Plan

SPEC = """
data: {{file: none.csv, response: y, split: {{test: 0}}}}
likelihood: {{family: normal}}
experts: {{number: {experts}, kind: mlp, hidden: [32]}}
fit: {{batch_size: 64, restarts: 1, learning_rate: 0.02}}
"""
LONGEST, DRAWING = 2.0, 1.0
"""Seconds of one gradient, at most, and of its draws, where ENOUGH of them are not longer."""
MOST = 2**33
"""Bytes that this process may take; a tensor beyond them is refused and named."""
ENOUGH = 20
EXACT = 1e-5
"""Relative errors below this are rounding."""


@dataclass(frozen=True)
class Result:
    """A line of the table; lengths in units of the exact gradient's."""

    treatment: str
    objective: str
    evaluations: int
    bias: float
    floor: float
    spread: float
    seconds: tuple[float, float, float]  # of a step: median, least, most
    by_evaluations: float
    by_seconds: float
    is_biased: bool  # more than it is noisy, after so many seconds


def mean_error(square: float, spread: float, steps: float) -> float:
    """Root mean square error of so many steps, from the bias's square; infinite for none."""
    return math.sqrt(square + spread**2 / steps) if steps >= 1 else math.inf


def laboratory(num_experts: int, draws: int, steps: int) -> Lab:
    """A model fitted for so many steps, and its batch."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 4))
    y = np.abs(x[:, 0]) + np.sin(2 * x[:, 1]) + 0.3 * generator.normal(size=len(x))
    file = parse_spec(SPEC.format(experts=num_experts), "spec.yaml")
    data = from_table(file.spec, {f"x{i}": column for i, column in enumerate(x.T)} | {"y": y})
    return Lab(file, data, fit(file, data=data, budget=Budget("steps", steps)), draws)


def timed(lab: Lab, plan: Plan, mode: Any) -> list[float]:
    """Seconds of steps of length 0, without the first, which captures."""
    parts, rows = lab.parts(plan, "fitted"), lab.places["fitted"].rows
    elbo = lab.elbo(plan.treatment, plan.config_at(1.0))
    step = Step(elbo, parts.model, parts.guide, optimiser="sgd", mode=mode)
    found: list[float] = []
    while len(found) < 6 or (sum(found[1:]) < 0.2 and len(found) < 50):
        started = time.perf_counter()
        step(lab.x[rows], lab.y[rows], len(lab.x), learning_rate=0.0)
        found.append(time.perf_counter() - started)
    return found[1:]


def measure(lab: Lab, plan: Plan, arguments: argparse.Namespace) -> Result | str:
    """The line of a treatment, or why there is none."""
    config, rows = plan.config_at(1.0), lab.places["fitted"].rows
    if lab.exact(plan, "fitted", config) is None:
        return f"the exact gradient of its objective, {plan.objective}, is a sum too long to take"
    try:
        parts, elbo = lab.parts(plan, "fitted"), lab.elbo(plan.treatment, config)
        started = time.perf_counter()
        parts.gradient(elbo, rows)
        once = time.perf_counter() - started
        if once > LONGEST:
            return f"a single gradient takes {once:.1f} s, more than {LONGEST:g} s"
        seconds = timed(lab, plan, arguments.mode)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        return f"it does not fit in memory: {str(error).splitlines()[0]}"
    median = statistics.median(seconds)
    lab.draws = min(arguments.draws, max(ENOUGH, int(DRAWING / median)))
    row = next(r for r in lab.measure(plan, "fitted") if r["parameters"] == "gate")
    bias, floor, spread = (
        row[n] for n in ("estimator_bias", "estimator_bias_mc_floor", "relative_std")
    )
    square = 0.0 if plan.treatment.unbiased else max(0.0, bias**2 - floor**2)
    runs = row["evaluations"]
    by_evaluations = mean_error(square, spread, arguments.evaluations / runs)
    by_seconds = mean_error(square, spread, arguments.seconds / median)
    return Result(
        plan.treatment.name, plan.objective, runs, bias, floor, spread,
        (median, min(seconds), max(seconds)), by_evaluations, by_seconds,
        EXACT < by_seconds < math.inf and 2 * square > by_seconds**2,
    )  # fmt: skip


def table(lab: Lab, plans: dict[str, Plan], arguments: argparse.Namespace) -> list[Result]:
    """Print the table of a number of experts; return its lines, the least error in time first."""
    found = {name: measure(lab, plan, arguments) for name, plan in plans.items()}
    results = [r for r in found.values() if isinstance(r, Result)]
    results.sort(key=lambda r: (r.by_seconds if r.by_seconds > EXACT else 0.0, r.seconds))
    each, seconds = f"{arguments.evaluations} runs", f"{arguments.seconds:g} s"
    print(
        f"{'treatment':32}{'objective':>10}{'runs':>6}{'bias':>8}{'floor':>7}{'spread':>8}"
        f"{'ms a step (min, max)':>26}{'steps, error of ' + each:>28}{'of ' + seconds:>18}"
    )
    for r in results:
        times = "{:.2f} ({:.2f}, {:.2f})".format(*(1e3 * t for t in r.seconds))
        print(
            f"{r.treatment:32}{r.objective:>10}{r.evaluations:>6}{r.bias:8.3f}{r.floor:7.3f}"
            f"{r.spread:8.3f}{times:>26}"
            f"{arguments.evaluations / r.evaluations:>19.1f}{r.by_evaluations:>9.4f}"
            f"{arguments.seconds / r.seconds[0]:>9.1f}{r.by_seconds:>9.4f}",
            flush=True,
        )
    for name, reason in found.items():
        if isinstance(reason, str):
            print(f"{name:32}  not measured: {reason}")
    return results


def reading(results: dict[int, list[Result]]) -> str:
    """One sentence on the tables."""
    said = []
    for k, rows in results.items():
        noisy = [r for r in rows if r.by_seconds > EXACT]
        text = f"at K = {k}, {len(rows) - len(noisy)} of {len(rows)} are exact"
        if noisy:
            fast = min(noisy, key=lambda r: r.by_seconds)
            few = min(noisy, key=lambda r: r.by_evaluations)
            text += (
                f", of the others {fast.treatment} has the least error for its seconds, "
                f"{fast.by_seconds:.3f}, and {few.treatment} for its evaluations, "
                f"{few.by_evaluations:.3f}, and bias outweighs noise in "
                f"{sum(r.is_biased for r in noisy)}"
            )
        said.append(text)
    return f"Each beside the exact gradient of its own objective: {'; '.join(said)}."


def machine() -> str:
    """What the times were measured on."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cpu = found[1] if found else platform.processor() or platform.machine()
    return f"{cpu}, torch {torch.__version__}, threads: {torch.get_num_threads()}"


def main(given: Sequence[str] | None = None) -> dict[int, list[Result]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--experts", default="8,64,1024", help="numbers of experts")
    parser.add_argument("--treatments", default="", help="names; all of them if left out")
    parser.add_argument("--draws", type=int, default=100, help="of a gradient, at most")
    parser.add_argument("--steps", type=int, default=200, help="of the fit before")
    parser.add_argument("--evaluations", type=int, default=1024, help="budget, a datum")
    parser.add_argument("--seconds", type=float, default=1.0, help="budget")
    parser.add_argument("--mode", choices=("eager", "captured", "compiled"), default="captured")
    arguments = parser.parse_args(given)
    names = [name for name in arguments.treatments.split(",") if name]
    if unknown := set(names) - set(TREATMENTS):
        parser.error(f"no treatment {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    print(f"{machine()}, steps {arguments.mode}")
    results: dict[int, list[Result]] = {}
    for k in [int(text) for text in arguments.experts.split(",")]:
        lab = laboratory(k, arguments.draws, arguments.steps)
        chosen = {name: make_plan(with_treatment(lab.file, name)) for name in names}
        print(f"\nK = {k}", flush=True)
        results[k] = table(lab, chosen or plans_of_all(lab.file)[0], arguments)
    print(f"\n{reading(results)}")
    return results


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MOST, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    main()
