"""Variables that are the same in every draw: stored once, shown with the dimension draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

POINT = "one point for each; draws differ in z and in the predicted y alone"
"""What `posterior.nc` says of weights that have no posterior."""


def repeat(values: NDArray[Any], draws: int) -> NDArray[Any]:
    """Return values, (C, ...), for every draw, (C, S, ...), without copying them.

    >>> view = repeat(np.zeros((1, 1000)), 500)
    >>> view.shape, view.strides[1]
    ((1, 500, 1000), 0)
    """
    return np.broadcast_to(values[:, None], (len(values), draws, *values.shape[1:]))


def is_repeated(values: xr.DataArray) -> bool:
    """Whether a variable is such a view."""
    of_draws = values.dims[:2] == ("chain", "draw") and values.ndim > 2 and values.sizes["draw"] > 1
    return of_draws and values.size > 0 and values.to_numpy().strides[1] == 0


def without_repeats(group: xr.Dataset) -> xr.Dataset:
    """Return a group whose repeated variables lack the dimension draw."""
    once = {n: v.isel(draw=0, drop=True) for n, v in group.data_vars.items() if is_repeated(v)}
    return group.assign(once)


def with_repeats(group: xr.Dataset) -> xr.Dataset:
    """Return a group whose variables of every chain are shown for every draw."""
    if "draw" not in group.dims:
        return group
    shown = {
        name: (("chain", "draw", *v.dims[1:]), repeat(v.to_numpy(), group.sizes["draw"]))
        for name, v in group.data_vars.items()
        if v.dims[:1] == ("chain",) and "draw" not in v.dims
    }
    return group.assign(shown)
