"""Where each setting of a specification stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a setting stands; `line` and `column` count from 1."""

    source: str
    line: int | None = None
    column: int | None = None

    def error(self, what: str, remedy: str = "", field: str = "") -> InputError:
        """Return an error at this place."""
        return InputError(
            what, remedy=remedy, file=self.source, line=self.line, column=self.column, field=field
        )


Marks = dict[FieldPath, Mark]


def nearest(marks: Mapping[FieldPath, Mark], path: FieldPath, source: str) -> Mark:
    """Return where a setting stands, or failing that the section it would stand in."""
    for length in range(len(path), -1, -1):
        if path[:length] in marks:
            return marks[path[:length]]
    return Mark(source)


def dotted(path: FieldPath) -> str:
    """Write a path as users do: `data.predictors[1]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")
