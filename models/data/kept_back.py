"""Which training data are kept back from the steps, to stop them early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.models.errors import InputError
from pyromoe.models.tables.columns import texts
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.tables.columns import IntArray
    from pyromoe.models.tables.table import Rows

STREAM = 1000
"""Beside the seed, what the choice follows from; restarts have smaller numbers."""


def keep_back(
    spec: Spec, rows: Rows, units: IntArray, responses: Sequence[str]
) -> tuple[IntArray, IntArray]:
    """Return the places of the training data that are used and of those that are kept back.

    Groups stay whole, and of classes about the same share of each is kept.

    Args:
        spec: with the share, in `fit.early_stopping`.
        rows: the table.
        units: the rows of each of the training data, (N,) or (G, M).
        responses: the columns to predict.

    Raises:
        InputError: where the share is nothing, or leaves nothing.
    """
    size, settings = len(units), spec.fit.early_stopping
    if settings is None:
        return np.arange(size), np.arange(0)
    number = round(settings.share * size)
    if not number or size - number < 2:
        kind = "rows" if units.ndim == 1 else "groups"
        what = f"{settings.share:g} of {size} training {kind} is "
        what += "none" if not number else f"{number}, and leaves {size - number}"
        remedy = f"set a {'smaller' if number else 'larger'} share, or give more {kind}"
        raise InputError(what, file=rows.source, field="fit.early_stopping.share", remedy=remedy)
    order = np.random.default_rng([spec.seed, STREAM]).permutation(size)
    if len(responses) == 1 and units.ndim == 1 and RESPONSES[spec.families[0][0]].classes:
        classes, _ = texts(rows, responses[0])
        order = order[np.argsort(classes[units[order]], kind="stable")]
    # Spread evenly over the order, in which data of a class follow each other.
    kept = np.zeros(size, dtype=bool)
    kept[evenly(order, number)] = True
    return np.flatnonzero(~kept), np.flatnonzero(kept)


def evenly(order: IntArray, number: int) -> IntArray:
    """Return so many of an order's places, spread evenly over it."""
    spread = (np.arange(number) + 0.5) * len(order) / max(number, 1)
    return order[spread.astype(np.int64)]
