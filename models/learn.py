"""Learn an encoding from a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyromoe.models.columns import NUMBER, numbers, texts
from pyromoe.models.encoding import Encoding, Target
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.missing import filled
from pyromoe.models.predictors import Levels, Numeric
from pyromoe.models.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyromoe.models.columns import FloatArray, IntArray
    from pyromoe.models.encoding import Extra
    from pyromoe.models.responses import Family
    from pyromoe.models.table import Rows

AS_PREDICTOR = "correct it, or list the column under data.categorical"
AS_RESPONSE = "correct it, or set likelihood.family: categorical"
EVERY = np.array(True)
"""Nothing is missing."""
INTEGER = re.compile(r"-?\d{1,18}")


def learn(
    rows: Rows,
    training: IntArray,
    *,
    responses: Sequence[tuple[str, Sequence[Family], Sequence[str] | None]],
    predictors: Sequence[str],
    categorical: Sequence[str] = (),
    standardise: Literal["none", "predictors", "predictors_and_response"],
    extras: Sequence[Extra] = (),
    group: str | None = None,
    incomplete: tuple[bool, bool] = (False, False),
    centred: bool = True,
) -> Encoding:
    """Learn an encoding: means and spreads from the training rows, levels and classes from all.

    Args:
        rows: All rows; every value of the columns used is checked.
        training: Indices of the training rows, (N_train,).
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
    if len(training) < 2:
        what = f"{len(training)} training row{'s' if len(training) != 1 else ''}"
        raise InputError(what, file=rows.source, remedy="a fit needs two or more")
    counts = _counts(rows, extras)
    parts: list[Numeric | Levels] = []
    for name in predictors:
        source, there = filled(rows, name) if incomplete[1] else (rows, EVERY)
        missing = not bool(there.all())
        if name in categorical:
            parts.append(Levels(name=name, levels=_labels(source, name), missing=missing))
            continue
        values, mean, sd = numbers(source, name, AS_PREDICTOR), 0.0, 1.0
        known = training[there[training]] if missing else training
        if standardise != "none" and len(known):
            mean, sd = _moments(values[known], counts[known])
            mean = mean if centred else 0.0
        parts.append(Numeric(name=name, mean=mean, sd=sd, missing=missing))
    whole = standardise == "predictors_and_response"
    targets = []
    for name, families, levels in responses:
        source, there = filled(rows, name) if incomplete[0] else (rows, EVERY)
        if RESPONSES[families[0]].classes:
            labels = _classes(source, name, families[0], levels)
            targets.append(Target(name=name, families=tuple(families), labels=labels))
            continue
        known = training if there is EVERY else training[there[training]]
        if len(known) < 2:
            what = f"{len(known)} training rows have a value"
            raise rows.error(name, what, "a fit needs two or more")
        targets.append(_number(source, known, name, families, extras, counts, standardise=whole))
    return Encoding(
        predictors=tuple(parts),
        targets=tuple(targets),
        extras=tuple(extras),
        incomplete=incomplete[0],
        group=group,
    )


def _number(
    rows: Rows,
    training: IntArray,
    name: str,
    families: Sequence[Family],
    extras: Sequence[Extra],
    counts: FloatArray,
    *,
    standardise: bool,
) -> Target:
    values = numbers(rows, name, AS_RESPONSE)[training]
    real = all(RESPONSES[family].standardised for family in families)
    counts = counts[training]
    mean, sd = _moments(values, counts) if standardise and real else (0.0, 1.0)
    columns = {extra.role: extra.encode(rows)[training] for extra in extras}
    levels = tuple(_level(values, counts, family, columns) for family in families)
    low, high = ((float(f(values)) - mean) / sd for f in (np.min, np.max))
    return Target(
        name=name,
        families=tuple(families),
        mean=mean,
        sd=sd,
        levels=levels,
        low=low,
        high=high if high > low else low + max(1.0, abs(low)),
    )


def _level(
    values: FloatArray, counts: FloatArray, family: Family, extras: Mapping[Any, FloatArray]
) -> float:
    """Return the link of the mean: a fit that starts far from it can lose experts on the way."""
    offset = extras.get("offset", np.zeros(len(values)))
    if RESPONSES[family].link == "identity":
        return 0.0
    total = float((counts * values).sum())
    if RESPONSES[family].link == "log":
        largest = offset.max()
        exposure = float((counts * np.exp(offset - largest)).sum())
        return float(np.log(max(total, 1.0)) - np.log(exposure) - largest)
    trials = float((counts * extras.get("trials", np.ones(len(values)))).sum())
    successes = np.clip(total, 0, trials)
    middle = np.average(offset, weights=counts)
    return float(np.log((successes + 0.5) / (trials - successes + 0.5)) - middle)


def _classes(
    rows: Rows, name: str, family: Family, levels: Sequence[str] | None
) -> tuple[str, ...]:
    response = RESPONSES[family]
    labels = _labels(rows, name)
    if levels is not None:
        found, words = texts(rows, name)
        for code, word in enumerate(words):
            if word not in levels:
                remedy = did_you_mean(word, levels) or f"levels: {listed(levels)}"
                what = f"{quoted(word)} is not one of likelihood.levels"
                raise rows.error(name, what, remedy, int(np.argmax(found == code)))
        return tuple(levels)
    if len(labels) < 2:
        raise rows.error(name, f"has one class only, {quoted(labels[0])}", "check the column")
    if len(labels) > response.classes:
        what = f"has {len(labels)} classes ({listed(labels, 5)}), but family {family} has two"
        raise rows.error(name, what, "set likelihood.family: categorical")
    if not response.ordered:
        return labels
    for word in labels:
        if not NUMBER.fullmatch(word):
            found, words = texts(rows, name)
            what = f"{quoted(word)} is not a number, so the order of its classes is not known"
            remedy = "write them from the lowest, as in likelihood: {levels: [low, mid, high]}"
            raise rows.error(name, what, remedy, int(np.argmax(found == words.index(word))))
    return tuple(sorted(labels, key=float))


def _counts(rows: Rows, extras: Sequence[Extra]) -> FloatArray:
    """Return how often each row counts, (N,)."""
    weights = [extra.encode(rows) for extra in extras if extra.role == "weight"]
    return weights[0] if weights else np.ones(rows.table.num_rows)


def _moments(values: FloatArray, counts: FloatArray) -> tuple[float, float]:
    """Return mean and spread of values of which each counts as often as its weight says."""
    if values.min() == values.max():
        return float(values[0]), 1.0
    # Scaled first: the square of a large number need not be one, nor the sum of large weights.
    largest = float(np.abs(values).max())
    scaled, counts = values / largest, counts / counts.max()
    mean = float(np.average(scaled, weights=counts))
    spread = float(np.sqrt(np.average((scaled - mean) ** 2, weights=counts)))
    return mean * largest, spread * largest or 1.0


def _labels(rows: Rows, name: str) -> tuple[str, ...]:
    _, labels = texts(rows, name)
    if all(INTEGER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
