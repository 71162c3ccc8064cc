"""Held-out -log p(y | x) of the default settings beside priors, decay, early stopping and dropout.

    python benchmarks/regularisation.py [diabetes ...] [--folds 5]

z is summed out, in the fit and in what is reported: nats a row on the original scale, the mean over
the held-out rows of all folds, and beside it the standard error of the difference to the default,
row by row. Rows kept back to stop early are taken from the fitted folds alone. Every default but
the number of starts, two, or one for digits.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.datasets import make_friedman1
from sklearn.model_selection import KFold, StratifiedKFold

from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.svi import fit
from pyromoe.models import Spec
from pyromoe.models.data.data import as_rows, encode_part, from_table
from pyromoe.models.tables.datasets import read_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[Any]]
    Tree = dict[str, Any]

NO_PRIOR: Tree = {"experts": {"kind": "none"}, "gate": {"kind": "none"}}


@dataclass(frozen=True)
class Problem:
    """A table, a family and what the model has beside the defaults."""

    dataset: str
    family: str
    experts: Tree
    fit: Tree = field(default_factory=lambda: {"restarts": 2, "mode": "captured"})


MLP: Tree = {"number": 2, "kind": "mlp", "hidden": [32]}
PROBLEMS = {
    "diabetes": Problem("diabetes", "normal", {"number": 2}),
    "diabetes_4": Problem("diabetes", "normal", {"number": 4}),
    "wine": Problem("wine", "categorical", {"number": 4}),
    "breast_cancer": Problem("breast_cancer", "bernoulli", {"number": 4}),
    "friedman_mlp": Problem("friedman", "normal", MLP),
    "diabetes_mlp": Problem("diabetes", "normal", MLP),
    "breast_cancer_mlp": Problem("breast_cancer", "bernoulli", MLP),
    "digits": Problem("digits", "categorical", {"number": 4}, {"restarts": 1, "mode": "captured"}),
}


def prior(experts: float, gate: float) -> Tree:
    """Normal priors of these scales."""
    scales = {"experts": experts, "gate": gate}
    return {"priors": {n: {"kind": "normal", "scale": s} for n, s in scales.items()}}


VARIANTS: dict[str, Tree] = {
    "default": {},
    "to the mode: lbfgs": {"fit": {"optimiser": "lbfgs"}},
    "priors 2.5 and 1": prior(2.5, 1.0),
    "priors 1 and 0.3": prior(1.0, 0.3),
    "priors 0.3 and 0.3": prior(0.3, 0.3),
    "adamw, decay 0.1": {"fit": {"optimiser": "adamw", "weight_decay": 0.1}},
    "early stopping": {"fit": {"early_stopping": {}}},
    "no priors": {"priors": NO_PRIOR},
    "no priors, early stopping": {"priors": NO_PRIOR, "fit": {"early_stopping": {}}},
    "dropout 0.1": {"experts": {"dropout": 0.1}},
    "dropout 0.3": {"experts": {"dropout": 0.3}},
    "dropout 0.3, early stopping": {
        "experts": {"dropout": 0.3},
        "fit": {"early_stopping": {}},
    },
}


def columns_of(problem: Problem) -> tuple[Columns, str]:
    """The columns of a table, and which one is the response."""
    if problem.dataset == "friedman":
        x, y = make_friedman1(400, 10, noise=1.0, random_state=0)
        return {**{f"x{d}": c for d, c in enumerate(x.T)}, "y": y}, "y"
    table, response = read_dataset(problem.dataset)
    assert response is not None
    return {name: table[name].to_numpy() for name in table.column_names}, response


def variants_of(problem: Problem) -> Iterator[tuple[str, Tree]]:
    """The rows of the table of a problem; a network has dropout, and takes long to its mode."""
    deep, large = problem.experts.get("kind") == "mlp", problem.dataset == "digits"
    for name, variant in VARIANTS.items():
        if deep or "experts" not in variant:
            if not ((deep or large) and "lbfgs" in name):
                yield name, variant


def spec_of(problem: Problem, response: str, variant: Tree) -> Spec:
    """The settings of a row, all rows of the table fitted to."""
    return Spec.model_validate(
        {
            "data": {"response": response, "split": {"test": 0.0}},
            "likelihood": {"family": problem.family},
            "priors": variant.get("priors", {}),
            **{n: getattr(problem, n) | variant.get(n, {}) for n in ("experts", "fit")},
        }
    )


def held_out(
    problem: Problem, columns: Columns, response: str, variant: Tree, folds: int
) -> NDArray[np.float64]:
    """The -log p(y | x) of every row by a fit of the other folds, in nats, (N,)."""
    y, spec = columns[response], spec_of(problem, response, variant)
    found, kind = np.empty(len(y)), KFold if problem.family == "normal" else StratifiedKFold
    for inside, outside in kind(folds, shuffle=True, random_state=0).split(y[:, None], y):
        train, test = ({n: c[at] for n, c in columns.items()} for at in (inside, outside))
        fitted = fit(spec, data=from_table(spec, train))
        part = encode_part(fitted.encoding, as_rows(test))
        found[outside] = -fitted.log_likelihood(*to_tensors(part, fitted.spec)).double().numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS), help="names of problems")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows that have this in their names")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.problems:
        problem, default = PROBLEMS[name], None
        columns, response = columns_of(problem)
        print(f"\n{name}: {problem.family}, {problem.experts}\n{'':28} -log p  - default  seconds")
        for row, variant in variants_of(problem):
            if arguments.only not in row and row != "default":
                continue
            started = time.perf_counter()
            each = held_out(problem, columns, response, variant, arguments.folds)
            default = each if default is None else default
            gap = each - default
            error, seconds = gap.std(ddof=1) / len(gap) ** 0.5, time.perf_counter() - started
            text = f"{row:28} {each.mean():6.4f}  {gap.mean():+7.4f} +- {error:6.4f}"
            print(f"{text}  {seconds:5.1f}", flush=True)


if __name__ == "__main__":
    main()
