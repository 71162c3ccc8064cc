"""A table larger than memory should be: rows a second and peak memory, beside scikit-learn.

    python benchmarks/streaming.py [--rows 10000000] [--epochs 3] [--repeats 2] [--mode compiled]

A Parquet file of normal numbers, 20 predictors and a response from 8 linear experts, in row groups
of 2**17, is written once. Two processes, in turn, then read it in the same batches of 10,000 rows,
standardised, in the same order, by the same reader:

    pyromoe fit             8 linear experts, a linear gate, z summed out, Adam
    SGDRegressor            partial_fit on each batch: one linear model

`best epoch` is the fastest pass over the rows, of all repeats: reading, steps and what is written
of them. `all epochs` has all passes of the faster repeat, and so, of pyromoe, the making of its
graph; `wall clock` imports, the first pass over the file and what comes after the last: of pyromoe
checking every value, learning the encoding, exact totals, posterior and report; of scikit-learn
StandardScaler.partial_fit and nothing else. Peak memory is ru_maxrss of the process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

COLUMNS, EXPERTS, GROUP = 20, 8, 2**17
SPEC = """
data: {{file: {file}, response: y, split: {{test: 0}}, stream: {{}}}}
likelihood: {{family: normal}}
experts: {{number: 8, kind: linear}}
gate: {{kind: linear}}
fit: {{batch_size: {batch}, epochs: {epochs}, restarts: 1, mode: {mode}}}
"""
LEAST, MOST = 5 / 8, 1.5
"""The share of scikit-learn's rows a second, and the GiB, that are asked for."""


def write(path: Path, rows: int) -> None:
    """Write the table."""
    chance = np.random.default_rng(0)
    weights, gate = chance.normal(size=(2, COLUMNS, EXPERTS))
    names = [f"x{i}" for i in range(COLUMNS)] + ["y"]
    schema = pa.schema([(name, pa.float64()) for name in names])
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for first in range(0, rows, GROUP):
            x = chance.normal(size=(min(GROUP, rows - first), COLUMNS))
            z = (x @ gate + chance.gumbel(size=(len(x), EXPERTS))).argmax(1)
            y = (x @ weights)[np.arange(len(x)), z] + 0.5 * chance.normal(size=len(x))
            table = pa.table([*x.T.copy(), y], schema=schema)
            writer.write_table(table, row_group_size=GROUP)


def run(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, and its peak memory, GiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**20


def scikit_learn(spec: Path) -> None:
    """Fit by scikit-learn; write how long its parts took, seconds, beside the spec."""
    import torch
    from sklearn.linear_model import SGDRegressor
    from sklearn.preprocessing import StandardScaler

    torch.set_num_threads(1)
    from pyromoe.inference.fitting.streamed import StreamedBatches
    from pyromoe.models.data.data import load
    from pyromoe.models.specs.spec_file import read_spec

    file = read_spec(spec)
    started = time.perf_counter()
    scaler, table = StandardScaler(), pyarrow.parquet.ParquetFile(spec.with_name("rows.parquet"))
    for batch in table.iter_batches(2**16, use_threads=False):
        scaler.partial_fit(np.stack([batch.column(i).to_numpy() for i in range(COLUMNS)], 1))
    first_pass = time.perf_counter() - started
    data = load(file)
    assert data.stream is not None
    assert isinstance(file.spec.fit.batch_size, int)
    batches = StreamedBatches(data.stream, file.spec.fit.batch_size, range(1), file.spec)
    model, ends = SGDRegressor(), [time.perf_counter()]
    own = ends[0] - started - first_pass
    for _ in range(file.spec.fit.epochs):
        for found in batches.left(0):
            ((x, y),) = found.pieces
            model.partial_fit(x.numpy(), y.numpy())
        ends.append(time.perf_counter())
    times = {"first_pass": first_pass, "of_pyromoe": own, "ends": [e - ends[0] for e in ends[1:]]}
    spec.with_name("scikit_learn.json").write_text(json.dumps(times))


def fit(spec: Path, folder: Path) -> tuple[list[float], float, float]:
    """Fit by pyromoe; return when each epoch ended, seconds, the wall clock and the memory."""
    seconds, memory = run([sys.executable, "-m", "pyromoe", "fit", str(spec), "--out", str(folder)])
    with (folder / "history.csv").open() as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)], seconds, memory


def fit_other(spec: Path) -> tuple[list[float], float, float]:
    """Fit by scikit-learn; return the same."""
    seconds, memory = run([sys.executable, __file__, "--scikit-learn", str(spec)])
    found = json.loads(spec.with_name("scikit_learn.json").read_text())
    return found["ends"], seconds - found["of_pyromoe"], memory


def summary(found: list[tuple[list[float], float, float]], rows: int) -> tuple[float, ...]:
    """Return rows a second of the best epoch and of all epochs, the wall clock and the memory."""
    lengths = [b - a for ends, _, _ in found for a, b in pairwise([0.0, *ends])]
    ends = min((ends for ends, _, _ in found), key=lambda ends: ends[-1])
    whole, memory = min(w for _, w, _ in found), max(m for _, _, m in found)
    return rows / min(lengths), len(ends) * rows / ends[-1], whole, memory


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Run both; print and return rows a second, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--mode", default="compiled")
    parser.add_argument("--folder", type=Path, help="Where the file is kept for another time.")
    parser.add_argument("--scikit-learn", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.scikit_learn is not None:
        scikit_learn(chosen.scikit_learn)
        return {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        table = folder / f"rows-{chosen.rows}.parquet"
        if not table.exists():
            write(table, chosen.rows)
        spec = Path(temporary) / "spec.yaml"
        spec.with_name("rows.parquet").symlink_to(table.resolve())
        settings = {"batch": chosen.batch, "epochs": chosen.epochs, "mode": chosen.mode}
        spec.write_text(SPEC.format(file="rows.parquet", **settings))
        ours, others = [], []
        for repeat in range(chosen.repeats):
            ours.append(fit(spec, Path(temporary) / f"run-{repeat}"))
            others.append(fit_other(spec))
    rows = {"pyromoe fit, K = 8": ours, "SGDRegressor": others}
    found = {name: summary(each, chosen.rows) for name, each in rows.items()}
    print(f"{chosen.rows:,} rows, {COLUMNS} predictors, {chosen.epochs} epochs, {chosen.mode}")
    print(
        f"{'rows a second:':20}{'best epoch':>14}{'all epochs':>14}{'wall clock':>14}{'memory':>12}"
    )
    for name, values in found.items():
        print("{:20}{:14,.0f}{:14,.0f}{:12.1f} s{:8.2f} GiB".format(name, *values))
    own, other = found.values()
    ratios = own[0] / other[0], own[1] / other[1], other[2] / own[2]
    print("{:20}{:14.2f}{:14.2f}{:14.2f}".format("ratio", *ratios))
    print(f"asked for: {LEAST:.3f} of the rows a second, {MOST} GiB")
    return {"best": ratios[0], "all": ratios[1], "memory": own[3]}


if __name__ == "__main__":
    main()
