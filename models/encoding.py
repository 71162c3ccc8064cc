"""From columns of a table to numbers for a model, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from pyromoe.models.columns import codes, counts, numbers
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.settings import Section, problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.table import Rows

Family = Literal["normal", "bernoulli", "categorical", "poisson"]
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


class Target(Section):
    """What is predicted: a standardised number, the code of a class, or a count."""

    name: str
    family: Family
    mean: float = 0.0
    sd: Spread = 1.0
    labels: tuple[str, ...] = ()


Predictor = Annotated[Numeric | Levels, Field(discriminator="kind")]


class Encoding(Section):
    """What was learned from the training rows: N rows become (N, D) and (N,)."""

    predictors: tuple[Predictor, ...]
    target: Target

    @model_validator(mode="after")
    def _check(self) -> Encoding:
        names = [part.name for part in self.predictors]
        lists = [part.levels for part in self.predictors if isinstance(part, Levels)]
        if any(len(set(each)) < len(each) for each in (names, self.target.labels, *lists)):
            raise problem("a name is there twice")
        if bool(self.target.labels) != (self.target.family in ("bernoulli", "categorical")):
            raise problem("labels do not fit the family")
        if self.target.family == "bernoulli" and len(self.target.labels) != 2:
            raise problem("bernoulli needs two labels")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the D columns of the design."""
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
        """Return the predictors, (N, D)."""
        empty = np.empty((rows.table.num_rows, 0))
        return np.concatenate([empty, *(part.encode(rows) for part in self.predictors)], axis=1)

    def response(self, rows: Rows) -> FloatArray | IntArray:
        """Return the response, (N,): codes of classes as integers, otherwise floats."""
        target = self.target
        if target.labels:
            return codes(rows, target.name, target.labels)
        if target.family == "poisson":
            return counts(rows, target.name)
        return (numbers(rows, target.name) - target.mean) / target.sd

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
