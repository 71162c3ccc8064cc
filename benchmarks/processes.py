"""Throughput of one process and of several on one machine, for a fit bound by arithmetic.

    python benchmarks/processes.py [--processes 2] [--rounds 3] [--width 256] [--epochs 40]

Eight shards a batch, 1,437 handwritten digits in it, eight experts with two hidden layers. The fits
are started by torchrun and take turns; steps a second are those of the fit itself, without its
start and its report. All must end in the same parameters, to the bit. The last line tells whether
two processes take at least 1.6 times the steps of one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

SPEC = """
data: {dataset: digits}
likelihood: {family: categorical}
experts: {number: 8, kind: mlp, hidden: [WIDTH, WIDTH]}
treatment: TREATMENT
output: {draws: 1}
fit: {epochs: EPOCHS, restarts: 1, batch_size: full, shards: 8, mode: captured}
"""
BOUND = 1.6


def fitted(processes: int, spec: Path, out: Path) -> dict[str, Any]:
    """Return the metrics of a fit by so many processes."""
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    fit = ["-m", "pyromoe", "fit", str(spec), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *run, *fit], check=True, capture_output=True, env=environment, timeout=600
    )
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="compared with one")
    parser.add_argument("--rounds", type=int, default=3, help="fits of each")
    parser.add_argument("--width", type=int, default=256, help="of the hidden layers")
    parser.add_argument("--epochs", type=int, default=40, help="steps of a fit")
    parser.add_argument("--treatment", default="enumerate", help="of z")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}")
    ratios, prints = [], set()
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "digits.yaml"
        text = SPEC.replace("WIDTH", str(args.width)).replace("EPOCHS", str(args.epochs))
        spec.write_text(text.replace("TREATMENT", args.treatment))
        for i in range(args.rounds):
            each = [fitted(n, spec, Path(folder) / f"{i}-{n}") for n in (1, args.processes)]
            speeds = [metrics["steps_per_second"] for metrics in each]
            ratios.append(speeds[1] / speeds[0])
            prints |= {metrics["parameters_sha256"] for metrics in each}
            print(f"{speeds[0]:.3f} and {speeds[1]:.3f} steps a second, {ratios[-1]:.2f} times")
    ratio = statistics.median(ratios)
    print("the same parameters" if len(prints) == 1 else f"{len(prints)} different results")
    said = "at least" if ratio >= BOUND else "not"
    print(f"{args.processes} processes take {ratio:.2f} times the steps of one: {said} {BOUND}")


if __name__ == "__main__":
    main()
