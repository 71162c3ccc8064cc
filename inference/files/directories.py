"""Directories that take their name when all that belongs in them is written.

A fit that may be interrupted is written in `NAME.unfinished`, with its checkpoints; what is quick
in a hidden folder that an error leaves no trace of. Until the end a directory of that name is what
it was before.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pyromoe.inference.files.writing import to_disk
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = ("spec.yaml", "comparison.json", "gradients.json", "selection.json")
"""A folder with one of these was written here, and may be overwritten."""
UNFINISHED, CHECKPOINTS, LOCK = ".unfinished", "resume", "lock"


@dataclass(frozen=True, slots=True)
class Resumable:
    """Where an interruptible command writes.

    Attributes:
        target: the name that the folder will have.
        folder: where to write.
        checkpoints: where to save what is needed to go on.
    """

    target: Path
    folder: Path
    checkpoints: Path

    @classmethod
    def of(cls, target: Path) -> Resumable:
        """Return where a directory is written."""
        folder = unfinished(target)
        return cls(target, folder, folder / CHECKPOINTS)


def free_directory(wanted: Path) -> Path:
    """Return the folder, or the first of `wanted-2`, `wanted-3`, ... that is not there."""
    return next(c for c in _numbered(wanted) if not c.exists() and not unfinished(c).exists())


def last_directory(wanted: Path) -> Path:
    """Return the last of `wanted`, `wanted-2`, ... that is unfinished; without one, the last."""
    there = list(_numbered(wanted, until_free=True))[::-1]
    return next((c for c in there if unfinished(c).exists()), (there or [wanted])[0])


def unfinished(target: Path) -> Path:
    """Return where a directory is written until it is finished.

    Raises:
        InputError: for what is not the name of one, such as a dot.
    """
    if target.name in ("", ".."):
        raise InputError("is not the name of a directory", file=str(target), remedy="name another")
    return target.with_name(f"{target.name}{UNFINISHED}")


def is_finished(target: Path) -> bool:
    """Whether a directory is there, with nothing that is still to be done."""
    return any((target / name).exists() for name in OURS) and not unfinished(target).exists()


@contextmanager
def new_directory(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder that takes the name `target` when the block ends without an error.

    Raises:
        InputError: where the target exists, unless it is to be overwritten and was written here.
        OSError: where nothing can be written, before the block begins.
    """
    _check(target, overwrite=overwrite)
    made = _make_parents(target)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    folder.mkdir()
    try:
        yield folder
        _put(folder, target)
    except BaseException as error:
        error.add_note("nothing was written")
        raise
    finally:
        _remove(folder, made)


@contextmanager
def resumable_directory(
    target: Path, *, resume: bool = False, overwrite: bool = False
) -> Iterator[Resumable]:
    """Give a folder that takes the name `target` when the block ends without an error.

    After an error that another try may not meet it stays as `NAME.unfinished`, if there are
    checkpoints in it.

    Raises:
        InputError: where the target exists, unless it is to be overwritten and was written here;
            where an unfinished one does, unless it is gone on with or overwritten; and where
            another process writes it.
        OSError: where nothing can be written, before the block begins.
    """
    _check(target, overwrite=overwrite)
    place = Resumable.of(target)
    folder = place.folder
    if folder.exists() and not (resume or overwrite):
        what = "is there, from a fit that was interrupted"
        remedy = "go on with it with --resume, or start anew with --overwrite"
        raise InputError(what, file=str(folder), remedy=remedy)
    made = _make_parents(target)
    folder.mkdir(exist_ok=True)
    with _locked(folder):
        if not resume:
            _empty(folder)
        begun = _has_checkpoints(place)
        try:
            yield place
            _put(folder, target)
        except BaseException as error:
            # The same mistake, or the same numbers, would end it the same way.
            again = isinstance(error, (InputError, ArithmeticError))
            if begun or (_has_checkpoints(place) and not again):
                error.add_note(f"what was done is kept in {folder}; go on with --resume")
            else:
                error.add_note("nothing was written")
                _remove(folder, made)
            raise
    shutil.rmtree(target / CHECKPOINTS, ignore_errors=True)
    (target / LOCK).unlink(missing_ok=True)


def _check(target: Path, *, overwrite: bool) -> None:
    unfinished(target)  # it has a name
    if target.exists() and not overwrite:
        remedy = "name another with --out, or replace it with --overwrite"
        raise InputError("exists already", file=str(target), remedy=remedy)
    if target.exists() and not any((target / name).exists() for name in OURS):
        remedy = "name another with --out"
        raise InputError("is not a directory of ours to overwrite", file=str(target), remedy=remedy)


def _has_checkpoints(place: Resumable) -> bool:
    return any(place.checkpoints.rglob("manifest-*"))


def _make_parents(target: Path) -> list[Path]:
    """Make the folders that a directory lies in; return those that were not there."""
    made = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return made


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others out; the system lets go of the lock when the process ends, however it does."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        remedy = "wait for it to end, or name another with --out"
        raise InputError("is being written", file=str(folder), remedy=remedy) from None
    try:
        yield
    finally:
        lock.release()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _put(folder: Path, target: Path) -> None:
    """Give a folder its name once all that is in it is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        to_disk(path)
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        target.rename(old)
    folder.rename(target)
    to_disk(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove(folder: Path, made: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in made:
        with suppress(OSError):  # it holds what was written
            parent.rmdir()


def _numbered(wanted: Path, *, until_free: bool = False) -> Iterator[Path]:
    """Yield `wanted`, `wanted-2`, ...; all, or those before the first that is not there."""
    for i in range(1, 10_000):
        path = wanted if i == 1 else wanted.with_name(f"{wanted.name}-{i}")
        if until_free and not path.exists() and not unfinished(path).exists():
            return
        yield path
