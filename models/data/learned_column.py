"""What is known of one column while an encoding is learned from a table's blocks."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.tables.columns import NUMBER, texts
from pyromoe.models.tables.missing import filled, is_there
from pyromoe.models.tables.moments import Moments, Totals
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.tables.responses import Family
    from pyromoe.models.tables.table import Rows

INTEGER = re.compile(r"-?\d{1,18}")


@dataclass(slots=True)
class Column:
    """What is known of a column so far.

    Attributes:
        words: its names, in a predictor of names or a response of classes.
        moments: of its numbers in training rows.
        totals: of a response of numbers in training rows.
        known: training rows that have a value.
        any: whether any row has one.
        missing: whether any has none.
        unordered: what is wrong with a class that is no number.
    """

    words: dict[str, None] = field(default_factory=dict)
    moments: Moments | None = None
    totals: Totals | None = None
    known: int = 0
    any: bool = False
    missing: bool = False
    unordered: InputError | None = None

    def add(self, moments: Moments, totals: Totals | None = None) -> None:
        """Add what was found in a block."""
        self.moments = moments if self.moments is None else self.moments + moments
        if totals is not None:
            self.totals = totals if self.totals is None else self.totals + totals

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "words": list(self.words),
            "moments": self.moments and dataclasses.asdict(self.moments),
            "totals": self.totals and dataclasses.asdict(self.totals),
            "counts": [self.known, self.any, self.missing],
            "unordered": self.unordered and self.unordered.parts,
        }

    def join(self, plain: dict[str, Any]) -> None:
        """Add what is known of the rows after these, as `plain` gave it."""
        self.words |= dict.fromkeys(plain["words"])
        if plain["moments"] is not None:
            totals = plain["totals"]
            self.add(Moments(**plain["moments"]), totals and Totals(**totals))
        known, any_, missing = plain["counts"]
        self.known, self.any = self.known + known, self.any or any_
        self.missing = self.missing or missing
        if self.unordered is None and plain["unordered"] is not None:
            self.unordered = InputError(**plain["unordered"])


def known_rows(
    rows: Rows, name: str, column: Column, *, may_be_missing: bool
) -> tuple[Rows | None, NDArray[np.bool_]]:
    """Return a table without missing values in a column, None where it has no value; and where."""
    there = is_there(rows, name) if may_be_missing else np.ones(rows.table.num_rows, dtype=bool)
    some, all_ = bool(there.any()), bool(there.all())
    column.any, column.missing = column.any or some, column.missing or not all_
    if not some:
        return None, there
    return (rows if all_ else filled(rows, name)[0]), there


def check_any(rows: Rows, name: str, column: Column) -> None:
    """Refuse a column without any value."""
    if not column.any:
        raise rows.error(name, "has no value at all", "remove the column, or fill it in")


def add_classes(
    rows: Rows, name: str, family: Family, levels: Sequence[str] | None, column: Column
) -> None:
    """Add the classes of a response; levels are those that it may have, if they are known."""
    found, words = texts(rows, name)
    for code, word in enumerate(words):
        if levels is not None and word not in levels:
            remedy = did_you_mean(word, levels) or f"levels: {listed(levels)}"
            what = f"{quoted(word)} is not one of likelihood.levels"
            raise rows.error(name, what, remedy, int(np.argmax(found == code)))
    column.words |= dict.fromkeys(words)
    if levels is not None or not RESPONSES[family].ordered or column.unordered is not None:
        return
    for word in sorted(words):
        if not NUMBER.fullmatch(word):
            what = f"{quoted(word)} is not a number, so the order of its classes is not known"
            remedy = "write them from the lowest, as in likelihood: {levels: [low, mid, high]}"
            row = int(np.argmax(found == words.index(word)))
            column.unordered = rows.error(name, what, remedy, row)
            return


def classes_of(
    rows: Rows, name: str, family: Family, levels: Sequence[str] | None, column: Column
) -> tuple[str, ...]:
    """Return the classes of a response in their order, or refuse them."""
    response, labels = RESPONSES[family], labels_of(column)
    if levels is not None:
        return tuple(levels)
    if len(labels) < 2:
        raise rows.error(name, f"has one class only, {quoted(labels[0])}", "check the column")
    if len(labels) > response.classes:
        what = f"has {len(labels)} classes ({listed(labels, 5)}), but family {family} has two"
        raise rows.error(name, what, "set likelihood.family: categorical")
    if column.unordered is not None:
        raise column.unordered
    return tuple(sorted(labels, key=float)) if response.ordered else labels


def scale_of(moments: Moments | None) -> tuple[float, float]:
    """Return mean and spread, 0 and 1 where nothing is standardised."""
    return (0.0, 1.0) if moments is None else (moments.mean, moments.sd or 1.0)


def labels_of(column: Column) -> tuple[str, ...]:
    """Return the names of a column in their order: whole numbers by size, others as text."""
    if all(INTEGER.fullmatch(label) for label in column.words):
        return tuple(sorted(column.words, key=int))
    return tuple(sorted(column.words))
