"""The section on the posterior of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.report.page import Section, Table
from pyromoe.inference.runs.reading import open_posterior

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from pyromoe.inference.report.run_files import RunFiles

MOST = 60
"""Rows of the table."""
OF_Z = ("z", "resp")


def weights_section(run: RunFiles) -> Iterator[Section]:
    """Yield means and intervals of the coefficients, where weights have a posterior."""
    if not run.fit.guide.weights.spread:
        return
    with open_posterior(run.folder) as tree:
        posterior = tree["posterior"].to_dataset()
        rows = [row for name in posterior if name not in OF_Z for row in _rows(posterior[name])]
    guide, of = run.fit.spec.guide.weights, run.of
    text = f"Guide {guide}; {of.draws} draws in {of.chains} chain{'s' if of.chains > 1 else ''}."
    if not rows:
        yield Section("Posterior of the weights", (text, "Networks have no coefficients to list."))
        return
    some = f", the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    table = Table(
        f"Coefficients of encoded predictors{some}",
        ("parameter", "of", "mean", "sd", "5%", "95%"),
        tuple(rows[:MOST]),
        "for predictors and responses as they were standardised; more with ArviZ from posterior.nc",
    )
    yield Section("Posterior of the weights", (text,), (table,))


def _rows(values: xr.DataArray) -> Iterator[tuple[object, ...]]:
    """Yield mean, standard deviation and interval of every number of a parameter."""
    flat = values.stack(sample=("chain", "draw"))
    dims = [d for d in values.dims if d not in ("chain", "draw")]
    for place in np.ndindex(*(values.sizes[d] for d in dims)):
        own = flat.isel(dict(zip(dims, place, strict=True))).to_numpy()
        of = ", ".join(
            f"{d.replace('_', ' ')} {values[d].to_numpy()[i]}"
            for d, i in zip(map(str, dims), place, strict=True)
        )
        low, high = np.quantile(own, [0.05, 0.95])
        yield (
            str(values.name).replace("_", " "),
            of,
            float(own.mean()),
            float(own.std()),
            float(low),
            float(high),
        )
