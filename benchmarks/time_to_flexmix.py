"""Time to a likelihood: maximum likelihood by this library and by R's flexmix, side by side.

The data are statsmodels' Engel data (food expenditure divided by 100, on standardised income); the
model is K normal linear experts, each with its own scale, and a gate linear in income. Both take
the same number of starts with their defaults: flexmix (Gruen and Leisch, 2008) EM from random
partitions, its gate by nnet; ours `pyromoe fit` with `fit.optimiser` left out. They run in turns,
and what is timed is the fit alone: R's packages and ours are loaded, and both have fitted the model
once before, with another seed. Our time includes what capturing the graphs takes, the simpler
models that are fitted beside the model, and the metrics.

    python benchmarks/time_to_flexmix.py --experts 3 --restarts 32

Needs Rscript with flexmix (on Debian: apt-get install r-base-core r-cran-flexmix).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import statsmodels.api as sm

from pyromoe.inference import fit
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd  # type: ignore[import-untyped]

SPEC = """
data: {{file: engel.csv, response: foodexp, split: {{test: 0}}}}
likelihood: {{family: normal}}
experts: {{number: {experts}}}
priors: {{experts: {{kind: none}}, gate: {{kind: none}}}}
fit: {{precision: float64, restarts: {restarts}}}
seed: {seed}
"""
SCRIPT = """
suppressMessages(library(flexmix))
given <- as.integer(commandArgs(TRUE)[2:4])
data <- read.csv(commandArgs(TRUE)[1])
data$income <- as.numeric(scale(data$income))
one <- function(seed) {
  set.seed(seed)
  model <- try(flexmix(foodexp ~ income, data = data, k = given[1],
                       concomitant = FLXPmultinom(~income)), silent = TRUE)
  if (inherits(model, "try-error")) NA else as.numeric(logLik(model))
}
invisible(one(999))
started <- proc.time()[[3]]
found <- sapply(given[3] * 1000 + seq_len(given[2]), one)
cat(proc.time()[[3]] - started, max(found, na.rm = TRUE), "\\n")
"""


def has_flexmix() -> bool:
    """Whether R and flexmix are there."""
    if shutil.which("Rscript") is None:
        return False
    code = 'quit(status = !requireNamespace("flexmix", quietly = TRUE))'
    return subprocess.run(["Rscript", "-e", code], check=False).returncode == 0


def engel() -> pd.DataFrame:
    """The data, food expenditure in hundreds."""
    table: pd.DataFrame = sm.datasets.engel.load_pandas().data
    return table.assign(foodexp=table["foodexp"] / 100)


def theirs(folder: Path, experts: int, restarts: int, seed: int) -> tuple[float, float]:
    """Seconds and the best log-likelihood of flexmix."""
    engel().to_csv(folder / "engel.csv", index=False)
    (folder / "script.R").write_text(SCRIPT)
    given = ["Rscript", "script.R", "engel.csv", *map(str, (experts, restarts, seed))]
    found = subprocess.run(given, cwd=folder, check=True, capture_output=True, text=True).stdout
    seconds, best = map(float, found.split())
    return seconds, best


def ours(experts: int, restarts: int, seed: int) -> tuple[float, float]:
    """Seconds and the log-likelihood of this library's fit."""
    table = engel()
    file = parse_spec(SPEC.format(experts=experts, restarts=restarts, seed=seed), "spec.yaml")
    started = time.perf_counter()
    result = fit(file, table)
    seconds = time.perf_counter() - started
    return seconds, result.metrics["log_likelihood"]["train"]


def main(given: Sequence[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--experts", type=int, default=3, help="K")
    parser.add_argument("--restarts", type=int, default=32, help="starts of each fit")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each, in turns")
    arguments = parser.parse_args(given)
    experts, restarts = arguments.experts, arguments.restarts
    found: dict[str, list[tuple[float, float]]] = {"pyromoe": []}
    ours(experts, min(restarts, 2), 999)
    if has_flexmix():
        found["flexmix"] = []
    else:
        print("flexmix is skipped: there is no Rscript with flexmix here")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            found["pyromoe"].append(ours(experts, restarts, seed))
            if "flexmix" in found:
                found["flexmix"].append(theirs(Path(folder), experts, restarts, seed))
    print(f"Engel data, K = {experts}, {restarts} starts, medians (least, most)")
    print(f"{'':10}{'seconds':>24}{'log p(y | x), nats':>34}")
    for name, pairs in found.items():
        times, bests = ([pair[i] for pair in pairs] for i in (0, 1))
        seconds = f"{statistics.median(times):.2f} ({min(times):.2f}, {max(times):.2f})"
        nats = f"{statistics.median(bests):.4f} ({min(bests):.4f}, {max(bests):.4f})"
        print(f"{name:10}{seconds:>24}{nats:>34}")
    if "flexmix" in found:
        print(reading(found))
    return found


def reading(found: dict[str, list[tuple[float, float]]]) -> str:
    """One sentence on the table."""
    pairs = list(zip(found["pyromoe"], found["flexmix"], strict=True))
    ratio = statistics.median(o[0] / t[0] for o, t in pairs)
    reached = sum(o[1] >= t[1] - 1e-3 for o, t in pairs)
    return (
        f"Ours takes {ratio:.2f} of the time of flexmix, and its log-likelihood is as high in "
        f"{reached} of {len(pairs)} pairs."
    )


if __name__ == "__main__":
    main()
