"""From columns of a table to numbers for a model, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from pyromoe.models.data.predictors import Levels, Predictor, Spread
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.specs.settings import Section, problem
from pyromoe.models.tables.columns import codes, counts, numbers, positives
from pyromoe.models.tables.missing import filled, is_there
from pyromoe.models.tables.responses import RESPONSES, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.table import Rows

TRIALS = "correct it, or name another column under data.trials"
EXPOSURE = "a row without exposure tells nothing, and can be removed"
WEIGHT = "a row of weight 0 counts nothing, and can be removed"


class Extra(Section):
    """A number of each row that no network sees: an offset, trials, or a weight."""

    role: Literal["offset", "trials", "weight"]
    column: str | None = None
    log: bool = False
    constant: float = 0.0

    def encode(self, rows: Rows) -> FloatArray:
        """Return the column or its logarithm, (N,); without a column one number throughout."""
        if self.column is None:
            return np.full(rows.table.num_rows, self.constant)
        if self.role == "trials":
            return counts(rows, self.column, TRIALS)
        if self.role == "weight":
            return positives(rows, self.column, WEIGHT)
        if self.log:
            return np.log(positives(rows, self.column, EXPOSURE))
        return numbers(rows, self.column)


class Target(Section):
    """What is predicted: a number, standardised where the family allows it, or a class's code.

    Attributes:
        name: of the column.
        families: of each expert, or one for all.
        mean: what is subtracted from it.
        sd: what it is divided by afterwards.
        levels: where the linear predictors of the experts of each family start: the link of the
            mean response.
        labels: of its classes, in the order of their codes.
        low: its smallest value in the training rows, encoded; an expert for outliers needs it.
        high: its largest.
    """

    name: str
    families: Annotated[tuple[Family, ...], Field(min_length=1)]
    mean: float = 0.0
    sd: Spread = 1.0
    levels: tuple[float, ...] = (0.0,)
    labels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _check(self) -> Target:
        most = RESPONSES[self.families[0]].classes
        if not min(most, 2) <= len(self.labels) <= most:
            raise problem("labels do not fit the family")
        if len(self.levels) != len(self.families) or self.low >= self.high:
            raise problem("levels or bounds do not fit the response")
        return self

    def read(self, rows: Rows) -> FloatArray | IntArray:
        """Return the response, (N,): codes of classes, otherwise numbers, standardised."""
        if self.labels:
            return codes(rows, self.name, self.labels)
        for family in self.families:
            read = RESPONSES[family].read
            assert read is not None  # it has no labels
            values = read(rows, self.name)
        return (values - self.mean) / self.sd


class Encoding(Section):
    """What was learned from the training rows: N rows become (N, D + extras) and (N,).

    Attributes:
        predictors: what the D columns are made of.
        targets: the responses; of several, a row of R numbers is made, (N, R).
        extras: what the columns after the D predictors are.
        incomplete: whether responses may be missing.
        group: the column that says which rows share a z; None where each has its own.
    """

    predictors: tuple[Predictor, ...]
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    extras: tuple[Extra, ...] = ()
    incomplete: bool = False
    group: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Encoding:
        names = [part.name for part in self.predictors]
        lists = [part.levels for part in self.predictors if isinstance(part, Levels)]
        lists += [target.labels for target in self.targets]
        if any(len(set(each)) < len(each) for each in (names, *lists)):
            raise problem("a name is there twice")
        responses = [RESPONSES[family] for target in self.targets for family in target.families]
        roles = [extra.role for extra in self.extras]
        trials = any(response.trials for response in responses)
        if len(set(roles)) < len(roles) or ("trials" in roles) != trials:
            raise problem("extras do not fit the family")
        if "offset" in roles and all(response.link is None for response in responses):
            raise problem("an offset does not fit the family")
        return self

    @property
    def target(self) -> Target:
        """The first response, and often the only one."""
        return self.targets[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the first D columns of the design, those of the predictors."""
        return tuple(name for part in self.predictors for name in part.columns)

    @property
    def num_classes(self) -> int:
        """The number of classes, 0 for a response that has none, and for several responses."""
        return len(self.target.labels) if len(self.targets) == 1 else 0

    @property
    def log_jacobian(self) -> float:
        """Nats a row to add to a log density of `response` to get that of the original one."""
        return -sum(float(np.log(target.sd)) for target in self.targets)

    def indices(self, names: Sequence[str] | Literal["all"]) -> tuple[int, ...]:
        """Return which of the D columns belong to some predictors."""
        known = [part.name for part in self.predictors]
        for name in () if names == "all" else names:
            if name not in known:
                remedy = did_you_mean(name, known) or f"known: {listed(known)}"
                raise InputError(f"no predictor {quoted(name)}", remedy=remedy)
        owners = [part.name for part in self.predictors for _ in part.columns]
        return tuple(i for i, owner in enumerate(owners) if names == "all" or owner in names)

    def design(
        self, rows: Rows, precision: Literal["float32", "float64"] = "float64"
    ) -> NDArray[Any]:
        """Return the predictors, (N, D), and after them a column for each extra."""
        width = len(self.columns) + len(self.extras)
        found, place = np.empty((rows.table.num_rows, width), precision), 0
        for part in self.predictors:
            values = part.encode(rows)
            found[:, place : place + values.shape[1]] = values
            place += values.shape[1]
        for extra in self.extras:
            found[:, place] = self._extra(extra, rows)
            place += 1
        return found

    def _extra(self, extra: Extra, rows: Rows) -> FloatArray:
        # An offset is in the units of what it is added to, and so scaled as the response was; its
        # own mean and spread do not matter.
        values = extra.encode(rows)
        scaled = extra.role == "offset" and len(self.targets) == 1
        return values / self.target.sd if scaled else values

    def response(self, rows: Rows) -> FloatArray | IntArray:
        """Return the response, (N,): codes of classes as integers, otherwise floats.

        Several responses make (N, R), all floats. What is missing is NaN, or -1 among codes that
        a model takes as integers.
        """
        each = [self._response(target, rows) for target in self.targets]
        return each[0] if len(each) == 1 else np.stack(each, -1).astype(np.float64)

    def _response(self, target: Target, rows: Rows) -> FloatArray | IntArray:
        if self.incomplete and not is_there(rows, target.name).any():
            codes = RESPONSES[target.families[0]].codes and len(self.targets) == 1
            return np.full(rows.table.num_rows, -1 if codes else np.nan)
        whole, there = filled(rows, target.name) if self.incomplete else (rows, True)
        values = target.read(whole)
        if RESPONSES[target.families[0]].trials:
            check_trials(whole, target.name, values, self.extras)
        if RESPONSES[target.families[0]].codes and len(self.targets) == 1:
            return np.where(there, values, -1)
        may_be_missing = self.incomplete or self.group is not None
        return np.where(there, values, np.nan) if may_be_missing else values

    def decode(self, values: NDArray[Any], response: int = 0) -> NDArray[Any]:
        """Return one encoded response, of any shape, on the original scale or as labels."""
        target = self.targets[response]
        if target.labels:
            return np.array(target.labels)[np.asarray(values, dtype=np.int64)]
        return np.asarray(values, dtype=np.float64) * target.sd + target.mean

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


def check_trials(
    rows: Rows, name: str, successes: FloatArray | IntArray, extras: Sequence[Extra]
) -> None:
    """Refuse more successes than trials."""
    extra = next(extra for extra in extras if extra.role == "trials")
    trials = extra.encode(rows)
    wrong = successes > trials
    if wrong.any():
        row = int(np.argmax(wrong))
        what = f"{successes[row]:g} successes in {trials[row]:g} trials"
        where = "data.trials" if extra.column is None else f"column {quoted(extra.column)}"
        raise rows.error(name, what, f"correct it, or {where}", row)
