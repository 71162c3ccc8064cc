"""Coverage of intervals by each guide of the weights, where the truth is drawn from the prior.

    python benchmarks/coverage.py [--simulations 60] [--guides mean_field,low_rank,...] [--seed 0]

The simulations are those of calibration.py: 15 rows, two linear experts, a linear gate. For each
guide the table tells how often the true E[y] at three x, and the true residual scale, lie in the
central 50 % and 90 % of their draws, with a standard error, and the median of Pareto's k. NUTS
stands beside them as the reference. What is measured is printed, and nothing is asserted: a
posterior of independent normals is expected to be too narrow.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from calibration import (
    QUANTITIES,
    SPEC,
    K,
    Truth,
    machine,
    means,
    side_by_side,
    simulate,
)

from pyromoe.inference import fit
from pyromoe.inference.posterior.calibration import positions
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

GUIDES = ("mean_field", "low_rank", "full_rank", "flow", "laplace", "nuts")
STEPS = {
    "adam": "{optimiser: adam, learning_rate: 0.03, schedule: cosine, epochs: EPOCHS, "
    "batch_size: full, restarts: 2, precision: float64, mode: captured}",
    "mode": "{optimiser: lbfgs, restarts: 4, precision: float64}",
}
EPOCHS, DRAWS = 500, 200
SHARES = (0.5, 0.9)


class Task(NamedTuple):
    """A simulation for one guide."""

    guide: str
    number: int
    seed: int
    compile: bool


class Found(NamedTuple):
    """Where the truth of E[y] at three x and of the scale stands among draws, (4,), and k."""

    places: list[float]
    k: float


def run(task: Task) -> Found:
    """Fit one guide to one simulation."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([task.seed, task.number, 1])
    if task.guide == "nuts":
        outcome = machine(task.compile)(task.seed, task.number)
        own = [q for q, n in enumerate(QUANTITIES) if n[:4] == "E[y]" or n == "residual scale"]
        true, draws = outcome.true[own], outcome.draws[:, own]
        return Found(positions(true, draws.T, rng).tolist(), np.nan)
    truth = simulate(np.random.default_rng([task.seed, task.number]))  # as calibration.py's
    draws, k = of_guide(task, truth)
    true = np.append(means(truth.weights), truth.weights["likelihood.log_scale"])
    return Found(positions(true, draws.T, rng).tolist(), k)


def of_guide(task: Task, truth: Truth) -> tuple[NDArray[np.float64], float]:
    """Return the quantities at draws of a fitted guide, (S, 4), and Pareto's k."""
    steps = STEPS["mode" if task.guide == "laplace" else "adam"].replace("EPOCHS", str(EPOCHS))
    text = SPEC[: SPEC.index("guide:")] + f"guide: {{weights: {task.guide}}}\nfit: {steps}\n"
    spec = parse_spec(f"{text}seed: {task.number}\noutput: {{draws: {DRAWS}}}\n", "coverage").spec
    found = fit(spec, {"x": truth.x, "y": truth.y})
    rows = []
    for draw in found.weight_draws():
        w = {name: value.detach().numpy() for name, value in draw.items()}
        rows.append(np.append(means(w), w["likelihood.log_scale"]))
    return np.stack(rows), float(found.metrics["pareto_k"])


def main(given: list[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=60, help="for each guide")
    parser.add_argument("--guides", default=",".join(GUIDES), help="which, with commas")
    parser.add_argument("--processes", type=int, default=2, help="side by side")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument(
        "--mode", choices=("captured", "compiled"), default="compiled", help="of NUTS"
    )
    asked = parser.parse_args(given)
    columns = [f"{what}, {share:.0%}" for what in ("E[y]", "scale") for share in SHARES]
    print(f"{K} experts, {asked.simulations} simulations")
    print(f"{'guide':<12}" + "".join(f"{c:>17}" for c in columns) + f"{'k':>7}{'seconds':>9}")
    shown = {}
    for guide in asked.guides.split(","):
        started = time.perf_counter()
        numbers = range(asked.simulations)
        tasks = [Task(guide, n, asked.seed, asked.mode == "compiled") for n in numbers]
        found = list(side_by_side(run, tasks, asked.processes))
        shown[guide] = line(guide, found, time.perf_counter() - started)
    return shown


def line(guide: str, found: list[Found], seconds: float) -> list[float]:
    """Print a line of the table; return the coverages."""
    u = np.array([f.places for f in found])  # (n, 4)
    shares, cells = [], []
    for quantities in (slice(0, 3), slice(3, 4)):
        for share in SHARES:
            inside = (np.abs(u[:, quantities] - 0.5) < share / 2).mean(1)  # (n,)
            error = inside.std(ddof=1) / len(inside) ** 0.5
            shares.append(float(inside.mean()))
            cells.append(f"{shares[-1]:.2f} +- {error:.2f}")
    k = "" if guide == "nuts" else f"{np.median([f.k for f in found]):.2f}"
    print(
        f"{guide:<12}" + "".join(f"{c:>17}" for c in cells) + f"{k:>7}{seconds:>9.0f}", flush=True
    )
    return shares


if __name__ == "__main__":
    main()
