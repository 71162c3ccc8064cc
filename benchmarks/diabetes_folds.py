"""Held-out -log p(y | x) on diabetes with one to four linear experts, at the default priors.

    python benchmarks/diabetes_folds.py [--experts 1,2,4] [--weights nuts] [--draws 400]

scikit-learn's 442 rows, KFold of 5, shuffled, random_state 0; nats a row on the original scale, the
mean over draws of the weights. R's flexmix (10 predictors, gate of bmi and s5) has 5.3876 on these
folds with two experts, 5.493 with three and 5.679 with four. Beside each number stands the standard
error of the difference to the number before, row by row. NUTS takes 6 to 10 minutes a number.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.model_selection import KFold

from pyromoe.inference import fit, predict
from pyromoe.models import Spec
from pyromoe.models.tables.datasets import read_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

ASKED = 5.3876


def held_out(number: int, weights: str, draws: int) -> tuple[NDArray[np.float64], float]:
    """-log p(y | x) of each row by a fit that has not seen it, (N,), and the mean of seen ones."""
    table, response = read_dataset("diabetes")
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    spec = Spec.model_validate(
        {
            "data": {"response": response, "split": {"test": 0.0}},
            "likelihood": {"family": "normal"},
            "experts": {"number": number},
            "gate": {"kind": "linear" if number > 1 else "equal"},
            "guide": {"weights": weights, "warmup": 200},
            "output": {"draws": draws},
        }
    )
    found, seen = np.empty(table.num_rows), []
    for inside, outside in KFold(5, shuffle=True, random_state=0).split(found[:, None]):
        train, test = ({n: c[at] for n, c in columns.items()} for at in (inside, outside))
        fitted = fit(spec, train)
        found[outside] = -predict(fitted, test)["log_density"].to_numpy()
        seen.append(-predict(fitted, train)["log_density"].to_numpy().mean())
    return found, float(np.mean(seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--experts", default="1,2,4", help="numbers, divided by commas")
    parser.add_argument("--weights", default="nuts", help="guide.weights of a spec")
    parser.add_argument("--draws", type=int, default=400, help="of the weights, in all chains")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = None
    print(f"at most {ASKED} with two experts is asked\n   K  held out  training  - before")
    for number in map(int, arguments.experts.split(",")):
        started = time.perf_counter()
        each, seen = held_out(number, arguments.weights, arguments.draws)
        text = f"{number:4d}  {each.mean():8.4f}  {seen:8.4f}"
        if before is not None:
            gap = each - before
            error = gap.std(ddof=1) / len(gap) ** 0.5
            text += f"  {gap.mean():+.4f} +- {error:.4f}"
        print(f"{text}  ({time.perf_counter() - started:.0f} s)", flush=True)
        before = each


if __name__ == "__main__":
    main()
