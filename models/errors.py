"""The one exception for mistakes in what the user wrote: always one printable line."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LONGEST = 400
LONGEST_NAME = 200


class InputError(ValueError):
    """A mistake in a specification, a data file or an argument, and what to do about it.

    The text is `FILE:LINE:COL: FIELD: what; remedy`, without the parts that are missing: one line
    of printable characters, 400 at most.

    >>> from pyromoe.models import InputError
    >>> print(InputError("no such column", file="fit.yaml", line=3, field="data.response"))
    fit.yaml:3: data.response: no such column
    """

    def __init__(
        self,
        what: str,
        *,
        remedy: str = "",
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        field: str = "",
    ) -> None:
        """Keep the parts as attributes; `line` and `column` count from 1."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.file = file
        self.line = line
        self.column = column
        self.field = field

    @property
    def parts(self) -> dict[str, Any]:
        """What makes the same error again."""
        names = ("what", "remedy", "file", "line", "column", "field")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        """Join the parts into one line."""
        numbers = (n for n in (self.line, self.column) if n is not None)
        file = self.file or ""
        name = file if len(file) <= LONGEST_NAME else f"...{file[-LONGEST_NAME:]}"
        place = ":".join([name, *map(str, numbers)]).lstrip(":")
        text = "; ".join(part for part in (self.what, self.remedy) if part)
        return one_line(": ".join(part for part in (place, self.field, text) if part))


def one_line(text: str, longest: int = LONGEST) -> str:
    """Escape what is not printable, and shorten."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def quoted(value: object) -> str:
    """Show a value that the user wrote as YAML would, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return one_line(str(value), 40)
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"'{one_line(value, 40)}'" if isinstance(value, str) else "a mapping"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a mistyped one most likely means."""
    choices = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word[:200].casefold(), choices, n=1, cutoff=0.6)
    return choices[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?`, or an empty string if no known word is close."""
    near = closest(word, known)
    return "" if near is None else f"did you mean {quoted(near)}?"


def listed(words: Iterable[str], limit: int = 12) -> str:
    """Join the first words with commas."""
    shown = [one_line(word, 40) for word in words]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def unreadable(path: Path, error: OSError | ValueError) -> InputError:
    """Say in plain words why a file could not be opened."""
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        if not os.path.isdir(folder):
            return InputError("no such folder", file=str(path), remedy="check the path")
        near = did_you_mean(path.name, sorted(os.listdir(folder)))
        return InputError("no such file", file=str(path), remedy=near or "check the path")
    if isinstance(error, IsADirectoryError):
        return InputError("is a folder, not a file", file=str(path), remedy="name a file in it")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"cannot be read ({reason})", file=str(path))
