"""Held-out log p(y | x) by 5 outer folds, the number of experts chosen inside each of them.

    python benchmarks/selected_folds.py [--data wine,breast_cancer,digits] [--inner 5]

Folds are scikit-learn's, shuffled, random_state 0, and keep classes in proportion. In every fold
`select` sees its 4/5 of the rows alone; what it recommends is fitted to them and predicts the rest.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from pyromoe.inference import predict, select
from pyromoe.models import parse_spec
from pyromoe.models.tables.datasets import read_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Case(NamedTuple):
    """A table, the spec of its mixture, the numbers of experts to choose from, what is asked."""

    spec: str
    experts: list[int]
    asked: float


CASES = {
    "wine": Case(
        """
data: {response: RESPONSE, split: {test: 0}}
likelihood: {family: categorical}
experts: {predictors: []}
gate: {kind: gaussian}
priors: {experts: {scale: 10}}
fit: {optimiser: lbfgs, restarts: 8}
""",
        [1, 2, 3],
        0.0421,
    ),
    "breast_cancer": Case(
        """
data: {response: RESPONSE, split: {test: 0}}
likelihood: {family: bernoulli}
priors: {experts: {kind: normal, scale: 1}}
fit: {optimiser: lbfgs, restarts: 4}
""",
        [1, 2, 3],
        0.0738,
    ),
    "digits": Case(
        """
data: {response: RESPONSE, split: {test: 0}}
likelihood: {family: categorical}
experts: {kind: mlp, hidden: [256], activation: gelu}
gate: {kind: mlp, hidden: [16], activation: gelu}
priors: {experts: {scale: 30}, gate: {scale: 0.3}}
fit: {batch_size: 128, epochs: 80, learning_rate: 0.02, schedule: cosine, restarts: 1}
""",
        [1, 4, 8],
        0.0715,
    ),
}


def folds(y: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The places of the fitted and of the held-out rows of each fold."""
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(y)), y))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", default="wine,breast_cancer,digits", help="divided by commas")
    parser.add_argument("--inner", type=int, default=5, help="folds of select")
    arguments = parser.parse_args()
    for name in arguments.data.split(","):
        case = CASES[name]
        table, response = read_dataset(name)
        assert response is not None
        columns = {column: table[column].to_numpy() for column in table.column_names}
        spec = parse_spec(case.spec.replace("RESPONSE", response), name)
        print(f"{name}: at most {case.asked:.4f} nats a datum is asked")
        print("fold  chosen  -log p    each number, by the inner folds")
        found = []
        for fold, (inside, outside) in enumerate(folds(columns[response])):
            started = time.perf_counter()
            train, test = ({n: c[at] for n, c in columns.items()} for at in (inside, outside))
            chosen = select(spec, train, experts=case.experts, folds=arguments.inner)
            found.append(-np.mean(predict(chosen.fit, test)["log_density"].to_numpy()))
            inner = ", ".join(
                f"{row['candidate']} {-row['held_out_log_likelihood']:.4f}"
                for row in chosen.rows
                if "failure" not in row
            )
            number = chosen.fit.spec.experts.number
            seconds = time.perf_counter() - started
            print(
                f"{fold:4d}  {number:6d}  {found[-1]:.4f}    {inner}  ({seconds:.0f} s)", flush=True
            )
        mean, spread = np.mean(found), np.std(found, ddof=1)
        verdict = "reached" if mean <= case.asked else "missed"
        print(f"{name}: {mean:.4f} +- {spread:.4f} (standard deviation over folds), {verdict}\n")


if __name__ == "__main__":
    main()
