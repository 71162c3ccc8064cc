"""What a directory holds: name, size and SHA-256 of each file, to tell damage before reading.

This guards against accidents, not against someone who writes a directory to deceive: who can
change a file can change its line here. What such a directory can do is bounded by the readers.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from pyromoe.inference.files.strict_json import parse_json
from pyromoe.models.errors import InputError
from pyromoe.models.specs.settings import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "manifest.json"
FORMAT = 1
"""Of directories; a number above it is from a version to come."""
# Each part begins with a letter, a digit or _, so that no name leads out of its folder.
FILE = r"^([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*$"


class Entry(Section):
    """Size and digest of a file."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Manifest(Section):
    format: int
    files: dict[Annotated[str, Field(pattern=FILE, max_length=200)], Entry]


def entry_of(raw: bytes) -> Entry:
    """Return size and digest of a file's bytes.

    >>> from pyromoe.inference.files.manifest import entry_of
    >>> entry_of(b"").sha256[:8]
    'e3b0c442'
    """
    return Entry(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())


def damage(raw: bytes, entry: Entry) -> str:
    """Say how bytes differ from those that were written; nothing where they do not.

    >>> from pyromoe.inference.files.manifest import damage, entry_of
    >>> damage(b"one", entry_of(b"two")), damage(b"one", entry_of(b"one"))
    ('is not as it was written (its SHA-256 differs)', '')
    """
    if len(raw) != entry.bytes:
        return f"has {len(raw)} bytes, not the {entry.bytes} that were written"
    same = hashlib.sha256(raw).hexdigest() == entry.sha256
    return "" if same else "is not as it was written (its SHA-256 differs)"


def to_text(files: Mapping[str, Entry]) -> str:
    """Return a manifest, one line a file; no byte of it can be lost unnoticed."""
    # Backwards: the last line, which takes no comma, is then of no file that anyone edits.
    lines = (f'    "{n}": {json.dumps(files[n].model_dump())}' for n in sorted(files, reverse=True))
    return f'{{\n  "format": {FORMAT},\n  "files": {{\n' + ",\n".join(lines) + "\n  }\n}"


def parse(raw: bytes, source: str) -> dict[str, Entry]:
    """Return the files of a manifest.

    Args:
        raw: its bytes.
        source: its name, for messages.

    Raises:
        InputError: where it is not one, is of a later format, or names a file elsewhere.
    """
    found = parse_json(raw, source)
    number = found.get("format") if isinstance(found, dict) else None
    if isinstance(number, int) and number > FORMAT:
        what = f"is of format {number}, and this version reads {FORMAT} at most"
        raise InputError(what, file=source, field="format", remedy="install a newer pyromoe")
    try:
        manifest = _Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"is no manifest ({first['msg']})", file=source, field=field) from None
    if manifest.format != FORMAT:
        raise InputError(f"there is no format {number}", file=source, field="format")
    return manifest.files
