"""A file that is written whole or not at all."""

from __future__ import annotations

import os
import secrets
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
        InputError: for a file that exists and is not to be overwritten.
    """
    if path.exists() and not overwrite:
        raise InputError("exists already", file=str(path), remedy="add --overwrite to replace it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
