"""A value beside which the others of its column cannot be told apart: nearly always a mistake.

Columns are shifted and scaled before a fit, so units do not matter but spread does: a value is
refused where the others have a spread that is less than eps times the whole one; eps is 1.2e-7 in
float32 and 2.2e-16 in float64. What multiplies, such as a weight, is not shifted: a row is refused
beside which all others together are less than eps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyromoe.models.columns import numbers
from pyromoe.models.missing import filled, is_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.encoding import Extra
    from pyromoe.models.errors import InputError
    from pyromoe.models.table import Rows

REMEDY = "correct or remove the row"


@dataclass(slots=True)
class _Extreme:
    """The two largest different values of a column, and the first row of the largest."""

    rows: Rows
    row: int
    value: float
    number: int
    next: float | None

    @classmethod
    def of(cls, rows: Rows, used: IntArray, values: FloatArray) -> _Extreme:
        value = float(values.max())
        equal = values == value
        others = values[~equal]
        following = float(others.max()) if len(others) else None
        where = int(used[int(np.argmax(equal))])
        # Of the table only what an error names is kept, not its columns.
        return cls(rows.without_columns(), where, value, int(equal.sum()), following)

    def joined(self, other: _Extreme) -> _Extreme:
        """Return those of both; of equal ones the first."""
        first, second = (self, other) if self.value >= other.value else (other, self)
        equal = first.value == second.value
        number = first.number + second.number if equal else first.number
        rest = [first.next, second.next if equal else second.value]
        following = max((value for value in rest if value is not None), default=None)
        return _Extreme(first.rows, first.row, first.value, number, following)


@dataclass(slots=True)
class _Spread:
    """What tells whether a column has a value that is far from all others."""

    high: _Extreme
    low: _Extreme
    """Of the values times -1."""
    number: int

    def within(self, values: FloatArray) -> bool:
        """Return whether all of these are between the second values from both ends."""
        if self.high.next is None or self.low.next is None:
            return False
        return bool(-self.low.next < values.min() and values.max() < self.high.next)

    def joined(self, other: _Spread) -> _Spread:
        high, low = self.high.joined(other.high), self.low.joined(other.low)
        return _Spread(high, low, self.number + other.number)

    def error(self, name: str, eps: float) -> InputError | None:
        low, high = -self.low.value, self.high.value
        for far, sign in ((self.high, 1.0), (self.low, -1.0)):
            # Where most rows have the value, it is the others that are odd.
            if far.next is None or 2 * (self.number - far.number) < self.number:
                continue
            first, last = (low, far.next) if sign > 0 else (-far.next, high)
            if 0 < last - first < eps * (high - low):
                value = sign * far.value
                what = f"beside {value:g} the others, {first:g} to {last:g}, cannot be told apart"
                return far.rows.error(name, what, REMEDY, far.row)
        return None


@dataclass(slots=True)
class _Share:
    """The largest value of a column, its first row, and the sum of all others."""

    rows: Rows
    row: int
    value: float
    others: float

    def joined(self, other: _Share) -> _Share:
        """Return those of both; of equal ones the first."""
        first, second = (self, other) if self.value >= other.value else (other, self)
        others = first.others + second.others + second.value
        return _Share(first.rows, first.row, first.value, others)

    def error(self, name: str, eps: float) -> InputError | None:
        if not 0 < self.others < eps * self.value:
            return None
        what = f"beside {self.value:g} all others, {self.others:g} in sum, count nothing"
        return self.rows.error(name, what, REMEDY, self.row)


@dataclass(slots=True)
class Outsize:
    """Looks for such values in the columns of a table, whole or block by block.

    Args:
        shifted: the columns of numbers that are shifted and scaled, and whether each may have
            missing values.
        extras: what else belongs to each row.
        precision: of the fit.
    """

    shifted: Sequence[tuple[str, bool]]
    extras: Sequence[Extra]
    precision: Literal["float32", "float64"]
    spreads: dict[str, _Spread] = field(default_factory=dict)
    shares: dict[str, _Share] = field(default_factory=dict)

    def add(self, rows: Rows, used: IntArray) -> None:
        """Add a table, every value of which is finite, and the rows of it that are used, (N,)."""
        if not len(used):
            return
        for name, incomplete in self.shifted:
            if incomplete and not is_there(rows, name).any():
                continue
            whole = filled(rows, name)[0] if incomplete else rows
            values = numbers(whole, name)
            self._spread(rows, used, name, values if len(used) == len(values) else values[used])
        for extra in self.extras:
            if extra.column is None:
                continue
            values = numbers(rows, extra.column)[used]
            if extra.role == "offset" and not extra.log:
                self._spread(rows, used, extra.column, values)
                continue
            place = int(np.argmax(values))
            others = float(np.delete(values, place).sum())
            bare = rows.without_columns()
            share = _Share(bare, int(used[place]), float(values[place]), others)
            before = self.shares.get(extra.column)
            self.shares[extra.column] = share if before is None else before.joined(share)

    def check(self) -> None:
        """Refuse such a value.

        Raises:
            InputError: naming column, row and value.
        """
        eps = float(np.finfo(self.precision).eps)
        errors = [each.error(name, eps) for name, each in self.spreads.items()]
        errors += [each.error(name, eps) for name, each in self.shares.items()]
        for error in errors:
            if error is not None:
                raise error

    def _spread(self, rows: Rows, used: IntArray, name: str, values: FloatArray) -> None:
        before = self.spreads.get(name)
        if before is not None and before.within(values):
            before.number += len(values)
            return
        high, low = _Extreme.of(rows, used, values), _Extreme.of(rows, used, -values)
        spread = _Spread(high, low, len(values))
        self.spreads[name] = spread if before is None else before.joined(spread)
