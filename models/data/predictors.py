"""Predictors: from columns of a table to columns of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from pyromoe.models.specs.settings import Section
from pyromoe.models.tables.columns import codes, numbers
from pyromoe.models.tables.missing import filled, is_there

if TYPE_CHECKING:
    from pyromoe.models.tables.columns import FloatArray
    from pyromoe.models.tables.table import Rows

Spread = Annotated[float, Field(gt=0)]


class Numeric(Section):
    """A predictor of numbers: one column, `(x - mean) / sd`.

    Where values may be missing, they are 0 there, and a second column is 1 for them.
    """

    kind: Literal["numeric"] = "numeric"
    name: str
    mean: float = 0.0
    sd: Spread = 1.0
    missing: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns in the design."""
        return (self.name, f"{self.name}:missing") if self.missing else (self.name,)

    def encode(self, rows: Rows) -> FloatArray:
        """Return (N, 1), or (N, 2) where values may be missing."""
        if not self.missing:
            return ((numbers(rows, self.name) - self.mean) / self.sd)[:, None]
        there = is_there(rows, self.name)
        if not there.any():
            return np.stack([np.zeros(len(there)), ~there], -1)
        whole, there = filled(rows, self.name)
        values = (numbers(whole, self.name) - self.mean) / self.sd
        return np.stack([np.where(there, values, 0.0), ~there], -1)


class Levels(Section):
    """A predictor of names: a column of 0 and 1 for each level but the first, the reference.

    Where values may be missing, that is one more level.
    """

    kind: Literal["levels"] = "levels"
    name: str
    levels: Annotated[tuple[str, ...], Field(min_length=1)]
    missing: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns in the design."""
        names = tuple(f"{self.name}={level}" for level in self.levels[1:])
        return (*names, f"{self.name}:missing") if self.missing else names

    def encode(self, rows: Rows) -> FloatArray:
        """Return (N, L - 1) for L levels, and one more where values may be missing."""
        if not self.missing:
            return self._dummies(rows)
        there = is_there(rows, self.name)
        if not there.any():
            return np.stack([*[np.zeros(len(there))] * (len(self.levels) - 1), ~there], -1)
        whole, there = filled(rows, self.name)
        dummies = self._dummies(whole) * there[:, None]
        return np.concatenate([dummies, ~there[:, None]], axis=1)

    def _dummies(self, rows: Rows) -> FloatArray:
        found = codes(rows, self.name, self.levels)
        dummies: FloatArray = (found[:, None] == np.arange(1, len(self.levels))).astype(np.float64)
        return dummies


Predictor = Annotated[Numeric | Levels, Field(discriminator="kind")]
