"""From columns of a table to numbers for a model, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from pyromoe.models.columns import codes, counts, numbers, positives
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.responses import RESPONSES, Family
from pyromoe.models.settings import Section, problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.table import Rows

TRIALS = "correct it, or name another column under data.trials"
EXPOSURE = "a row without exposure tells nothing, and can be removed"
Spread = Annotated[float, Field(gt=0)]


class Numeric(Section):
    """A predictor of numbers: one column, `(x - mean) / sd`."""

    kind: Literal["numeric"] = "numeric"
    name: str
    mean: float = 0.0
    sd: Spread = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of its column in the design."""
        return (self.name,)

    def encode(self, rows: Rows) -> FloatArray:
        """Return (N, 1)."""
        return ((numbers(rows, self.name) - self.mean) / self.sd)[:, None]


class Levels(Section):
    """A predictor of names: a column of 0 and 1 for each level but the first, the reference."""

    kind: Literal["levels"] = "levels"
    name: str
    levels: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns in the design."""
        return tuple(f"{self.name}={level}" for level in self.levels[1:])

    def encode(self, rows: Rows) -> FloatArray:
        """Return (N, L - 1) for L levels."""
        found = codes(rows, self.name, self.levels)
        dummies: FloatArray = (found[:, None] == np.arange(1, len(self.levels))).astype(np.float64)
        return dummies


class Extra(Section):
    """A number of each row that no network sees: an offset, or trials."""

    role: Literal["offset", "trials"]
    column: str | None = None
    log: bool = False
    constant: float = 0.0

    def encode(self, rows: Rows) -> FloatArray:
        """Return the column or its logarithm, (N,); without a column one number throughout."""
        if self.column is None:
            return np.full(rows.table.num_rows, self.constant)
        if self.role == "trials":
            return counts(rows, self.column, TRIALS)
        if self.log:
            return np.log(positives(rows, self.column, EXPOSURE))
        return numbers(rows, self.column)


class Target(Section):
    """What is predicted: a number, standardised where the family allows it, or a class's code.

    `level` is where the experts' linear predictor starts: the link of the mean response.
    """

    name: str
    family: Family
    mean: float = 0.0
    sd: Spread = 1.0
    level: float = 0.0
    labels: tuple[str, ...] = ()


Predictor = Annotated[Numeric | Levels, Field(discriminator="kind")]


class Encoding(Section):
    """What was learned from the training rows: N rows become (N, D + extras) and (N,)."""

    predictors: tuple[Predictor, ...]
    target: Target
    extras: tuple[Extra, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Encoding:
        names = [part.name for part in self.predictors]
        lists = [part.levels for part in self.predictors if isinstance(part, Levels)]
        if any(len(set(each)) < len(each) for each in (names, self.target.labels, *lists)):
            raise problem("a name is there twice")
        response = RESPONSES[self.target.family]
        if not min(response.classes, 2) <= len(self.target.labels) <= response.classes:
            raise problem("labels do not fit the family")
        roles = [extra.role for extra in self.extras]
        if len(set(roles)) < len(roles) or ("trials" in roles) != response.trials:
            raise problem("extras do not fit the family")
        if "offset" in roles and response.link is None:
            raise problem("an offset does not fit the family")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the first D columns of the design, those of the predictors."""
        return tuple(name for part in self.predictors for name in part.columns)

    @property
    def num_classes(self) -> int:
        """The number of classes, 0 for a response that has none."""
        return len(self.target.labels)

    @property
    def log_jacobian(self) -> float:
        """Nats a datum to add to a log density of `response` to get that of the original one."""
        return -float(np.log(self.target.sd))

    def indices(self, names: Sequence[str] | Literal["all"]) -> tuple[int, ...]:
        """Return which of the D columns belong to some predictors."""
        known = [part.name for part in self.predictors]
        for name in () if names == "all" else names:
            if name not in known:
                remedy = did_you_mean(name, known) or f"known: {listed(known)}"
                raise InputError(f"no predictor {quoted(name)}", remedy=remedy)
        owners = [part.name for part in self.predictors for _ in part.columns]
        return tuple(i for i, owner in enumerate(owners) if names == "all" or owner in names)

    def design(self, rows: Rows) -> FloatArray:
        """Return the predictors, (N, D), and after them a column for each extra."""
        empty = np.empty((rows.table.num_rows, 0))
        extras = (self._extra(extra, rows)[:, None] for extra in self.extras)
        parts = (part.encode(rows) for part in self.predictors)
        return np.concatenate([empty, *parts, *extras], axis=1)

    def _extra(self, extra: Extra, rows: Rows) -> FloatArray:
        # An offset is in the units of what it is added to, and so scaled as the response was; its
        # own mean and spread do not matter.
        values = extra.encode(rows)
        return values / self.target.sd if extra.role == "offset" else values

    def response(self, rows: Rows) -> FloatArray | IntArray:
        """Return the response, (N,): codes of classes as integers, otherwise floats."""
        target = self.target
        read = RESPONSES[target.family].read
        if read is None:
            return codes(rows, target.name, target.labels)
        values = read(rows, target.name)
        for extra in self.extras:
            if extra.role == "trials":
                _check_trials(rows, target.name, values, extra)
        return (values - target.mean) / target.sd

    def decode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return encoded responses, of any shape, on the original scale or as labels."""
        if self.target.labels:
            return np.array(self.target.labels)[np.asarray(values, dtype=np.int64)]
        return np.asarray(values, dtype=np.float64) * self.target.sd + self.target.mean

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, numbers and text."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: object) -> Encoding:
        """Rebuild what `to_json` gave; anything else is an error."""
        try:
            return cls.model_validate_json(json.dumps(value))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"not a valid encoding ({first['msg']})", field=where) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"not a valid encoding ({error})") from None


def _check_trials(rows: Rows, name: str, successes: FloatArray, extra: Extra) -> None:
    trials = extra.encode(rows)
    wrong = successes > trials
    if wrong.any():
        row = int(np.argmax(wrong))
        what = f"{successes[row]:g} successes in {trials[row]:g} trials"
        where = "data.trials" if extra.column is None else f"column {quoted(extra.column)}"
        raise rows.error(name, what, f"correct it, or {where}", row)
