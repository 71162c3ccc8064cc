"""A value beside which the others of its column cannot be told apart: nearly always a mistake.

Columns are shifted and scaled before a fit, so units do not matter but spread does: a value is
refused where the others have a spread that is less than eps times the whole one; eps is 1.2e-7 in
float32 and 2.2e-16 in float64. What multiplies, such as a weight, is not shifted: a row is refused
beside which all others together are less than eps.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyromoe.models.tables.columns import numbers
from pyromoe.models.tables.extremes import Extreme, Share, Spread
from pyromoe.models.tables.missing import filled, is_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.data.encoding import Extra
    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.table import Rows


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
    spreads: dict[str, Spread] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)

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
            self._join_share(extra.column, Share.of(rows, used, values))

    def plain(self) -> dict[str, Any]:
        """Return what was found as JSON can hold it."""
        return {
            "spreads": {name: dataclasses.asdict(each) for name, each in self.spreads.items()},
            "shares": {name: dataclasses.asdict(each) for name, each in self.shares.items()},
        }

    def join(self, plain: dict[str, Any]) -> None:
        """Add what was found in the rows after these, as `plain` gave it."""
        for name, each in plain["spreads"].items():
            self._join_spread(name, Spread.again(each))
        for name, each in plain["shares"].items():
            self._join_share(name, Share.again(each))

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
        high, low = Extreme.of(rows, used, values), Extreme.of(rows, used, -values)
        self._join_spread(name, Spread(high, low, len(values)))

    def _join_spread(self, name: str, spread: Spread) -> None:
        before = self.spreads.get(name)
        self.spreads[name] = spread if before is None else before.joined(spread)

    def _join_share(self, name: str, share: Share) -> None:
        before = self.shares.get(name)
        self.shares[name] = share if before is None else before.joined(share)
