"""Posteriors as NetCDF files, for tests that read them without torch.

python tests/posteriors.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pyromoe.inference import fit, to_arviz, to_netcdf
from pyromoe.models import parse_spec

ROWS, DRAWS = 40, 120
SPEC = """
data: {{response: y, split: {{test: 0.0}}}}
likelihood: {{family: {family}}}
experts: {{number: 2}}
priors: {{scales: {{kind: normal}}}}
guide: {{weights: {weights}, warmup: 40}}
treatment: {treatment}
fit: {{restarts: 1, epochs: 20, batch_size: full, learning_rate: 0.05}}
output: {{draws: {draws}}}
seed: {seed}
"""


def table(family: str) -> dict[str, Any]:
    """Rows of two lines that cross, as numbers or as classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=ROWS)
    y = np.where(x > 0, 2 * x, -x) + 0.5 * generator.normal(size=ROWS)
    classes = np.array(["low", "middle", "high"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    return {"x": x, "y": classes if family == "categorical" else y}


def fitted(family: str, weights: str, treatment: str = "enumerate", seed: int = 0) -> Any:
    text = SPEC.format(family=family, weights=weights, treatment=treatment, draws=DRAWS, seed=seed)
    return fit(parse_spec(text, "spec.yaml"), table(family))


def write(folder: Path) -> None:
    """Write a file for each family and guide of the weights, and two fits as chains."""
    folder.mkdir(parents=True, exist_ok=True)
    for family in ("normal", "categorical"):
        for weights in ("point", "mean_field", "nuts"):
            found = to_arviz(fitted(family, weights))
            (folder / f"{family}-{weights}.nc").write_bytes(to_netcdf(found))
    treatment = "{name: gumbel_softmax, temperature: {start: 1.0, end: 0.3}}"
    both = [fitted("normal", "mean_field", treatment, seed) for seed in (0, 1)]
    (folder / "normal-chains.nc").write_bytes(to_netcdf(to_arviz(both)))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
