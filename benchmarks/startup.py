"""CPU time of the commands that should answer at once: the median of several runs of each.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = [
    ["--help"],
    ["check", "examples/digits.yaml"],
    ["check", "examples/engel.yaml"],
    ["treatments"],
    ["schema"],
]
RUNS = 7
TARGET = 0.5


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pyromoe", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    for command in COMMANDS:
        times = [cpu_seconds(command) for _ in range(RUNS)]
        print(
            f"pyromoe {' '.join(command):<28} median {statistics.median(times):.3f} s, "
            f"{min(times):.3f} to {max(times):.3f}; at most {TARGET}"
        )


if __name__ == "__main__":
    main()
