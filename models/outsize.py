"""A value beside which the others of its column cannot be told apart: nearly always a mistake.

Columns are shifted and scaled before a fit, so units do not matter but spread does: a value is
refused where the others have a spread that is less than eps times the whole one; eps is 1.2e-7 in
float32 and 2.2e-16 in float64. What multiplies, such as a weight, is not shifted: a row is refused
beside which all others together are less than eps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pyromoe.models.columns import numbers
from pyromoe.models.missing import filled
from pyromoe.models.predictors import Numeric

if TYPE_CHECKING:
    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.encoding import Encoding
    from pyromoe.models.table import Rows

REMEDY = "correct or remove the row"


def check_outsize(
    rows: Rows, used: IntArray, encoding: Encoding, precision: Literal["float32", "float64"]
) -> None:
    """Check every column of numbers that an encoding takes from a table.

    Args:
        rows: the table, every value of which is finite.
        used: the rows that are used, (N,).
        encoding: what was learned from them.
        precision: of the fit.

    Raises:
        InputError: naming column, row and value.
    """
    eps = float(np.finfo(precision).eps)
    parts = [part for part in encoding.predictors if isinstance(part, Numeric)]
    spread = [(part.name, part.missing) for part in parts]
    spread += [(each.name, encoding.incomplete) for each in encoding.targets if not each.labels]
    for name, incomplete in spread:
        whole = filled(rows, name)[0] if incomplete else rows
        _check_spread(rows, used, name, numbers(whole, name)[used], eps)
    for extra in encoding.extras:
        if extra.column is not None:
            added = extra.role == "offset" and not extra.log
            check = _check_spread if added else _check_share
            check(rows, used, extra.column, numbers(rows, extra.column)[used], eps)


def _check_spread(rows: Rows, used: IntArray, name: str, values: FloatArray, eps: float) -> None:
    low, high = float(values.min()), float(values.max())
    for far in (high, low):
        others = values[values != far]
        # Where most rows have the value, it is the others that are odd.
        if 2 * len(others) < len(values):
            continue
        first, last = float(others.min()), float(others.max())
        if 0 < last - first < eps * (high - low):
            what = f"beside {far:g} the others, {first:g} to {last:g}, cannot be told apart"
            raise rows.error(name, what, REMEDY, int(used[np.argmax(values == far)]))


def _check_share(rows: Rows, used: IntArray, name: str, values: FloatArray, eps: float) -> None:
    place = int(np.argmax(values))
    others = float(np.delete(values, place).sum())
    if 0 < others < eps * float(values[place]):
        what = f"beside {values[place]:g} all others, {others:g} in sum, count nothing"
        raise rows.error(name, what, REMEDY, int(used[place]))
