"""Whether an HDF5 file is as plain as ours are, before its arrays are read.

HDF5 can do more than hold arrays: link to other files, map them, load code for its filters, hold a
group within itself, and promise arrays that are not there. None of it is needed here. What is left
is HDF5's own reader, a library in C: this is no wall against a file made to attack that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    from collections.abc import Iterator

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
MOST = 1000
"""Arrays of a file."""
RATIO, SMALL = 1100, 2**20
"""An array of more bytes than `SMALL` has at most so many as this times those that are stored:
deflate packs 1032 to 1."""


def check_plain(raw: bytes) -> None:
    """Refuse a file that is not groups of plain arrays that are there.

    Raises:
        ValueError: for one that is not.
        OSError: for one that is not HDF5.

    >>> from pyromoe.inference.files.plain_hdf5 import check_plain
    >>> check_plain(b"nothing")
    Traceback (most recent call last):
    ...
    ValueError: not HDF5
    """
    if not raw.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ValueError("not HDF5")
    with h5py.File(io.BytesIO(raw), "r") as file:
        for number, array in enumerate(_arrays(file)):
            if number == MOST:
                raise ValueError(f"it holds more than {MOST} arrays")
            _check(array)


def _arrays(file: h5py.File) -> Iterator[h5py.Dataset]:
    """Yield what is in the file and in its groups, which hold no groups."""
    for group in (file, *(g for n in file if isinstance(g := _own(file, n), h5py.Group))):
        for name in group:
            found = _own(group, name)
            if isinstance(found, h5py.Dataset):
                yield found
            elif group.name != "/" or not isinstance(found, h5py.Group):
                raise ValueError(f"{name} is neither an array nor a group of arrays")


def _own(group: h5py.Group, name: str) -> object:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    return group[name]


def _check(array: h5py.Dataset) -> None:
    plist = array.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if array.is_virtual or array.external or not filters <= FILTERS:
        raise ValueError(f"{array.name} is not held in the file as plain numbers")
    if array.nbytes > SMALL + RATIO * array.id.get_storage_size():
        raise ValueError(f"{array.name} is said to have {array.nbytes} bytes that are not there")
