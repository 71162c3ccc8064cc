"""What is on a page, before it is HTML."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.pictures import palette, to_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from pyromoe.inference.summary import Bar, Summary, Tabular

BARS = 8
"""Experts on the first screen."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing.

    Attributes:
        title: what it shows.
        svg: the file.
        text: what is to be seen in it, in numbers, for those who cannot see it.
    """

    title: str
    svg: bytes
    text: str

    @classmethod
    def of(cls, title: str, figure: Figure, text: str) -> Picture:
        """Return a figure as a picture."""
        return cls(title, to_svg(figure, title), text)

    @property
    def source(self) -> str:
        """The file as a URL that holds it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        title: what it is of.
        columns: the headings.
        rows: numbers, names or None, as many as there are headings.
        note: what the headings mean.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""

    @classmethod
    def of(cls, title: str, tabular: Tabular) -> Table:
        """Return a table of the terminal, whose lines a browser breaks itself."""
        columns = tuple(
            heading.replace("-\n", "").replace("\n", " ") for heading in tabular.headings
        )
        return cls(title, columns, tabular.rows, tabular.note)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns are of numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(all(v is None or isinstance(v, (int, float)) for v in c) for c in columns)


@dataclass(frozen=True, slots=True)
class Listing:
    """Text that is shown letter by letter: commands, a file."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: sentences, tables, pictures, tables with details, listings."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    details: tuple[Table, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        kind: of directory.
        summary: the first screen.
        colours: of the experts.
        sections: what follows.
    """

    kind: str
    summary: Summary
    colours: tuple[str, ...]
    sections: tuple[Section, ...]


def colours_of(bars: Sequence[Bar]) -> tuple[str, ...]:
    """Return the colour of each expert, by its number, as in the pictures of its fit."""
    shares = {bar.expert: bar.share for bar in bars if bar.expert is not None}
    return tuple(palette(len(shares), np.array([shares[k] for k in sorted(shares)])))
