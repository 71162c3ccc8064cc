"""The largest and smallest values of a column, as far as they show that one drowns the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pyromoe.models.tables.table import Rows

if TYPE_CHECKING:
    from pyromoe.models.errors import InputError
    from pyromoe.models.tables.columns import FloatArray, IntArray

REMEDY = "correct or remove the row"


@dataclass(frozen=True, slots=True)
class Place:
    """What a message says of a row: the table's name, and the row's number."""

    source: str
    row: int

    @classmethod
    def of(cls, rows: Rows, row: int) -> Place:
        """Return that of a row of a table, counted from 0."""
        return cls(rows.source, row + rows.first_row)

    def error(self, column: str, what: str) -> InputError:
        """Return an error about the row."""
        nothing = Rows(pa.table({}), self.source, first_row=self.row)
        return nothing.error(column, what, REMEDY, 0)


@dataclass(slots=True)
class Extreme:
    """The two largest different values of a column, and the first row of the largest."""

    place: Place
    value: float
    number: int
    next: float | None

    @classmethod
    def of(cls, rows: Rows, used: IntArray, values: FloatArray) -> Extreme:
        """Return that of values, (N,), which rows of a table have, (N,)."""
        value = float(values.max())
        equal = values == value
        others = values[~equal]
        following = float(others.max()) if len(others) else None
        where = int(used[int(np.argmax(equal))])
        return cls(Place.of(rows, where), value, int(equal.sum()), following)

    @classmethod
    def again(cls, plain: dict[str, Any]) -> Extreme:
        """Return what was a dictionary."""
        return cls(**plain | {"place": Place(**plain["place"])})

    def joined(self, other: Extreme) -> Extreme:
        """Return those of both; of equal ones the first."""
        first, second = (self, other) if self.value >= other.value else (other, self)
        equal = first.value == second.value
        number = first.number + second.number if equal else first.number
        rest = [first.next, second.next if equal else second.value]
        following = max((value for value in rest if value is not None), default=None)
        return Extreme(first.place, first.value, number, following)


@dataclass(slots=True)
class Spread:
    """What tells whether a column has a value that is far from all others."""

    high: Extreme
    low: Extreme
    """Of the values times -1."""
    number: int

    def within(self, values: FloatArray) -> bool:
        """Return whether all of these are between the second values from both ends."""
        if self.high.next is None or self.low.next is None:
            return False
        return bool(-self.low.next < values.min() and values.max() < self.high.next)

    @classmethod
    def again(cls, plain: dict[str, Any]) -> Spread:
        """Return what was a dictionary."""
        return cls(Extreme.again(plain["high"]), Extreme.again(plain["low"]), plain["number"])

    def joined(self, other: Spread) -> Spread:
        """Return that of both."""
        high, low = self.high.joined(other.high), self.low.joined(other.low)
        return Spread(high, low, self.number + other.number)

    def error(self, name: str, eps: float) -> InputError | None:
        """Return what is wrong with a column."""
        low, high = -self.low.value, self.high.value
        for far, sign in ((self.high, 1.0), (self.low, -1.0)):
            # Where most rows have the value, it is the others that are odd.
            if far.next is None or 2 * (self.number - far.number) < self.number:
                continue
            first, last = (low, far.next) if sign > 0 else (-far.next, high)
            if 0 < last - first < eps * (high - low):
                value = sign * far.value
                what = f"beside {value:g} the others, {first:g} to {last:g}, cannot be told apart"
                return far.place.error(name, what)
        return None


@dataclass(slots=True)
class Share:
    """The largest value of a column, its first row, and the sum of all others."""

    place: Place
    value: float
    others: float

    @classmethod
    def of(cls, rows: Rows, used: IntArray, values: FloatArray) -> Share:
        """Return that of values, (N,), which rows of a table have, (N,)."""
        largest = int(np.argmax(values))
        others = float(np.delete(values, largest).sum())
        return cls(Place.of(rows, int(used[largest])), float(values[largest]), others)

    @classmethod
    def again(cls, plain: dict[str, Any]) -> Share:
        """Return what was a dictionary."""
        return cls(**plain | {"place": Place(**plain["place"])})

    def joined(self, other: Share) -> Share:
        """Return those of both; of equal ones the first."""
        first, second = (self, other) if self.value >= other.value else (other, self)
        others = first.others + second.others + second.value
        return Share(first.place, first.value, others)

    def error(self, name: str, eps: float) -> InputError | None:
        """Return what is wrong with a column."""
        if not 0 < self.others < eps * self.value:
            return None
        what = f"beside {self.value:g} all others, {self.others:g} in sum, count nothing"
        return self.place.error(name, what)
