"""Held-out log p(y | x) and accuracy of a mixture of experts on the digits, by 5-fold splits.

    python benchmarks/digits_folds.py [--seeds 0,1,2] [--spec examples/digits.yaml]

z is summed out, in the fit and in what is reported. Each fold is fitted once, on its 4/5 alone;
predictors are standardised with the means and spreads of those rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from pyromoe.inference.svi import fit
from pyromoe.models import read_spec
from pyromoe.models.data.data import encode_table, from_table
from pyromoe.models.specs.fit_settings import Treatment
from pyromoe.models.tables.datasets import read_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyromoe.models import Spec

SPEC = Path(__file__).parent.parent / "examples" / "digits.yaml"
NUM_FOLDS = 5
TARGET = (-0.0715, 0.980)
"""Measured with the same folds for a dense network of 8 experts, a public sparse-MoE layer."""


def digits() -> tuple[dict[str, NDArray[Any]], str]:
    """The columns of scikit-learn's digits in its order, and which one is the response."""
    table, response = read_dataset("digits")
    assert response is not None
    return {name: table[name].to_numpy() for name in table.column_names}, response


def folds(y: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The places of the fitted and of the held-out rows of each fold."""
    splitter = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    yield from splitter.split(np.zeros((len(y), 1)), y)


def settings(path: Path, response: str, seed: int) -> Spec:
    """The settings of a spec, with all rows of a table fitted to, once, z summed out."""
    spec = read_spec(path).spec
    split = spec.data.split.model_copy(update={"test": 0.0})
    changes: dict[str, Any] = {
        "data": spec.data.model_copy(update={"split": split, "response": response}),
        "fit": spec.fit.model_copy(update={"restarts": 1}),
        "treatment": Treatment(name="enumerate"),
        "objective": "marginal",
        "guide": spec.guide.model_copy(update={"z": None}),
        "seed": seed,
    }
    return spec.model_copy(update=changes)


def held_out(spec: Spec, train: dict[str, Any], test: dict[str, Any]) -> tuple[float, float, float]:
    """Mean log p(y | x) in nats a datum and accuracy on held-out rows, and seconds of the fit."""
    data = from_table(spec, train)
    fitted = fit(spec, data=data)
    x, y = encode_table(data.encoding, test, need_response=True)
    assert y is not None
    assert set(y) == set(range(10)), "a class is missing"
    design = torch.from_numpy(x).to(getattr(torch, spec.fit.precision))
    log_p = fitted.log_likelihood(design, torch.from_numpy(y)).double()
    right = fitted.mean(design).argmax(-1) == y
    return float(log_p.mean()), float(right.mean()), float(fitted.metrics["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", default="0", help="starts, divided by commas")
    parser.add_argument("--spec", type=Path, default=SPEC, help="the settings of model and fit")
    arguments = parser.parse_args()
    columns, response = digits()
    print(f"target: log p(y | x) {TARGET[0]:.4f} nats a datum, accuracy {TARGET[1]:.3f}")
    print("seed  fold   log p  accuracy  seconds")
    for seed in [int(part) for part in arguments.seeds.split(",")]:
        spec = settings(arguments.spec, response, seed)
        rows = []
        for fold, (inside, outside) in enumerate(folds(columns[response])):
            train, test = ({n: c[at] for n, c in columns.items()} for at in (inside, outside))
            rows.append(held_out(spec, train, test))
            log_p, accuracy, seconds = rows[-1]
            print(f"{seed:4d}  {fold:4d} {log_p:7.4f}  {accuracy:8.4f}  {seconds:7.1f}", flush=True)
        mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1)
        print(
            f"seed {seed}: log p(y | x) {mean[0]:.4f} +- {spread[0]:.4f} nats a datum, "
            f"accuracy {mean[1]:.4f} +- {spread[1]:.4f} (standard deviation over folds)"
        )


if __name__ == "__main__":
    main()
