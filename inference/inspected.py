"""Rows and experts of a run, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pyromoe.inference.inspection import bar_lines
from pyromoe.inference.natural import Natural
from pyromoe.inference.pictures import rows_of
from pyromoe.inference.pictures.rows import as_data
from pyromoe.inference.prediction import described
from pyromoe.inference.store import load_fit
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.experts import expert_bars, number
from pyromoe.inference.summaries.summary import Bar
from pyromoe.models.errors import InputError, one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyromoe.inference.natural import Named
    from pyromoe.inference.result import Fit
    from pyromoe.inference.summaries.assignments import Assignments

LEVELS = (0.05, 0.95)
"""Ends of the predictive interval of a number."""
SHOWN = 8
"""Experts of a row, and classes."""
ROWS = 12
"""Rows of an expert."""
NAME = 40


def read_numbers(text: str) -> list[int]:
    """Return the rows of e.g. `3,17`.

    Raises:
        InputError: for what is not a list of whole numbers.

    >>> read_numbers("3, 17")
    [3, 17]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        what = f"cannot read {quoted(text)}"
        raise InputError(what, field="--obs", remedy="give rows, as in 3,17") from None


def row_lines(folder: Path, rows: Sequence[int]) -> Iterator[str]:
    """Yield the response, the prediction and the responsibilities of training rows.

    Raises:
        InputError: for a row that was not trained on, and a directory that is not a run.
    """
    fit, of = load_fit(folder), read_assignments(folder)
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        x = rows_of(fit, tree).x
    places = [_place(of, row) for row in rows]
    said = described(fit, as_data(fit, x[places]), fit.weight_draws(), LEVELS_OF(fit), per_expert=False)
    for i, place in enumerate(places):
        own = {name: values.reshape(len(places))[i] for name, values in said.items()}
        yield from _row_lines(fit, of, place, own)
