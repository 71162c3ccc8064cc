"""Files of our directories: listed when a directory is complete, checked before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.files.directories import CHECKPOINTS, LOCK, UNFINISHED, unfinished
from pyromoe.inference.files.manifest import NAME, Entry, damage, entry_of, parse, to_text
from pyromoe.inference.files.strict_json import LARGEST
from pyromoe.models.errors import InputError, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REMEDY = f"fit again; or, if you changed or removed it yourself, delete its line in {NAME}"


def seal(folder: Path) -> None:
    """Write the manifest of a directory that is complete.

    A folder in it that has a manifest, as the fits of a comparison have, answers for itself. What
    is there until the fit has ended is left out.
    """
    files = {p.relative_to(folder).as_posix(): entry_of(p.read_bytes()) for p in _files(folder)}
    (folder / NAME).write_text(to_text(files), encoding="utf-8")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name != CHECKPOINTS and not (path / NAME).exists():
            yield from _files(path)
        elif path.is_file() and path.name not in (NAME, LOCK):
            yield path


def verified(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a directory, which are those that were written.

    A file that the manifest does not list is returned as it is.

    Raises:
        InputError: where the directory is not whole, or the file is damaged or lies elsewhere.
    """
    files = manifest_of(folder)
    raw, entry = _read(folder, name), files.get(name)
    what = "" if entry is None else damage(raw, entry)
    if what:
        raise InputError(what, file=str(folder / name), remedy=REMEDY)
    return raw


def verified_file(path: Path) -> bytes:
    """Return the bytes of a file; those that were written, where it is of a directory of ours.

    Raises:
        InputError: where it cannot be read, or is damaged.
    """
    for folder in (path.parent, path.parent.parent):
        if (folder / NAME).is_file():
            return verified(folder, path.relative_to(folder).as_posix())
    return _read(path.parent, path.name)


def manifest_of(folder: Path) -> dict[str, Entry]:
    """Return what a directory should hold, once all of it is there.

    Raises:
        InputError: where it has no manifest, or a file is missing or of another size.
    """
    path = folder / NAME
    if not path.is_file():
        if interrupted := _interrupted(folder):
            raise interrupted
        what = "is missing, and without it nothing in the directory can be checked"
        raise InputError(what, file=str(path), remedy="copy the whole directory, or fit again")
    if path.stat().st_size > LARGEST:
        raise InputError("is no manifest (too large)", file=str(path))
    files = parse(_read(folder, NAME), str(path))
    for name, entry in files.items():
        own = folder / name
        if not own.is_file():
            raise InputError("is missing", file=str(own), remedy=REMEDY)
        size = own.stat().st_size
        if size != entry.bytes:
            what = f"has {size} bytes, not the {entry.bytes} that were written"
            raise InputError(what, file=str(own), remedy=REMEDY)
    return files


def incomplete(folder: Path) -> InputError | None:
    """Return what is wrong with a directory by its manifest; None where it is whole or has none.

    One whose fit was interrupted is said to be so, by the name that it has or will have.
    """
    if interrupted := _interrupted(folder):
        return interrupted
    try:
        if (folder / NAME).is_file():
            manifest_of(folder)
    except InputError as error:
        return error
    return None


def _interrupted(folder: Path) -> InputError | None:
    known = (folder, unfinished(folder))
    place = next((p for p in known if p.name.endswith(UNFINISHED) and p.is_dir()), None)
    if place is None:
        return None
    remedy = "go on with it by the command that began it, and --resume"
    return InputError("is unfinished", file=str(place), remedy=remedy)


def _read(folder: Path, name: str) -> bytes:
    """Return the bytes of an ordinary file that lies in a folder."""
    path = folder / name
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise InputError("is a link that leads out of its folder", file=str(path))
        if not (path.is_file() or path.is_dir()):
            raise InputError("is not an ordinary file", file=str(path))
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
