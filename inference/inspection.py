"""A run directory, looked at in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pyromoe.inference import terminal
from pyromoe.inference.outcome import metric_lines
from pyromoe.inference.store import read_json
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

BAR = 24
"""Width of a full bar, in characters."""


def inspect(folder: Path, rows: int) -> None:
    """Print what was fitted, how well, each expert's share, and the least certain rows.

    Raises:
        InputError: for a directory that is not a run.
    """
    if not (folder / "metrics.json").is_file():
        remedy = "give a directory that `pyromoe fit` has written"
        raise InputError("is not a run directory", file=str(folder), remedy=remedy)
    for line in metric_lines(read_json(folder / "metrics.json")):
        terminal.out.print(line, markup=False)
    path = folder / "posterior.nc"
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            r = tree["posterior"]["resp"].isel(chain=0, draw=0).to_numpy()
            row = tree["constant_data"]["row"].to_numpy()
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", file=str(path)) from None
    grouped, row = row.ndim > 1, row.reshape(len(row), -1)[:, 0]
    _print_experts(r, "groups" if grouped else "rows")
    _print_rows(r, row, rows)


def bar(share: float) -> str:
    """Return a share, 0 to 1, as a bar.

    >>> bar(0.5)
    '############            '
    """
    return ("#" * round(BAR * share)).ljust(BAR)


def pruned_below(number: int) -> float:
    """Return the share of the rows below which one of K experts counts as pruned.

    1%, or a tenth of an equal share where there are many experts.

    >>> pruned_below(8)
    0.01
    """
    return min(0.01, 0.1 / number)


def _print_experts(r: np.ndarray[Any, Any], data: str) -> None:
    number, shares = r.shape[-1], r.mean(0)
    owner, pruned = np.bincount(r.argmax(-1), minlength=number), shares < pruned_below(number)
    terminal.out.print("\nexperts, by their share of the training rows")
    for k in np.argsort(-shares):
        end = "pruned" if pruned[k] else f"leads in {owner[k]} {data}"
        terminal.out.print(f"{k:>4}  {bar(float(shares[k]))} {shares[k]:6.1%}  {end}")
    if pruned.any():
        text = f"{number - pruned.sum()} of {number} experts remain"
        terminal.out.print(f"{text}; pruned: those below {pruned_below(number):.2g} of the rows")


def _print_rows(r: np.ndarray[Any, Any], row: np.ndarray[Any, Any], rows: int) -> None:
    if not rows or r.shape[-1] == 1:
        return
    terminal.out.print("\nthe least certain assignments (row of the data, from 0)")
    for i in np.argsort(r.max(-1))[:rows]:
        order = np.argsort(-r[i])[:3]
        parts = "  ".join(f"expert {k} {r[i, k]:.2f}" for k in order)
        terminal.out.print(f"{row[i]:>7}  {parts}")
