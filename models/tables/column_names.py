"""The names of a table's columns: each is there, and none can be taken for another."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 1000
"""Characters of a name; no setting of a specification could hold a longer one."""


def check_names(names: Sequence[str], source: str) -> list[str]:
    """Return column names without spaces around them; refuse empty, endless and equal ones."""
    trimmed = [name.strip() for name in names]
    first: dict[str, int] = {}
    for i, name in enumerate(trimmed):
        seen = _as_seen(name)
        if not seen:
            remedy = "name it, or remove a comma at the end of the rows"
            raise InputError(f"column {i + 1} has no name", file=source, remedy=remedy)
        if "\0" in name:
            what = f"column {i + 1} has a NUL in its name"
            raise InputError(what, file=source, field=name, remedy="rename it")
        if len(name) > LONGEST:
            what = f"the name of column {i + 1} has {len(name)} characters"
            remedy = f"shorten it to {LONGEST}; does the table have a header?"
            raise InputError(what, file=source, remedy=remedy)
        if seen in first:
            other = trimmed[first[seen]]
            same = "have the same name" if other == name else "have names that look the same"
            what = f"columns {first[seen] + 1} and {i + 1} {same}"
            raise InputError(what, file=source, field=name, remedy="rename one")
        first[seen] = i
    return trimmed


def _as_seen(name: str) -> str:
    """Return a name in one of the ways to write it, without characters that take no space."""
    if name.isascii():
        return name
    normal = unicodedata.normalize("NFC", name)
    return "".join(char for char in normal if unicodedata.category(char) != "Cf")
