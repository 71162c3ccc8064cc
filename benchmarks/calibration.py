"""Simulation-based calibration of the draws by NUTS, z summed out: are they from the posterior?

    python benchmarks/calibration.py [--simulations 1000] [--processes 2] [--seed 0]

Weights, z and y are drawn from the prior by NumPy, two linear experts and a linear gate with 15
rows; NUTS runs as in a fit, from the best of a few searches for the mode that start at draws of the
prior. The true value of a quantity that does not depend on how experts are numbered then has a
uniform rank among its draws (`pyromoe.inference.posterior.calibration`). The table has the tests'
z, and the smallest of three p-values, which is to be above 0.001 over the number of tests; the last
line says whether it is. Ends with status 1 otherwise.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import platform
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import arviz
import numpy as np
import pyro
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.nuts import chain_from
from pyromoe.inference.fitting.weights import LogPosterior
from pyromoe.inference.posterior.calibration import calibrated, positions, uniformity
from pyromoe.inference.steps import graph as graphs
from pyromoe.models import log_joint
from pyromoe.models.data.data import from_table
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.models.trace import Weights

    FloatArray = NDArray[np.float64]

Task = TypeVar("Task")
Result = TypeVar("Result")

N, K = 15, 2
EXPERTS, GATE, SCALES = 1.0, 0.7, 0.3
WARMUP, KEPT, THIN = 100, 50, 2
SEARCHES = 4
AT = np.array([-1.5, 0.0, 1.5])
SPEC = f"""
data: {{response: y, split: {{test: 0.0}}, standardise: none}}
likelihood: {{family: normal, scale: shared}}
experts: {{number: {K}}}
priors:
  experts: {{kind: normal, scale: {EXPERTS}}}
  gate: {{kind: normal, scale: {GATE}}}
  scales: {{kind: normal, scale: {SCALES}}}
guide: {{weights: nuts, warmup: WARMUP}}
fit: {{optimiser: lbfgs, precision: float64}}
"""
QUANTITIES = (
    "log p(y | x, v)",
    "log p(y, v | x)",
    "log p(y, z | x, v)",
    *(f"E[y] at x = {x:g}" for x in AT),
    "larger gate mass",
    "residual scale",
    "z_1 = z_2",
    "rows of the larger",
)


class Truth(NamedTuple):
    """What a simulation draws: weights by their sites' names, and the rows."""

    weights: dict[str, FloatArray]
    z: NDArray[np.int64]
    x: FloatArray
    y: FloatArray


def from_prior(rng: np.random.Generator) -> dict[str, FloatArray]:
    """Draw the weights, by their sites' names."""
    return {
        "experts.weight_0": EXPERTS * rng.normal(size=(K, 1, 1)),
        "experts.bias_0": EXPERTS * rng.normal(size=(K, 1, 1)),
        "gate.weight_0": GATE * rng.normal(size=(1, 1, K)),
        "gate.bias_0": GATE * rng.normal(size=(1, 1, K)),
        "likelihood.log_scale": SCALES * rng.normal(size=(1, 1)),
    }


def simulate(rng: np.random.Generator) -> Truth:
    """Draw weights, z and y, by NumPy: nothing here is the library's."""
    w, x = from_prior(rng), rng.normal(size=N)
    logits = x[:, None] * w["gate.weight_0"][0] + w["gate.bias_0"][0]  # (N, K)
    z = (logits + rng.gumbel(size=(N, K))).argmax(1)
    loc = x * w["experts.weight_0"][z, 0, 0] + w["experts.bias_0"][z, 0, 0]
    # The library's floor of every scale.
    scale = np.exp(w["likelihood.log_scale"][0, 0]) + 1e-4
    return Truth(w, z, x, loc + scale * rng.normal(size=N))


def means(w: Mapping[str, FloatArray]) -> FloatArray:
    """Return E[y | x, w] at `AT`, (3,)."""
    slope, intercept = (w[f"experts.{name}_0"][:, 0, 0] for name in ("weight", "bias"))
    logits = AT[:, None] * w["gate.weight_0"][0] + w["gate.bias_0"][0]  # (3, K)
    share = np.exp(logits - logits.max(1, keepdims=True))
    total: FloatArray = (share * (AT[:, None] * slope + intercept)).sum(1) / share.sum(1)
    return total


class Machine:
    """The posterior of any data of the same size, captured once.

    Args:
        compile: whether to compile it too, which takes ten seconds the first time.
    """

    def __init__(self, compile: bool) -> None:
        self.spec = parse_spec(SPEC.replace("WARMUP", str(WARMUP)), "calibration").spec
        first = simulate(np.random.default_rng(0))
        data = from_table(self.spec, {"x": first.x, "y": first.y})
        generator = torch.Generator().manual_seed(0)
        self.model, guide = build(self.spec, None, data.encoding, generator)
        self.posterior = LogPosterior(self.model, guide, data, self.spec)
        self.weights = self.posterior.weights
        given = [self.weights.vector(), self.posterior.x, self.posterior.y]
        with pyro.validation_enabled(False):
            graph: Any = graphs.capture(self._of_rows, given)
        self.graph = graphs.compiled(graph, given) if compile else graph

    def _of_rows(self, v: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
        self.posterior.x, self.posterior.y = x, y
        return self.posterior.with_slope(v)

    def with_slope(self, v: Tensor) -> list[Tensor]:
        """Return log p(y, v | x) and its gradient at the rows of the moment."""
        with torch.no_grad():
            return self.graph(v, self.posterior.x, self.posterior.y)

    def vector(self, w: dict[str, FloatArray]) -> Tensor:
        """Return weights as one vector, (P,)."""
        return torch.from_numpy(np.concatenate([w[name].ravel() for name in self.weights.names]))

    def mode(self, rng: np.random.Generator) -> Tensor:
        """Return the best of a few local maxima, (P,); the searches start at draws of the prior."""

        def negative(v: FloatArray) -> tuple[float, FloatArray]:
            value, slope = self.with_slope(torch.from_numpy(v))
            return -float(value), -slope.numpy()

        starts = [self.vector(from_prior(rng)).numpy() for _ in range(SEARCHES)]
        ends = [minimize(negative, start, jac=True, method="L-BFGS-B") for start in starts]
        return torch.from_numpy(min(ends, key=lambda end: float(end.fun)).x)

    @torch.no_grad()
    def quantities(self, v: Tensor, z: NDArray[np.int64] | None, rng: Any) -> FloatArray:
        """Return what does not depend on how experts are numbered, (Q,); z is drawn where None."""
        w: Weights = self.weights.weights_at(v)
        x, y = self.posterior.x, self.posterior.y
        joint = log_joint(self.model, x, y, weights=w)
        each = joint.enumerate().numpy().T  # (N, K)
        gate = joint.log_prior.exp().numpy()
        if z is None:
            z = (each + rng.gumbel(size=each.shape)).argmax(1)
        return np.array(
            [
                np.logaddexp.reduce(each, 1).sum(),
                float(self.with_slope(v)[0]),
                each[np.arange(N), z].sum(),
                *means({name: value.numpy() for name, value in w.items()}),
                gate.mean(0).max(),
                float(w["likelihood.log_scale"]),
                float(z[0] == z[1]),
                float(np.bincount(z, minlength=K).max()),
            ]
        )

    def __call__(self, seed: int, number: int) -> Outcome:
        """Run one simulation."""
        rng = np.random.default_rng([seed, number])
        truth = simulate(rng)
        self.posterior.x = torch.from_numpy(truth.x)[:, None]
        self.posterior.y = torch.from_numpy(truth.y)
        spec = self.spec.model_copy(update={"seed": int(rng.integers(2**31))})
        with pyro.validation_enabled(False):
            mode = self.mode(rng)
            kept, diverged = chain_from(self.with_slope, mode, spec, (0, KEPT * THIN))
            levels = np.array([float(self.with_slope(v)[0]) for v in kept]).reshape(2, -1)
            true = self.quantities(self.vector(truth.weights), truth.z, rng)
            draws = np.stack([self.quantities(v, None, rng) for v in kept[THIN - 1 :: THIN]])
        each = arviz.ess(levels), arviz.rhat(levels)
        return Outcome(true, draws, int(diverged.sum()), *map(float, each))


class Outcome(NamedTuple):
    """A simulation's quantities, (Q,) and (L, Q), and how well the chain moved."""

    true: FloatArray
    draws: FloatArray
    diverged: int
    ess: float
    r_hat: float


@functools.cache
def machine(compile: bool) -> Machine:
    torch.set_num_threads(1)
    return Machine(compile)


def run(task: tuple[int, int, bool]) -> Outcome:
    seed, number, compile = task
    return machine(compile)(seed, number)


def outcomes(simulations: int, seed: int, processes: int, compile: bool) -> Iterator[Outcome]:
    yield from side_by_side(run, [(seed, n, compile) for n in range(simulations)], processes)


def side_by_side(
    function: Callable[[Task], Result], tasks: Sequence[Task], processes: int
) -> Iterator[Result]:
    """Yield what a function makes of each task, in order, by processes of one thread."""
    if processes == 1:
        yield from map(function, tasks)
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(function, tasks)


def main(given: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=1000, help="how many")
    parser.add_argument("--processes", type=int, default=2, help="side by side")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--mode", choices=("captured", "compiled"), default="compiled")
    asked = parser.parse_args(given)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, "
        f"{asked.processes} processes of one thread"
    )
    started, found = time.perf_counter(), list[Outcome]()
    how = asked.simulations, asked.seed, asked.processes, asked.mode == "compiled"
    try:
        for outcome in outcomes(*how):
            found.append(outcome)
            if len(found) % max(1, asked.simulations // 20) == 0:
                seconds = time.perf_counter() - started
                print(f"{len(found)} simulations, {seconds:.0f} s", flush=True)
    except KeyboardInterrupt:  # what is there is worth a table
        print("interrupted")
    return report(found, asked.seed)


def report(found: list[Outcome], seed: int) -> bool:
    """Print a table and whether the draws are calibrated, which is returned."""
    ess, r_hat = (np.array([getattr(f, name) for f in found]) for name in ("ess", "r_hat"))
    diverged = sum(f.diverged for f in found)
    print(
        f"effective size of f in {KEPT * THIN} draws: median {np.median(ess):.0f}, "
        f"tenth {np.quantile(ess, 0.1):.0f}; R-hat above 1.05: {(r_hat > 1.05).sum()}; "
        f"divergences: {diverged}, in {sum(f.diverged > 0 for f in found)} simulations"
    )
    rng = np.random.default_rng([seed, 2**31])
    true, draws = np.stack([f.true for f in found]), np.stack([f.draws for f in found])
    tests = {
        name: uniformity(positions(true[:, q], draws[:, :, q], rng))
        for q, name in enumerate(QUANTITIES)
    }
    print(
        f"{'quantity':<22}{'z of mean':>10}{'z of variance':>15}{'p of chi2':>11}{'smallest':>10}"
    )
    for name, t in tests.items():
        print(f"{name:<22}{t.mean:>10.2f}{t.variance:>15.2f}{t.p_bins:>11.3f}{t.smallest:>10.4f}")
    good = calibrated(tests)
    print(
        f"{len(found)} simulations, {3 * len(tests)} tests at 0.001 together: "
        f"{'calibrated' if good else 'NOT calibrated'}"
    )
    return good


if __name__ == "__main__":
    sys.exit(not main())
