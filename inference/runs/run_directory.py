"""A run directory with its posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.runs.netcdf import to_netcdf
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.runs.store import save_fit
from pyromoe.inference.files.verified import seal

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.fitting.result import Fit


def save_run(fit: Fit, folder: Path, target: Path) -> None:
    """Write a run directory into an existing folder.

    Args:
        fit: the fit, with its data.
        folder: where to write.
        target: the name that the folder will have; the data file is named relative to it.
    """
    save_fit(fit, folder, target)
    (folder / "posterior.nc").write_bytes(to_netcdf(to_datatree(fit)))
    seal(folder)
