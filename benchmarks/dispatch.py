"""Step time and peak memory against the number of experts, all of them run or the chosen ones.

    python benchmarks/dispatch.py [--experts 8,64,256,1024] [--rows 1024]

One step, loss and gradient, of a mixture of networks 64-128-10 for ten classes under a linear gate,
on one thread. Every measurement is a process of its own, so that memory is that of one step; times
are medians. "enumerate" runs every expert; "leave_one_out" draws two for each datum.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch

from pyromoe.guides import PriorGuide
from pyromoe.inference import Treatment_ELBO
from pyromoe.models import MixtureOfExperts
from pyromoe.models.likelihoods import Categorical

TREATMENTS = ("enumerate", "leave_one_out")
LARGEST = 256
"""Enumeration of more experts takes more memory than many a machine has."""


def measure(name: str, num_experts: int, rows: int) -> dict[str, float]:
    """Return the seconds of a step, and what the process took at most, in GiB."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 64, generator=generator)
    y = torch.randint(10, (rows,), generator=generator)
    model = MixtureOfExperts(
        64, Categorical(10), num_experts, expert_hidden=[128], generator=generator
    )
    guide = PriorGuide(model) if name != "enumerate" else (lambda *args: None)
    elbo = Treatment_ELBO(name)
    parameters = list(model.parameters())
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 5 and len(times) < 30):
        started = time.perf_counter()
        loss = elbo.differentiable_loss(model, guide, x, y)
        torch.autograd.grad(loss, parameters, allow_unused=True)
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": statistics.median(times[1:]), "gib": peak}


def apart(name: str, num_experts: int, rows: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", name, str(num_experts), str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experts", default="8,64,256,1024", help="numbers of experts")
    parser.add_argument("--rows", type=int, default=1024, help="rows in a step")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, number, rows = arguments.one
        print(json.dumps(measure(name, int(number), int(rows))))
        return
    numbers = [int(text) for text in arguments.experts.split(",")]
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"{'K':>6}{'enumerate':>14}{'leave_one_out':>16}{'ratio':>8}{'GiB':>8}{'GiB':>8}")
    seconds: dict[int, float] = {}
    for k in numbers:
        sampled = apart("leave_one_out", k, arguments.rows)
        seconds[k] = sampled["seconds"]
        exact = apart("enumerate", k, arguments.rows) if k <= LARGEST else None
        ratio = f"{exact['seconds'] / sampled['seconds']:.1f}" if exact else "-"
        of_exact = f"{1e3 * exact['seconds']:.1f} ms" if exact else "-"
        memory = f"{exact['gib']:.2f}" if exact else "-"
        print(
            f"{k:>6}{of_exact:>14}{1e3 * sampled['seconds']:>13.1f} ms{ratio:>8}"
            f"{memory:>8}{sampled['gib']:>8.2f}",
            flush=True,
        )
    if {8, 256} <= set(numbers):
        print(f"leave_one_out, K = 256 / K = 8: {seconds[256] / seconds[8]:.2f}")


if __name__ == "__main__":
    main()
