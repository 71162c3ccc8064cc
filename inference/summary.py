"""The first screen of a run, a comparison, a lab or a selection, before it is text or HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Worry:
    """Something to look into.

    Attributes:
        name: what kind it is of.
        what: was seen.
        remedy: what to do about it.
    """

    name: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A share, with what is to be said of it.

    Attributes:
        name: of what has it.
        share: 0 to 1.
        text: what else there is to say.
        expert: its number, by which it has a colour; None where it is no expert.
        said: in the place of the share; empty where that is to be said.
    """

    name: str
    share: float
    text: str
    expert: int | None = None
    said: str = ""

    @property
    def percent(self) -> str:
        """Return what is written beside the bar."""
        return self.said or f"{self.share:.1%}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What was fitted, how good it is, which expert does what, what to worry about.

    Attributes:
        title: in one line.
        what: was fitted, in sentences.
        how_good: it is, in sentences.
        bars_of: what the bars are of.
        bars: the experts by their share, or what else is set side by side.
        worries: the gravest first.
    """

    title: str
    what: tuple[str, ...]
    how_good: tuple[str, ...]
    bars_of: str
    bars: tuple[Bar, ...]
    worries: tuple[Worry, ...]


@dataclass(frozen=True, slots=True)
class Tabular:
    """Rows under headings, for the terminal and for a report.

    Attributes:
        headings: with line breaks where they are long.
        rows: numbers, names or None.
        note: what the headings mean.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str

    @classmethod
    def of(
        cls, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], note: str
    ) -> Tabular:
        """Return some columns of rows: their keys with their headings."""
        cells = tuple(tuple(row.get(key) for key in columns) for row in rows)
        return cls(tuple(columns.values()), cells, note)
