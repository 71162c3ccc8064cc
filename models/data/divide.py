"""The data of a table, before and after they are divided into training and test data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyromoe.models.data.kept_back import keep_back
from pyromoe.models.data.learned import learner_of, outsize_of
from pyromoe.models.data.roles import extras_of, predictors_of, responses_of
from pyromoe.models.data.row_parts import TEST, TRAIN
from pyromoe.models.errors import InputError
from pyromoe.models.tables.columns import texts
from pyromoe.models.tables.groups import NOTHING, gathered, rows_of_groups
from pyromoe.models.tables.missing import filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.data.encoding import Encoding, Extra
    from pyromoe.models.data.stream import Stream
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_file import SpecFile
    from pyromoe.models.tables.columns import FloatArray, IntArray
    from pyromoe.models.tables.table import Rows


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows: `x` (N, D), `y` (N,), and `rows` (N,), their places in the table from 0.

    After the D predictors, x has a column for each extra of the encoding; of R responses, y is
    (N, R). Where rows of a group share a z, all have one more dimension, M, after the first, and
    groups of fewer rows are filled up: with -1 in `rows` and missing responses in y.
    """

    x: FloatArray
    y: FloatArray | IntArray
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Data:
    """A table as numbers, split for fitting and testing; `test` may have no rows.

    `kept` are those kept back from the training data to stop early, None where there are none:
    they are not in `train`, and the encoding has not seen them.

    Of a table that is not held in memory, `stream` reads all rows, and the parts are a sample.
    """

    encoding: Encoding
    train: Part
    test: Part
    source: str
    kept: Part | None = None
    stream: Stream | None = None

    @property
    def size(self) -> int:
        """How many data are fitted to, in memory or not."""
        return len(self.train.rows) if self.stream is None else self.stream.rows[TRAIN]

    def whole(self, purpose: str) -> Part:
        """Return the training data, for what looks at all of them at once.

        Raises:
            InputError: where they are streamed.
        """
        if self.stream is not None:
            what = f"{purpose} looks at all rows at once, and they are streamed"
            remedy = "remove it and fit again"
            raise InputError(what, file=self.source, field="data.stream", remedy=remedy)
        return self.train

    @property
    def tested(self) -> int:
        """How many data are tested on."""
        return len(self.test.rows) if self.stream is None else self.stream.rows[TEST]


@dataclass(frozen=True, slots=True)
class Undivided:
    """A table whose columns have their roles.

    Attributes:
        spec: says what is to become of it.
        rows: the table.
        units: the rows of each datum that is used, (N,), or (G, M) where rows of a group share a z.
        responses: the columns to predict.
        predictors: the columns to predict from.
        extras: what else belongs to each row.
    """

    spec: Spec
    rows: Rows
    units: IntArray
    responses: Sequence[str]
    predictors: Sequence[str]
    extras: Sequence[Extra]

    @classmethod
    def of(cls, spec_file: SpecFile, rows: Rows, default: str | None) -> Undivided:
        """Find the roles of the columns of a table.

        Args:
            spec_file: names them.
            rows: the table.
            default: the response, where the spec does not name one.
        """
        spec = spec_file.spec
        responses = responses_of(spec_file, rows, default)
        extras = extras_of(spec_file, rows, responses)
        predictors = predictors_of(spec_file, rows, responses, extras)
        rows, kept = _without_missing(spec_file, rows, responses, predictors)
        units = units_of(rows, spec.data.group, kept)
        return cls(spec, rows, units, responses, predictors, extras)

    def split(self) -> Data:
        """Encode the data, test data chosen at random as the spec says."""
        return self.divide(*split(len(self.units), self.spec.data.split.test, self.spec.seed))

    def folds(self, number: int) -> list[Data]:
        """Divide the training data of `split` into folds; each is the test data once.

        Folds of classes have about the same shares of each. Means and spreads are learned anew
        from the training data of every fold.

        Args:
            number: V, of folds.

        Raises:
            InputError: for more folds than data.
        """
        kept, _ = split(len(self.units), self.spec.data.split.test, self.spec.seed)
        if len(kept) < 2 * number:
            what = f"{len(kept)} training data for {number} folds"
            remedy = "a fold needs two or more; use fewer"
            raise InputError(what, file=self.rows.source, remedy=remedy)
        seed = int(np.random.SeedSequence([self.spec.seed, number]).generate_state(1)[0])
        classes = None
        if self.split().encoding.target.labels and self.units.ndim == 1:
            classes = texts(self.rows, self.responses[0])[0][self.units[kept]]
        places = _folds(len(kept), classes, number, seed)
        return [self.divide(kept[train], kept[test]) for train, test in places]

    def divide(self, train: IntArray, test: IntArray) -> Data:
        """Encode some data for fitting and some for testing, places in `units`."""
        spec, units = self.spec, self.units
        used, kept = keep_back(spec, self.rows, units[train], self.responses)
        train, kept = train[used], train[kept]
        learner = learner_of(spec, self.responses, self.predictors, self.extras)
        encoding = learner.whole(self.rows, np.sort(units[train][units[train] != NOTHING]))
        places = [units[each] for each in (train, test, kept)]
        used = np.unique(np.concatenate([each.ravel() for each in places]))
        outsize = outsize_of(spec, self.responses, self.predictors, self.extras)
        outsize.add(self.rows, used[used != NOTHING])
        outsize.check()
        train_part, test_part, kept_part = parts_of(encoding, self.rows, places)
        held = kept_part if len(kept) else None
        return Data(encoding, train_part, test_part, self.rows.source, held)


def units_of(rows: Rows, group: str | None, places: IntArray) -> IntArray:
    """Return the rows of each datum, (N,), or (G, M) where rows of a group share a z."""
    if group is None:
        return places
    if group not in rows.table.column_names:
        return places[:, None]
    found, _ = texts(rows, group)
    names, codes = np.unique(found[places], return_inverse=True)
    order = np.argsort([np.argmax(codes == k) for k in range(len(names))])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    by_group = rows_of_groups(rank[codes])
    return np.where(by_group == NOTHING, NOTHING, places[by_group])


def parts_of(
    encoding: Encoding,
    rows: Rows,
    units: Sequence[IntArray],
    *,
    need_response: bool = True,
) -> list[Part]:
    """Encode some data each, given their rows; without a response, y is missing everywhere."""
    x = encoding.design(rows)
    if need_response:
        y = encoding.response(rows)
    else:
        several = (len(encoding.targets),) if len(encoding.targets) > 1 else ()
        y = np.full((len(x), *several), np.nan)
    if encoding.group is None:
        return [Part(x[places], y[places], places) for places in units]
    return [
        Part(gathered(x, places, missing=False), gathered(y, places, missing=True), places)
        for places in units
    ]


def _without_missing(
    spec_file: SpecFile, rows: Rows, responses: Sequence[str], predictors: Sequence[str]
) -> tuple[Rows, IntArray]:
    """Return which rows are left when those with missing values are dropped.

    In the table that is returned with them, other values stand where those were missing, so that
    every row can still be read.
    """
    missing = spec_file.spec.data.missing
    kept = np.ones(rows.table.num_rows, dtype=bool)
    for rule, names in ((missing.responses, responses), (missing.predictors, predictors)):
        for name in names if rule == "drop" else ():
            rows, there = filled(rows, name)
            kept &= there
    if not kept.any():
        raise InputError("every row has a missing value", file=rows.source)
    return rows, np.flatnonzero(kept)


def split(num_rows: int, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Choose test rows at random; return the places of training and test rows, in order."""
    num_test = min(round(share * num_rows), max(num_rows - 1, 0))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(num_rows)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def _folds(
    size: int, classes: IntArray | None, number: int, seed: int
) -> list[tuple[IntArray, IntArray]]:
    """Return the places of the training and test data of every fold."""
    # Slow to import, and only needed here.
    from sklearn.model_selection import KFold, StratifiedKFold

    if classes is None or np.bincount(classes).max() < number:
        return list(KFold(number, shuffle=True, random_state=seed).split(np.zeros(size)))
    chooser = StratifiedKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer rows than there are folds
        return list(chooser.split(np.zeros(size), classes))
