"""Files of the directories that commands write: read without torch, and nothing in them is run."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import xarray as xr
from pydantic import BaseModel, ConfigDict, ValidationError

from pyromoe.inference.strict_json import parse_json
from pyromoe.inference.verified import verified
from pyromoe.models.errors import InputError
from pyromoe.models.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyromoe.models.spec_file import SpecFile

POINT = "one point for each; draws differ in z and in the predicted y alone"
"""What `posterior.nc` says of weights that have no posterior."""


class _Part(BaseModel):
    """What a file must have; it may have more."""

    model_config = ConfigDict(extra="allow")


class _Totals(_Part):
    train: float
    test: float | None


class _Counts(_Part):
    train: int
    test: int


class _Start(_Part):
    log_likelihood: float | None
    converged: bool


class _Warning(_Part):
    name: str
    what: str
    remedy: str


class _Mode(_Part):
    log_likelihood: float
    hits: int


class _Nested(_Part):
    log_likelihood: float
    model: str


class _Nuts(_Part):
    r_hat: float
    ess: float
    divergences: int


class _Kept(_Part):
    n: int
    log_likelihood: float
    epoch: int | None
    stopped_at: int | None


class Metrics(_Part):
    """`metrics.json` of a run."""

    log_likelihood: _Totals
    n: _Counts
    parameters: int
    aic: float
    bic: float
    icl: float
    measured_on: str
    effective_experts: float
    restarts: list[_Start]
    treatment: str
    objective: str
    steps: int
    seconds: float
    parameters_sha256: str
    versions: dict[str, str]
    warnings: list[_Warning] = []
    modes: list[_Mode] = []
    nested: list[_Nested] = []
    nuts: _Nuts | None = None
    pareto_k: float | None = None
    early_stopping: _Kept | None = None


class _Failed(_Part):
    failure: str


class _Compared(_Part):
    treatment: str
    objective: str
    seed: int
    unbiased: bool
    evaluations: int
    test_log_likelihood: float | None
    train_log_likelihood: float
    effective_experts: float
    steps: int
    seconds: float


class Comparison(_Part):
    """`comparison.json`."""

    summary: str
    measured_on: str
    rows: list[_Failed | _Compared]


class _Measured(_Part):
    treatment: str
    objective: str
    at: str
    parameters: str
    unbiased: bool
    evaluations: int
    objective_bias: float | None
    estimator_bias: float | None
    estimator_bias_low: float | None
    estimator_bias_high: float | None
    estimator_bias_mc_floor: float | None
    total_bias: float | None
    relative_std: float | None
    error_times_cost: float | None
    seconds_per_call: float
    draws: int


class Lab(_Part):
    """`gradients.json`."""

    recommendation: str
    skipped: dict[str, str]
    rows: list[_Measured]


class _Candidate(_Part):
    candidate: str
    experts: int
    parameters: int
    aic: float
    bic: float
    icl: float
    held_out_log_likelihood: float | None
    train_log_likelihood: float


class Selected(_Part):
    """`selection.json`."""

    recommendation: str
    rows: list[_Failed | _Candidate]


def spec_in(folder: Path) -> SpecFile:
    """Return the spec of a directory.

    Raises:
        InputError: where it is missing, damaged or mistaken.
    """
    return parse_spec(verified(folder, "spec.yaml"), str(folder / "spec.yaml"))


def read_json(folder: Path, name: str) -> Any:
    """Return what a JSON file of a directory holds.

    Raises:
        InputError: where it is missing or damaged.
    """
    return parse_json(verified(folder, name), str(folder / name))


def read_checked(folder: Path, name: str, form: type[_Part]) -> dict[str, Any]:
    """Return what a JSON file of one of the forms above holds.

    Raises:
        InputError: where it is missing or damaged, or lacks something.
    """
    found: dict[str, Any] = read_json(folder, name)
    try:
        form.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        what = f"is not as pyromoe writes it ({first['msg']})"
        raise InputError(what, file=str(folder / name), field=field) from None
    return found


@contextmanager
def open_posterior(folder: Path) -> Iterator[xr.DataTree]:
    """Give what `posterior.nc` holds; where weights are a point one draw, which all are like.

    Raises:
        InputError: where it is missing or damaged, or lacks what is asked of it in the block.
    """
    raw = verified(folder, "posterior.nc")
    try:
        with xr.open_datatree(io.BytesIO(raw), engine="h5netcdf") as tree:
            point = tree["posterior"].attrs.get("weights") == POINT
            yield tree.isel(draw=slice(1), missing_dims="ignore") if point else tree
    except (OSError, KeyError, ValueError, IndexError) as error:
        path = folder / "posterior.nc"
        raise InputError(f"cannot be read ({error})", file=str(path)) from None


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of `history.csv`, with None where there is no number.

    Raises:
        InputError: where it is missing or damaged.
    """
    raw = verified(folder, "history.csv")
    try:
        text = io.StringIO(raw.decode(), newline="")
        rows = [_numbers(row) for row in csv.DictReader(text, strict=True)]
        if not all({"restart", "step", "loss"} <= set(row) for row in rows):
            raise ValueError("a column is missing")
    except (ValueError, TypeError, csv.Error) as error:
        path = folder / "history.csv"
        raise InputError(f"cannot be read ({error})", file=str(path)) from None
    return rows


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    return {name: float(value) if value else None for name, value in row.items()}
