"""NetCDF files of posteriors, which may be larger than memory as they stand in the file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5netcdf
import numpy as np
import xarray as xr

from pyromoe.inference.files.arviz_versions import to_tree
from pyromoe.inference.files.repeated import is_repeated

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERIOD = 2**14
"""Bytes after which a repeated draw comes again: within the 32 KiB that deflate looks back."""
CHUNK = 2**20
"""Bytes of a chunk at most."""
AT_ONCE = 16
"""Chunks that are laid out in memory at a time."""
COMPRESSION = {"compression": "gzip", "compression_opts": 1}


def to_netcdf(posterior: Any) -> memoryview:
    """Return a NetCDF file as bytes: on a full disk, writing it directly would end the process.

    What is the same in every draw is laid out piece by piece, never as a whole, each chunk with
    all draws of a few rows, so that the repetition compresses to next to nothing.

    Args:
        posterior: what `to_arviz` or `to_datatree` returned.

    >>> from pyromoe.inference import fit, to_datatree, to_netcdf
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> file = to_netcdf(to_datatree(fit(spec)))
    >>> bytes(file[1:4])  # NetCDF 4 is HDF5
    b'HDF'
    """
    tree = to_tree(posterior)
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    repeated = {
        name: [v for v, values in group.data_vars.items() if is_repeated(values)]
        for name, group in groups.items()
    }
    whole = {name: group.drop_vars(repeated[name]) for name, group in groups.items()}
    encoding = {
        f"/{name}": {v: {"zlib": True, "complevel": 1} for v in group.data_vars}
        for name, group in whole.items()
    }
    file = io.BytesIO()
    rest = xr.DataTree.from_dict({"/": tree.to_dataset(), **whole})
    rest.to_netcdf(file, engine="h5netcdf", encoding=encoding)
    with h5netcdf.File(file, "a") as opened:
        for name, group in groups.items():
            for v in repeated[name]:
                _write_repeated(opened[name], str(v), group[v])
    return file.getbuffer()


def _write_repeated(group: h5netcdf.Group, name: str, values: xr.DataArray) -> None:
    """Add a variable with dimensions chain, draw, ... that is the same in every draw."""
    each: NDArray[Any] = values.to_numpy()[:, 0]  # (C, N, ...)
    draws, (rows, *shape) = values.sizes["draw"], each.shape[1:]
    of_row = max(1, each.itemsize * int(np.prod(shape)))
    some = max(1, min(rows, CHUNK // (draws * of_row), PERIOD // of_row))
    many = max(1, min(draws, CHUNK // (some * of_row)))
    dims = tuple(map(str, values.dims))
    for dim in dims:
        if dim not in group.dimensions:  # one without labels, and in no other variable
            group.dimensions[dim] = values.sizes[dim]
    variable = group.create_variable(
        name,
        dims,
        each.dtype,
        chunks=(1, many, some, *shape),
        **COMPRESSION,
    )
    step = some * AT_ONCE
    for chain, of_chain in enumerate(each):
        for first in range(0, rows, step):
            piece = of_chain[first : first + step]
            for draw in range(0, draws, many):
                number = min(many, draws - draw)
                block = np.broadcast_to(piece, (number, *piece.shape))
                variable[chain, draw : draw + number, first : first + step] = block
