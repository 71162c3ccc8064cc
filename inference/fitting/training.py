"""The history of a fit as arrays: one value for each restart and epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NOT_VALUES = ("restart", "epoch", "seconds")
"""Two name a row, and no second is like another: the same spec gives the same file."""


def curves(
    history: Sequence[Mapping[str, Any]], constant: Mapping[str, float]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return values, (restart, epoch), by name, and the numbers of restarts and epochs.

    What a restart has no value of is NaN: the exact log-likelihood of most epochs, and everything
    after it has ended.

    Args:
        history: a row for each epoch of each restart.
        constant: what was the same in every epoch, by name.

    >>> rows = [{"restart": 0, "epoch": 1, "loss": 2.0}, {"restart": 0, "epoch": 2, "loss": 1.5}]
    >>> curves(rows, {"temperature": 0.5})[0]
    {'temperature': array([[0.5, 0.5]]), 'loss': array([[2. , 1.5]])}
    """
    numbers = {n: sorted({row[n] for row in history}) for n in ("restart", "epoch")}
    place = {name: {number: i for i, number in enumerate(n)} for name, n in numbers.items()}
    names = dict.fromkeys([*constant, *(n for row in history for n in row if n not in NOT_VALUES)])
    found = {name: np.full([len(n) for n in numbers.values()], np.nan) for name in names}
    for row in history:
        at = place["restart"][row["restart"]], place["epoch"][row["epoch"]]
        for name, values in found.items():
            value = row.get(name, constant.get(name))
            values[at] = np.nan if value is None else value
    return found, {name: np.array(n) for name, n in numbers.items()}
