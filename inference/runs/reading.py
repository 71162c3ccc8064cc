"""Files of the directories that commands write: read without torch, and nothing in them is run."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import xarray as xr
from pydantic import ValidationError

from pyromoe.inference.files.plain_hdf5 import check_plain
from pyromoe.inference.files.repeated import POINT
from pyromoe.inference.files.strict_json import parse_json
from pyromoe.inference.files.verified import verified
from pyromoe.models.data.encoding import Encoding
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyromoe.inference.runs.forms import Form
    from pyromoe.models.specs.spec_file import SpecFile



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


def read_checked(folder: Path, name: str, form: type[Form]) -> dict[str, Any]:
    """Return what a JSON file holds, once it has the form that is asked for.

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
        check_plain(raw)
        with xr.open_datatree(io.BytesIO(raw), engine="h5netcdf", phony_dims="sort") as tree:
            point = tree["posterior"].attrs.get("weights") == POINT
            yield tree.isel(draw=slice(1), missing_dims="ignore") if point else tree
    except InputError:
        raise
    # A file that is not as it should be brings these libraries to errors of nearly every type.
    except Exception as error:
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
        table = csv.DictReader(text, strict=True)
        rows = [_numbers(row) for row in table]
        if not {"restart", "step", "loss"} <= set(table.fieldnames or ()) and raw.strip():
            raise ValueError("a column is missing")
    except (ValueError, TypeError, csv.Error) as error:
        path = folder / "history.csv"
        raise InputError(f"cannot be read ({error})", file=str(path)) from None
    return rows


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    return {name: float(value) if value else None for name, value in row.items()}


def read_encoding(folder: Path) -> Encoding:
    """Return how the table of a run became numbers.

    Raises:
        InputError: where it cannot be read.
    """
    name = "checkpoints/encoding.json"
    found = read_json(folder, name)
    try:
        return Encoding.from_json(found)
    except InputError as error:
        raise InputError(error.what, file=str(folder / name), field=error.field) from None
