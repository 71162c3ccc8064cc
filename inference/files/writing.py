"""Files that are written whole or not at all, and files that grow by whole records."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path to write to; the file takes its name when the block ends without an error.

    Raises:
        InputError: for a folder, a file in no folder, and one that exists and is not to be
            overwritten.
    """
    if not os.path.isdir(path.parent):
        raise InputError("no such folder", file=str(path), remedy="make it, or name another --out")
    if os.path.isdir(path):
        raise InputError("is a folder", file=str(path), remedy="name a file in it")
    if path.exists() and not overwrite:
        raise InputError("exists already", file=str(path), remedy="add --overwrite to replace it")
    with _replacing(path) as temporary:
        yield temporary


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and come back when it is on the disk under its name.

    Until then a file of that name is what it was before, whatever happens.

    Raises:
        OSError: where there is no space, with a note on how much is needed and free.
    """
    try:
        with _replacing(path) as temporary, temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            error.filename = error.filename or str(path)
            free = shutil.disk_usage(path.parent).free
            error.add_note(f"{len(content):,} bytes are needed and {free:,} are free")
        raise
    to_disk(path.parent)


def append(path: Path, record: bytes) -> None:
    """Append a record to a file, whole or not at all; a file and its folder are made for the first.

    Raises:
        OSError: where it cannot be written; the file then ends as it did before.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            file.truncate(end)
            error.filename = str(path)
            raise


def cut_torn_line(path: Path) -> None:
    """Cut off what stands after the last line of a file, of which a crash has left a part.

    Raises:
        OSError: where it cannot be read or written.
    """
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def to_disk(path: Path) -> None:
    """Come back when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
