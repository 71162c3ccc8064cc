"""What a bank of experts takes of each process, and rows a second, where processes divide it.

    python benchmarks/expert_parallel.py [--processes 1,2] [--experts 64] [--rows 1024]

A step, loss, gradient and Adam, of a mixture of networks 64-128-10 for ten classes under a linear
gate, on one thread a process; with several processes each has its share of the rows. "enumerate"
asks for the outputs of every expert at every row; "leave_one_out" draws two for each. The bank is
counted with its gradients and moments, the peak is that of the process beyond what it had before it
made the model. Sent are the rows, outputs and gradients that go from one process to others in a
step. Times are medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from pyromoe.guides import PointGuide, PriorGuide, WeightedGuide
from pyromoe.inference import Treatment_ELBO
from pyromoe.models import MixtureOfExperts, Networks
from pyromoe.models.divided_networks import DividedNetworks, divided_sites
from pyromoe.models.likelihoods import Categorical

if TYPE_CHECKING:
    from torch import Tensor

TREATMENTS = ("enumerate", "leave_one_out")
MIB = 2**20


def measure(name: str, experts: int, rows: int, rank: int, processes: int) -> dict[str, float]:
    """Return MiB of the bank and at most of the process, and rows a second of all processes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 64, generator=generator)
    y = torch.randint(10, (rows,), generator=generator)
    own = slice(rank * rows // processes, (rank + 1) * rows // processes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bank = Networks if processes == 1 else DividedNetworks
    of_classes = Categorical(10)
    model = MixtureOfExperts(
        64, of_classes, experts, expert_hidden=[128], bank=bank, generator=generator
    )
    latent = PriorGuide(model) if name != "enumerate" else None
    loss = Treatment_ELBO(name)(model, WeightedGuide(PointGuide({}), latent))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    divided = divided_sites(model)
    common = [p for n, p in model.named_parameters() if n not in divided]
    times, sent = list[float](), Sent(rank)
    for _ in range(8):
        started = time.perf_counter()
        adam.zero_grad()
        (loss(x[own], y[own], rows) * (own.stop - own.start) / rows).backward()
        for parameter in common if processes > 1 else []:
            dist.all_reduce(parameter.grad)
        adam.step()
        times.append(time.perf_counter() - started)
    held = sum(4 * p.nbytes for p in model.experts.parameters())  # with gradient and two moments
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "bank": held / MIB,
        "sent": sent.bytes / len(times) / 2**10,
        "peak": peak / 2**10,
        "rows": rows / statistics.median(times[2:]),
    }


class Sent:
    """Counts the bytes that this process sends to others as rows, from now on."""

    def __init__(self, rank: int) -> None:
        self.bytes, exchange = 0, dist.all_to_all_single

        def counting(
            there: Tensor, rows: Tensor, received: list[int], sent: list[int], group: Any
        ) -> None:
            each = rows[:1].nbytes if len(rows) else 0
            self.bytes += each * (sum(sent) - sent[rank])
            exchange(there, rows, received, sent, group=group)

        dist.all_to_all_single = counting  # type: ignore[assignment]


def one(name: str, experts: int, rows: int, rank: int, processes: int, folder: str) -> None:
    """Measure in one of the processes, and print what was found."""
    torch.set_num_threads(1)
    if processes > 1:
        where = f"file://{Path(folder) / 'store'}"
        wait = timedelta(seconds=120)
        dist.init_process_group("gloo", where, wait, world_size=processes, rank=rank)
    print(json.dumps(measure(name, experts, rows, rank, processes)))
    if processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def together(name: str, experts: int, rows: int, processes: int) -> dict[str, float]:
    """Return the largest figures of some processes."""
    with tempfile.TemporaryDirectory() as folder:
        given = [name, str(experts), str(rows)]
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--one", *given, str(rank), str(processes), folder],
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(processes)
        ]
        found = [json.loads(process.communicate(timeout=600)[0]) for process in started]
    return {key: max(each[key] for each in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", default="1,2", help="numbers of processes")
    parser.add_argument("--experts", type=int, default=64, help="K")
    parser.add_argument("--rows", type=int, default=1024, help="rows in a step")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, experts, rows, rank, processes, folder = arguments.one
        one(name, int(experts), int(rows), int(rank), int(processes), folder)
        return
    print(f"torch {torch.__version__}, K = {arguments.experts}, {arguments.rows} rows a step")
    heads = ("bank, MiB", "peak, MiB", "sent, KiB", "rows/s")
    print(f"{'treatment':>16}{'processes':>11}{''.join(f'{head:>12}' for head in heads)}")
    for name in TREATMENTS:
        for processes in map(int, arguments.processes.split(",")):
            found = together(name, arguments.experts, arguments.rows, processes)
            print(
                f"{name:>16}{processes:>11}{found['bank']:>12.1f}{found['peak']:>12.0f}"
                f"{found['sent']:>12.0f}{found['rows']:>12.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
