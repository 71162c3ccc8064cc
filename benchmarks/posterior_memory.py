"""Peak memory of a posterior for ArviZ, and of its file, in a process of their own.

python benchmarks/posterior_memory.py

What is the same in every draw would alone take N K S numbers: 3.2 GB in single precision.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from pyromoe.inference import fit, to_arviz, to_netcdf
from pyromoe.inference.fitting.budget import Budget
from pyromoe.models import parse_spec

SPEC = """
data: {{response: y, split: {{test: 0.0}}}}
likelihood: {{family: normal}}
experts: {{number: {experts}}}
fit: {{restarts: 1, batch_size: 1024}}
output: {{draws: {draws}}}
"""
TARGET = 2.0


def peak() -> float:
    """Return the largest size of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(rows: int, experts: int, draws: int) -> None:
    """Fit a few steps, convert, write, read; say after each what it took."""
    print(f"{'imported':<12}{peak():>8.2f} GiB", flush=True)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, rows))
    y = np.abs(x).sum(0) + 0.1 * generator.normal(size=rows)
    spec = parse_spec(SPEC.format(experts=experts, draws=draws), "spec.yaml")
    with tempfile.TemporaryDirectory() as folder:
        path, started = Path(folder) / "posterior.nc", time.perf_counter()
        table = {"y": y, **{f"x{i}": column for i, column in enumerate(x)}}
        found = fit(spec, table, budget=Budget("steps", 50))

        def say(what: str) -> None:
            nonlocal started
            print(
                f"{what:<12}{peak():>8.2f} GiB{time.perf_counter() - started:>8.1f} s", flush=True
            )
            started = time.perf_counter()

        say("fitted")
        posterior = to_arviz(found)
        say("converted")
        path.write_bytes(to_netcdf(posterior))
        say("written")
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            assert tree["posterior/resp"].shape == (1, draws, rows, experts)
            tree["posterior/resp"].isel(draw=0).load()
        say("read")
        print(
            f"the file has {path.stat().st_size / 2**20:.0f} MiB; at most {TARGET} GiB are allowed"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args(arguments)
    if options.here:
        measure(options.rows, options.experts, options.draws)
        return
    sizes = [f"--{n}={getattr(options, n)}" for n in ("rows", "experts", "draws")]
    subprocess.run([sys.executable, __file__, "--here", *sizes], check=True)


if __name__ == "__main__":
    main()
