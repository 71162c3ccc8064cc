"""Guesses at a specification from the values of a table: which column plays which part, and why.

Each is where a user starts, not a test: the family is guessed from the response alone, as if it
did not depend on the predictors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from pyromoe.models.errors import InputError, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.tables.column_summary import ColumnSummary
    from pyromoe.models.tables.responses import Family

T = TypeVar("T")

RESPONSE_NAMES = ("y", "target", "response", "outcome", "label", "class")
CLASS_NAMES = re.compile(r"(target|label|class|species|type|category|kind|digit)s?", re.I)
UNIT_NAMES = re.compile(
    r"id|subject|patient|person|participant|firm|company|school|household|user|customer", re.I
)
FEWEST_UNITS = 5
FEW_LEVELS = 10
NEAR_ZERO = 10
"""Counts reach down to here; whole numbers that do not, such as prices, are taken as measured."""
OVERDISPERSED = 1.5
SKEWED = 1.0
SMALL_TABLE = 500
SHARE_TO_DROP = 0.05


@dataclass(frozen=True, slots=True)
class Guess(Generic[T]):
    """A value, and the reason for it in a few words."""

    value: T
    why: str


def guess_response(columns: Sequence[ColumnSummary], source: str) -> Guess[str]:
    """Return the column named like a response, or the last that could be one.

    Raises:
        InputError: where no column could be.
    """
    possible = [c.name for c in columns if c.distinct > 1 and not is_identifier(c)]
    if not possible:
        what = "no column could be predicted: each has one value only, or is an identifier"
        raise InputError(what, file=source, remedy="is this the right file?")
    for name in RESPONSE_NAMES:
        for column in possible:
            if column.casefold() == name:
                return Guess(column, "by its name")
    return Guess(possible[-1], "the last column that could be")


def guess_family(column: ColumnSummary) -> Guess[Family]:
    """Return a family that the values of a response, two or more finite ones, allow."""
    if column.distinct == 2:
        return Guess("bernoulli", "two different values")
    if column.kind == "text":
        return Guess("categorical", f"text, {column.distinct} different values")
    values = column.numbers
    low, high = values.min(), values.max()
    if column.kind == "integer":
        classes = _guess_classes(column)
        if classes is not None:
            return classes
        if 0 <= low <= NEAR_ZERO:
            mean = values.mean()
            ratio = float((values / mean).var() * mean)  # the square of a large one need not be one
            why = f"whole numbers from {low:g}, their variance {ratio:.3g} times their mean"
            return Guess("poisson" if ratio < OVERDISPERSED else "negative_binomial", why)
    if low > 0 and high < 1:
        return Guess("beta", f"numbers between {low:.3g} and {high:.3g}")
    if low > 0 and (skewness := _skewness(values)) > SKEWED:
        return Guess("gamma", f"numbers above 0 with a long tail, skewness {skewness:.2g}")
    return Guess("normal", f"numbers between {low:.6g} and {high:.6g}")


def _guess_classes(column: ColumnSummary) -> Guess[Family] | None:
    """Return the family of a few whole numbers that stand for classes, None if they are counts."""
    levels, counts = np.unique(column.numbers, return_counts=True)
    why = f"whole numbers, {column.distinct} different ones"
    if column.distinct > FEW_LEVELS or levels[-1] - levels[0] >= 2 * FEW_LEVELS:
        return None
    if CLASS_NAMES.fullmatch(column.name):
        return Guess("categorical", f"{why}, and by its name")
    if levels[0] >= 1:
        return Guess("ordinal", f"{why}, from {levels[0]:g} to {levels[-1]:g}")
    balanced = counts.min() > 0.5 * counts.mean()
    return Guess("categorical", f"{why}, all about as frequent") if balanced else None


def _skewness(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    scaled = values / np.abs(values).max()  # the cube of a large number need not be one
    spread = scaled.std()
    return float((((scaled - scaled.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def is_identifier(column: ColumnSummary) -> bool:
    """Return whether a column names or counts the rows, and so says nothing about them."""
    if column.distinct < column.num_rows or column.kind not in ("text", "integer"):
        return False
    counted = len(column.numbers) and column.numbers.min() in (0, 1)
    counted = counted and np.ptp(column.numbers) == column.num_rows - 1
    return bool(column.kind == "text" or counted or _names_units(column))


def _names_units(column: ColumnSummary) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column.name)
    return any(UNIT_NAMES.fullmatch(word) for word in re.split(r"[\W_]+", words))


def reason_to_leave_out(column: ColumnSummary) -> str:
    """Return why a column would not help to predict anything, or an empty text."""
    if column.kind == "empty":
        return "no values"
    if column.distinct == 1:
        return "one value only"
    if is_identifier(column):
        return "a different value in every row"
    if column.kind == "text" and column.distinct > column.num_rows / 2:
        return "text, different in most rows"
    return ""


def guess_group(columns: Sequence[ColumnSummary]) -> Guess[str | None]:
    """Return the column whose name and values say which rows belong together, if there is one."""
    for column in columns:
        repeated = FEWEST_UNITS <= column.distinct <= column.num_rows / 2 and not column.missing
        if repeated and column.kind in ("text", "integer") and _names_units(column):
            return Guess(column.name, f"its {column.distinct} values repeat, and by its name")
    return Guess(None, "each row for itself")


def guess_number(units: int) -> Guess[int]:
    """Return a number of experts to start with, for so many rows or groups."""
    return Guess(2 if units < SMALL_TABLE else 4, "a start; pyromoe select compares numbers")


def guess_missing(columns: Sequence[ColumnSummary]) -> Guess[str]:
    """Return what to do with missing predictors: drop few rows, keep many."""
    lacking = int((~np.all([c.there for c in columns], axis=0)).sum())
    rows = columns[0].num_rows
    few = lacking <= SHARE_TO_DROP * rows
    why = f"{lacking} of {rows} rows lack one, in {_named(columns)}"
    return Guess("drop" if few else "indicate", why)


def _named(columns: Sequence[ColumnSummary]) -> str:
    names = [quoted(c.name) for c in columns if c.missing]
    return names[0] if len(names) == 1 else f"{len(names)} columns"
