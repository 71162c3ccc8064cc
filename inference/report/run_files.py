"""All that a run directory holds, read once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.pictures import Shown, palette, rows_of
from pyromoe.inference.posterior.simulation import original
from pyromoe.inference.runs.reading import open_posterior, read_history
from pyromoe.inference.runs.store import load_fit, with_data
from pyromoe.inference.summaries.assignments import Assignments, read_assignments
from pyromoe.models.errors import InputError
from pyromoe.models.tables.groups import NOTHING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit

DRAWS = 100
"""Of the weights."""

STREAMED = "the table is streamed, and is not read again for a report"


@dataclass(frozen=True)
class RunFiles:
    """A run.

    Attributes:
        folder: where it is.
        fit: its fit, without the data.
        of: its assignments.
        rows: its training rows.
        held_out: x, encoded, and y of its test rows, as `rows` has them; None where there are none,
            or the data cannot be read any more.
        missing: why they cannot; empty where they can.
        history: of its steps.
        colours: of its experts.
    """

    folder: Path
    fit: Fit
    of: Assignments
    rows: Shown
    held_out: tuple[Tensor, NDArray[np.float64]] | None
    missing: str
    history: list[dict[str, Any]]
    colours: tuple[str, ...]


def read_run(folder: Path) -> RunFiles:
    """Read a run directory, and the data that its spec names where they are still there.

    Raises:
        InputError: where a file of the directory is missing or broken.
    """
    fit, of = _with_fewer_draws(load_fit(folder)), read_assignments(folder)
    missing, held_out = "", None
    with open_posterior(folder) as tree:
        rows = rows_of(fit, tree)
    if fit.spec.data.stream is not None:
        missing = STREAMED
    elif fit.metrics["n"]["test"]:
        try:
            held_out = _held_out(with_data(fit, folder))
        except InputError as error:
            missing = str(error)
    colours = tuple(palette(of.number, of.shares))
    return RunFiles(folder, fit, of, rows, held_out, missing, read_history(folder), colours)


def _with_fewer_draws(fit: Fit) -> Fit:
    """Return a fit that draws its weights less often: pictures need no more."""
    draws = min(DRAWS, fit.spec.output.draws)
    output = fit.spec.output.model_copy(update={"draws": draws})
    return replace(fit, spec=fit.spec.model_copy(update={"output": output}))


def _held_out(fit: Fit) -> tuple[Tensor, NDArray[np.float64]]:
    """Return the test rows of a fit with its data."""
    assert fit.data is not None
    part = fit.data.test
    x, y = to_tensors(part, fit.spec)
    there = part.rows != NOTHING
    values = original(fit, y)[there].astype(float)
    return x[there], values.reshape(len(values), -1)
