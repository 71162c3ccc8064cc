"""The model of docs/scaling.md against what is measured on this machine.

    python benchmarks/scaling.py [--steps 5]

Measures the rates of the machine by themselves: products of matrices, copies, the time that a step
of a few rows takes, and messages between two processes. From these, and from bytes and operations
counted by hand, it predicts the time of a step for cases that differ in experts, widths, rows,
treatment and processes; then it times them. Nothing is fitted to the times of the steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from pyromoe.guides import PriorGuide, Seeded
from pyromoe.inference import Processes, ShardedStep, Shards, Treatment_ELBO
from pyromoe.models import MixtureOfExperts
from pyromoe.models.likelihoods import Normal

if TYPE_CHECKING:
    from collections.abc import Callable

SHARDS = 8
BYTES = 4
"""Of a number in single precision."""
OF_UNITS = 8
"""Operations on each number of a hidden layer: bias, relu, and their gradients."""
OF_PAIRS = 45
"""The same for each pair of row and expert: likelihood, gate, sum over z, gradients."""
OF_SHARD = 4
"""The same for each parameter in each shard: its gradient as a vector, weighted, added up."""
OF_STEP = 14
"""The same in each step: Adam, and the check of what it does."""
SIZES = [2**n for n in range(10, 22)]
"""Of tensors for which the rate of operations on single numbers is measured."""


@dataclass(frozen=True)
class Case:
    """What a step computes.

    Attributes:
        experts: K.
        predictors: D.
        hidden: widths of the hidden layers.
        rows: of a batch, N.
        treatment: of z.
        processes: W.
    """

    experts: int
    predictors: int
    hidden: tuple[int, ...]
    rows: int
    treatment: str = "enumerate"
    processes: int = 1

    @property
    def evaluated(self) -> int:
        """How many experts are evaluated for a row, as the step is made."""
        few = self.treatment == "leave_one_out" and 12 * 2 <= self.experts
        return 2 if few else self.experts

    @property
    def weights(self) -> int:
        """Weights of an expert that are multiplied with a row."""
        return sum(a * b for a, b in pairwise((self.predictors, *self.hidden, 1)))

    @property
    def parameters(self) -> int:
        """P, near enough."""
        return self.experts * (self.weights + sum(self.hidden) + self.predictors + 3)

    def operations(self) -> int:
        """Return additions and multiplications of a step: forward, and twice that backward."""
        gate = self.predictors * self.experts
        return 6 * self.rows * (self.evaluated * self.weights + gate)

    def single(self) -> dict[int, float]:
        """Return operations on single numbers, by the size of their tensors, in all processes."""
        rows = self.rows // SHARDS
        found: dict[int, float] = {rows * self.experts: OF_PAIRS * self.rows * self.experts}
        for width in self.hidden:
            size = rows * self.evaluated * width
            found[size] = found.get(size, 0) + OF_UNITS * SHARDS * size
        each = OF_SHARD * SHARDS + OF_STEP * self.processes
        found[self.parameters] = found.get(self.parameters, 0) + each * self.parameters
        return found

    def sent(self) -> int:
        """Return the bytes that a process sends in a step."""
        return 2 * BYTES * self.parameters * (self.processes - 1) // self.processes


@dataclass(frozen=True)
class Machine:
    """Rates of a core, and seconds of an empty shard and a message.

    Attributes:
        arithmetic: additions and multiplications of a product of matrices, a second.
        single: operations on single numbers a second, by the size of the tensor.
        shard: seconds of a shard of one row, by treatment.
        message: seconds of an exchange of a few numbers.
        network: bytes a second of an exchange of many.
    """

    arithmetic: float
    single: dict[int, float]
    shard: dict[str, float]
    message: float
    network: float

    def rate(self, size: int) -> float:
        """Return operations on single numbers a second, for tensors about so large."""
        return self.single[min(self.single, key=lambda n: abs(math.log(n / size)))]

    def predicted(self, case: Case) -> dict[str, float]:
        """Return the seconds of a step, by what they are spent on."""
        share = 1 / case.processes
        several = case.processes > 1
        return {
            "Python": self.shard[case.treatment] * SHARDS * share,
            "arithmetic": case.operations() * share / self.arithmetic,
            "memory": share * sum(n / self.rate(size) for size, n in case.single().items()),
            "network": several * (2 * self.message + case.sent() / self.network),
        }


def step_of(case: Case, processes: Processes) -> Callable[[], object]:
    """Return a function that takes a step."""
    torch.manual_seed(0)
    model = MixtureOfExperts(
        case.predictors, Normal(case.experts), case.experts, expert_hidden=case.hidden
    )
    x, y = torch.randn(case.rows, case.predictors), torch.randn(case.rows)
    guide: Any = PriorGuide(model) if case.treatment != "enumerate" else (lambda *_: None)
    elbo = Treatment_ELBO(case.treatment, noise=Seeded(0))
    step = ShardedStep(elbo, model, guide, shards=Shards(SHARDS, processes), divide_by=case.rows)
    return lambda: step(x, y, case.rows)


def timed(call: Callable[[], object], steps: int) -> float:
    """Return the seconds of a call, the least of three rounds."""
    call(), call()
    found = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(steps):
            call()
        found.append((time.perf_counter() - started) / steps)
    return min(found)


def in_processes(size: int, function: Callable[[Processes], float]) -> float:
    """Return what a function gives in process 0 of so many, which are forks of this one."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(size):
            if child := os.fork():
                children.append(child)
                continue
            try:
                if size > 1:
                    url = f"file://{folder}/store"
                    dist.init_process_group("gloo", url, rank=rank, world_size=size)
                found = function(Processes(rank, size))
                (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
            finally:
                os._exit(0)
        for child in children:
            os.waitpid(child, 0)
        return float(json.loads((Path(folder) / "0.json").read_text()))


def stepped(case: Case, steps: int) -> float:
    """Return the seconds of a step."""
    return in_processes(case.processes, lambda p: timed(step_of(case, p), steps))


def exchanged(number: int, steps: int) -> float:
    """Return the seconds in which two processes exchange so many numbers."""
    given = torch.zeros(2, number)
    return in_processes(2, lambda p: timed(lambda: p.exchange(given), steps))


def six(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Do six operations on single numbers, one of them a slow function."""
    return torch.tanh(x * y + x).sub(y).add(x).mul(y)


def machine(steps: int) -> Machine:
    """Measure the rates of this machine."""
    a, b = torch.randn(8, 512, 256), torch.randn(8, 256, 256)
    product = timed(lambda: torch.bmm(a, b), steps)
    single = {}
    for size in SIZES:
        x, y = torch.randn(size), torch.randn(size)
        took = timed(partial(six, x, y), steps)
        single[size] = 6 * size / took
    shard = {}
    for name in ("enumerate", "leave_one_out"):
        shard[name] = stepped(Case(2, 2, (), SHARDS, name), steps) / SHARDS
    small, large = (exchanged(n, steps) for n in (8, 2**20))
    return Machine(
        2 * a.numel() * b.shape[-1] / product,
        single,
        shard,
        small,
        BYTES * 2**20 / (large - small),
    )


CASES = [
    Case(8, 20, (), 8192),
    Case(8, 20, (), 65536),
    Case(64, 20, (), 8192),
    Case(8, 64, (256, 256), 2048),
    Case(64, 64, (64,), 2048),
    Case(64, 64, (64,), 2048, "leave_one_out"),
    Case(256, 64, (128,), 1024, "leave_one_out"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5, help="in a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}")
    here = machine(args.steps)
    print(
        f"{here.arithmetic / 1e9:.0f} GFLOP/s and {here.rate(2**14) / 1e9:.2f} and "
        f"{here.rate(2**20) / 1e9:.2f} G operations/s on small and large tensors a core; a shard "
        f"of one row {1e3 * here.shard['enumerate']:.2f} ms; a message {1e6 * here.message:.0f} us "
        f"and {here.network / 1e9:.2f} GB/s"
    )
    print("   K   D  hidden        N  treatment      W  " + "predicted   timed  ratio  most of it")
    ratios = []
    for case in [c for each in CASES for c in (each, replace(each, processes=2))]:
        parts = here.predicted(case)
        took = stepped(case, args.steps)
        predicted = sum(parts.values())
        ratios.append(predicted / took)
        print(
            f"{case.experts:4} {case.predictors:3}  {'x'.join(map(str, case.hidden)) or '-':8} "
            f"{case.rows:6}  {case.treatment:13} {case.processes:2} "
            f"{1e3 * predicted:8.1f} ms {1e3 * took:7.1f} {ratios[-1]:6.2f}  "
            f"{max(parts, key=lambda name: parts[name])}"
        )
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"predicted / timed: median {middle:.2f}, from {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
