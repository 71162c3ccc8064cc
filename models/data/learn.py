"""Learn an encoding from a table, whole or block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pyromoe.models.data.encoding import Encoding, Target
from pyromoe.models.data.learned_column import (
    Column,
    add_classes,
    check_any,
    classes_of,
    known_rows,
    labels_of,
    scale_of,
)
from pyromoe.models.data.predictors import Levels, Numeric
from pyromoe.models.errors import InputError
from pyromoe.models.tables.columns import numbers, texts
from pyromoe.models.tables.moments import Moments, Totals
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyromoe.models.data.encoding import Extra
    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.responses import Family
    from pyromoe.models.tables.table import Rows

AS_PREDICTOR = "correct it, or list the column under data.categorical"
AS_RESPONSE = "correct it, or set likelihood.family: categorical"


class Learner:
    """Learns an encoding: means and spreads from the training rows, levels and classes from all.

    The rows of a table are added at once, or block by block: that gives the same to rounding.

    Args:
        responses: The columns to predict, with the family of each expert (or one for all), and
            ordered classes from the lowest, or None where there are none or they are numbers.
        predictors: Columns to predict from.
        categorical: Those of the predictors whose values are names.
        standardise: Which numeric columns get mean 0 and spread 1.
        extras: What else belongs to each row.
        group: The column that says which rows share a z.
        incomplete: Whether responses, and predictors, may be missing.
        centred: Whether standardised predictors get mean 0; an intercept that experts share would
            otherwise be shared at the means, and not at 0.
    """

    def __init__(
        self,
        *,
        responses: Sequence[tuple[str, Sequence[Family], Sequence[str] | None]],
        predictors: Sequence[str],
        categorical: Sequence[str] = (),
        standardise: Literal["none", "predictors", "predictors_and_response"],
        extras: Sequence[Extra] = (),
        group: str | None = None,
        incomplete: tuple[bool, bool] = (False, False),
        centred: bool = True,
    ) -> None:
        self.responses, self.predictors, self.categorical = responses, predictors, categorical
        self.standardise, self.extras, self.group = standardise, extras, group
        self.incomplete, self.centred = incomplete, centred
        self.training = 0
        self.of_predictors = {name: Column() for name in predictors}
        self.of_responses = [Column() for _ in responses]

    def add(self, rows: Rows, training: IntArray) -> None:
        """Add rows; every value of the columns used is checked.

        Args:
            rows: All rows of a table, or a block of them.
            training: Indices of the training rows, (N_train,).
        """
        self.training += len(training)
        counts = _counts(rows, self.extras)
        for name, column in self.of_predictors.items():
            source, there = known_rows(rows, name, column, may_be_missing=self.incomplete[1])
            if source is None:
                continue
            if name in self.categorical:
                column.words |= dict.fromkeys(texts(source, name)[1])
                continue
            values, known = numbers(source, name, AS_PREDICTOR), _places(training, there)
            if self.standardise != "none" and values[known].size:
                column.add(Moments.of(values[known], None if counts is None else counts[known]))
        for (name, families, levels), column in zip(self.responses, self.of_responses, strict=True):
            source, there = known_rows(rows, name, column, may_be_missing=self.incomplete[0])
            if source is None:
                continue
            if RESPONSES[families[0]].classes:
                add_classes(source, name, families[0], levels, column)
                continue
            known = _places(training, there)
            own = numbers(source, name, AS_RESPONSE)[known]
            column.known += len(own)
            extras = {extra.role: extra.encode(rows)[known] for extra in self.extras}
            if len(own):
                counted = None if counts is None else counts[known]
                column.add(Moments.of(own, counted), Totals.of(own, counted, extras))

    def plain(self) -> dict[str, Any]:
        """Return what was learned so far as JSON can hold it."""
        return {"training": self.training, "columns": [each.plain() for each in self._columns]}

    def join(self, plain: dict[str, Any]) -> None:
        """Add what another one learned of the rows after these, as `plain` gave it."""
        self.training += plain["training"]
        for column, more in zip(self._columns, plain["columns"], strict=True):
            column.join(more)

    @property
    def _columns(self) -> list[Column]:
        return [*self.of_predictors.values(), *self.of_responses]

    def whole(self, rows: Rows, training: IntArray) -> Encoding:
        """Return what a whole table teaches."""
        self.add(rows, training)
        return self.encoding(rows)

    def encoding(self, rows: Rows) -> Encoding:
        """Return what was learned; `rows`, any of those that were added, name the table."""
        if self.training < 2:
            what = f"{self.training} training row{'s' if self.training != 1 else ''}"
            raise InputError(what, file=rows.source, remedy="a fit needs two or more")
        parts: list[Numeric | Levels] = []
        for name, column in self.of_predictors.items():
            check_any(rows, name, column)
            if name in self.categorical:
                parts.append(Levels(name=name, levels=labels_of(column), missing=column.missing))
                continue
            mean, sd = scale_of(column.moments)
            mean = mean if self.centred else 0.0
            parts.append(Numeric(name=name, mean=mean, sd=sd, missing=column.missing))
        return Encoding(
            predictors=tuple(parts),
            targets=tuple(self._target(rows, i) for i in range(len(self.responses))),
            extras=tuple(self.extras),
            incomplete=self.incomplete[0],
            group=self.group,
        )

    def _target(self, rows: Rows, place: int) -> Target:
        (name, families, levels), column = self.responses[place], self.of_responses[place]
        check_any(rows, name, column)
        each = [RESPONSES[family] for family in families]
        if each[0].classes:
            labels = classes_of(rows, name, families[0], levels, column)
            return Target(name=name, families=tuple(families), labels=labels)
        moments, totals = column.moments, column.totals
        if column.known < 2 or moments is None or totals is None:
            what = f"{column.known} training rows have a value"
            raise rows.error(name, what, "a fit needs two or more")
        whole = self.standardise == "predictors_and_response"
        scaled = whole and all(response.standardised for response in each)
        mean, sd = scale_of(moments) if scaled else (0.0, 1.0)
        low, high = ((value - mean) / sd for value in (moments.low, moments.high))
        return Target(
            name=name,
            families=tuple(families),
            mean=mean,
            sd=sd,
            levels=tuple(totals.level(response.link) for response in each),
            low=low,
            high=high if high > low else low + max(1.0, abs(low)),
        )


def _counts(rows: Rows, extras: Sequence[Extra]) -> FloatArray | None:
    """Return how often each row counts, (N,); None for once."""
    return next((extra.encode(rows) for extra in extras if extra.role == "weight"), None)


def _places(training: IntArray, there: NDArray[np.bool_]) -> IntArray | slice:
    """Return the training rows that have a value; all of a table as a slice, without copying."""
    if there.all():
        return slice(None) if len(training) == len(there) else training
    return training[there[training]]
