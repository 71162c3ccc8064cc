"""Held-out log p(y | x) of a gaussian gate beside a linear one, by 5 folds.

    python benchmarks/gaussian_gate.py [--data wine,iris,breast_cancer,diabetes] [--seed 0]
    python benchmarks/gaussian_gate.py --data wine --labels 0.15

What each `density` of the gate, the weight of log p(x), makes of tables where the predictors tell
the experts apart and of such where they do not. Differences from the linear gate are paired. With
`--labels`, the responses of so large a part of the training rows are known, and all rows are used.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from pyromoe.inference import fit, predict
from pyromoe.models import parse_spec
from pyromoe.models.tables.datasets import read_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyromoe.models.specs.spec_file import SpecFile

CASES = {
    "wine": ("categorical", "{number: 3, predictors: []}"),
    "iris": ("categorical", "{number: 3, predictors: []}"),
    "breast_cancer": ("bernoulli", "{number: 2, predictors: []}"),
    "diabetes": ("normal", "{number: 2}"),
}
"""The family and the experts of each table."""
GATES = {
    "linear": "{kind: linear}",
    "density 0": "{kind: gaussian, density: 0}",
    "density 0.1": "{kind: gaussian, density: 0.1}",
    "density 1": "{kind: gaussian}",
    "full, density 1": "{kind: gaussian, covariance: full}",
}


def folds(y: NDArray[Any], classes: bool) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The places of the fitted and of the held-out rows of each fold."""
    splitter = (StratifiedKFold if classes else KFold)(5, shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(y)), y))


def spec_of(name: str, response: str, gate: str, seed: int) -> SpecFile:
    """The mixture for a table, with a gate."""
    family, experts = CASES[name]
    text = f"""
data: {{response: {response}, split: {{test: 0}}, missing: {{responses: marginalise}}}}
likelihood: {{family: {family}}}
experts: {experts}
gate: {gate}
priors: {{experts: {{scale: {1 if family == "normal" else 10}}}}}
fit: {{optimiser: lbfgs, restarts: 8}}
seed: {seed}
"""
    return parse_spec(text, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", default=",".join(CASES), help="divided by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=float, default=1.0, help="part of them that is known")
    arguments = parser.parse_args()
    print("-log p(y | x), nats a held-out row, +- standard error of the difference from linear")
    for name in arguments.data.split(","):
        table, response = read_dataset(name)
        assert response is not None
        columns = {column: table[column].to_numpy() for column in table.column_names}
        each = folds(columns[response], CASES[name][0] != "normal")
        first = np.zeros(0)
        for gate, settings in GATES.items():
            spec, found = spec_of(name, response, settings, arguments.seed), []
            for inside, outside in each:
                train, test = ({n: c[at] for n, c in columns.items()} for at in (inside, outside))
                known = np.random.default_rng(1).random(len(inside)) < arguments.labels
                train[response] = np.where(known, train[response].astype(object), None)
                found.append(-predict(fit(spec, train), test)["log_density"].to_numpy())
            rows = np.concatenate(found)
            first = first if len(first) else rows
            error = np.std(rows - first, ddof=1) / np.sqrt(len(rows))
            print(f"{name:14s} {gate:16s} {rows.mean():8.4f} +- {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
