"""What an unfinished fit needs to go on, in a folder: whole, or as it was before.

    a part's file  ->  the manifest that names it  ->  what no manifest names is deleted

Each file is written under another name, forced to the disk and renamed. The manifest holds the
size and SHA-256 of every part, and its own; the one before is kept, and taken up where the last is
damaged. Nothing that is read is executed: tensors are safetensors, all else is JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
from pydantic import Field, ValidationError
from safetensors.torch import load as load_tensors, save as save_tensors

from pyromoe.inference.files.manifest import Entry, damage, entry_of
from pyromoe.inference.files.signals import Signals
from pyromoe.inference.files.writing import write_whole
from pyromoe.models.errors import InputError, one_line
from pyromoe.models.specs.settings import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

GENERATIONS = 2
"""Manifests that are kept."""
MANIFEST = re.compile(r"manifest-(\d{6,12})\.json")
OURS = re.compile(r"\.?(part|manifest)-\d{6,12}\.(safetensors|json)(\.[0-9a-f]+\.partial)?")


REMEDY = "start anew with --overwrite"
BROKEN = (OSError, ValueError, LookupError, TypeError, RecursionError, safetensors.SafetensorError)
"""What reading a damaged file raises."""


@dataclass(frozen=True)
class Saved:
    """A part of what is needed: tensors by name, values that JSON holds exactly, and its file."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def of_bytes(cls, content: bytes, source: str) -> Saved:
        """Return what `to_bytes` wrote; nothing of it is executed.

        Raises:
            InputError: where it is not what was written.
        """
        try:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            values = json.loads(header["__metadata__"]["values"])
            return cls(load_tensors(content), dict(values), source)
        except BROKEN as error:
            raise _damaged(Path(source), error) from None

    def to_bytes(self) -> bytes:
        """Return it as the content of a safetensors file."""
        tensors = {n: t.detach().clone().contiguous() for n, t in self.tensors.items()}
        return save_tensors(tensors, {"values": json.dumps(dict(self.values))})

    def like(self, name: str, other: Tensor) -> Tensor:
        """Return a tensor that has shape and type of another, on its device.

        Raises:
            InputError: where it is missing, or of another form.
        """
        found = self.tensors.get(name)
        if found is None or found.shape != other.shape or found.dtype != other.dtype:
            what = "is missing" if found is None else "has another shape or type than in this fit"
            raise InputError(what, file=self.source, field=name, remedy=REMEDY)
        return found.to(other.device)


class _Part(Entry):
    file: str = Field(pattern=r"^part-\d{6,12}\.safetensors$")


class _Manifest(Section):
    format: Literal[1]
    parts: dict[str, _Part]


class Checkpoints:
    """Parts of an unfinished fit by name, each as it was last saved.

    A fit that is given checkpoints goes on from what it finds in them, to the same bits as if it
    had never stopped, and saves there what it does.

    Args:
        folder: where; what is in it is verified, and it is made with the first part.
        signals: after one of them the fit is left, as soon as its step is saved.

    Attributes:
        note: which checkpoint is damaged, and why, where an earlier one is taken; else empty.

    Raises:
        InputError: where every checkpoint is damaged.

    >>> import tempfile
    >>> from pyromoe.inference import Checkpoints, fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> folder = tempfile.mkdtemp()
    >>> first = fit(spec, checkpoints=Checkpoints(folder))
    >>> again = fit(spec, checkpoints=Checkpoints(folder))  # takes no step: all is there
    >>> again.fingerprint() == first.fingerprint()
    True
    """

    def __init__(self, folder: Path | str, signals: Signals | None = None) -> None:
        self.folder, self.note = Path(folder), ""
        self.signals = Signals() if signals is None else signals
        self.number, self.parts = 0, dict[str, _Part]()
        self.last = time.monotonic()
        if self.folder.is_dir():
            self._open()

    def take(self, name: str) -> Saved | None:
        """Return a part as it was saved, None where there is none.

        Raises:
            InputError: where it is no longer what it was.
        """
        content = self.content(name)
        if content is None:
            return None
        path = self.folder / (self.parts[name].file if name in self.parts else name)
        return Saved.of_bytes(content, str(path))

    def content(self, name: str) -> bytes | None:
        """Return the file of a part, None where there is none.

        Raises:
            InputError: where it is no longer what it was.
        """
        if name not in self.parts:
            return None
        path = self.folder / self.parts[name].file
        try:
            return _verified(path, self.parts[name])
        except OSError as error:
            raise _damaged(path, error) from None

    def keep(self, name: str, saved: Saved, *, whole: bool = True) -> None:
        """Save a part in the place of what had its name; come back when it is on the disk.

        Args:
            name: of the part.
            saved: what is in it.
            whole: whether the parts make a checkpoint; one that needs another after it does not.

        Raises:
            OSError: where it cannot be written; what was saved before stays as it is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        content = saved.to_bytes()
        self.number += 1
        file = f"part-{self.number:06}.safetensors"
        write_whole(self.folder / file, content)
        part = _Part(file=file, **entry_of(content).model_dump())
        parts = self.parts | {name: part}
        if whole:
            write_whole(self.folder / f"manifest-{self.number:06}.json", _written(parts))
            self._tidy()
        self.parts = parts
        self.last = time.monotonic()

    def due(self, every: float) -> bool:
        """Whether it is time to save: after so many seconds."""
        return time.monotonic() - self.last >= every

    def inner(self, name: str) -> Checkpoints:
        """Return the checkpoints of a fit among several, in a folder in this one."""
        return Checkpoints(self.folder / name, self.signals)

    def clear(self) -> None:
        """Delete them, with their folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> None:
        """Take up the last whole checkpoint."""
        found = sorted(
            (int(m[1]) for p in self.folder.iterdir() if (m := MANIFEST.fullmatch(p.name))),
            reverse=True,
        )
        faults = list[InputError]()
        for number in found:
            path = self.folder / f"manifest-{number:06}.json"
            try:
                parts = _read(path.read_bytes())
                for part in parts.values():
                    _verified(self.folder / part.file, part)
            except (OSError, ValueError) as error:
                faults.append(_damaged(path, error))
                continue
            self.number, self.parts = max(found), parts
            if faults:
                self.note = f"{faults[0].file}: {faults[0].what}; an earlier checkpoint is taken"
            return
        if faults:
            raise faults[0]

    def _tidy(self) -> None:
        """Delete what the manifests that are kept do not name."""
        names = [p.name for p in self.folder.iterdir() if OURS.fullmatch(p.name)]
        manifests = sorted(n for n in names if MANIFEST.fullmatch(n))[-GENERATIONS:]
        needed = set(manifests)
        for name in manifests:
            try:
                needed |= {part.file for part in _read((self.folder / name).read_bytes()).values()}
            except (OSError, ValueError):
                needed.discard(name)
        for name in set(names) - needed:
            (self.folder / name).unlink(missing_ok=True)


def _written(parts: Mapping[str, _Part]) -> bytes:
    """Return a manifest, its first line the SHA-256 of the rest."""
    found = _Manifest(format=1, parts=dict(parts)).model_dump_json(indent=1).encode()
    return hashlib.sha256(found).hexdigest().encode() + b"\n" + found


def _read(content: bytes) -> dict[str, _Part]:
    """Return the parts of a manifest.

    Raises:
        ValueError: where it is not what was written.
    """
    digest, _, text = content.partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError("its SHA-256 is another")
    return _Manifest.model_validate_json(text).parts


def _verified(path: Path, part: _Part) -> bytes:
    """Return what is in a file, which is as it was written.

    Raises:
        OSError: where it cannot be read.
        InputError: where it is not as it was written.
    """
    if path.is_symlink() or path.stat().st_size != part.bytes:
        raise _damaged(path, ValueError("it has not the size that its manifest says"))
    content = path.read_bytes()
    if what := damage(content, part):
        raise InputError(what, file=str(path), remedy=REMEDY)
    return content


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        why = "is missing"
    elif isinstance(error, OSError):
        why = f"cannot be read ({error.strerror})"
    elif isinstance(error, ValidationError):
        why = "is not a manifest of ours"
    else:
        why = f"is damaged ({one_line(str(error), 120)})"
    return InputError(why, file=str(getattr(error, "filename", None) or path), remedy=REMEDY)
