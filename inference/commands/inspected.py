"""Rows and experts of a run, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.commands.inspection import bar_lines
from pyromoe.inference.fitting.natural import Natural
from pyromoe.inference.pictures import rows_of
from pyromoe.inference.pictures.rows import as_data
from pyromoe.inference.posterior.coefficient_rows import coefficient_rows
from pyromoe.inference.posterior.prediction import described
from pyromoe.inference.runs.reading import open_posterior
from pyromoe.inference.runs.store import load_fit
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.experts import expert_bars, number
from pyromoe.inference.summary import Bar
from pyromoe.models.errors import InputError, one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pyromoe.inference.summaries.assignments import Assignments
    from pyromoe.models.data.encoding import Target

LEVELS = (0.05, 0.95)
"""Ends of the predictive interval of a number."""
SHOWN = 8
"""Experts of a row, and classes."""
ROWS = 12
"""Rows of an expert."""
NAME = 40


def read_numbers(text: str) -> list[int]:
    """Return the rows of e.g. `3,17`.

    Raises:
        InputError: for what is not a list of whole numbers.

    >>> read_numbers("3, 17")
    [3, 17]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        what = f"cannot read {quoted(text)}"
        raise InputError(what, field="--obs", remedy="give rows, as in 3,17") from None


def row_lines(folder: Path, rows: Sequence[int]) -> Iterator[str]:
    """Yield the response, the prediction and the responsibilities of training rows.

    Raises:
        InputError: for a row that was not trained on, and a directory that is not a run.
    """
    fit, of = load_fit(folder), read_assignments(folder)
    with open_posterior(folder) as tree:
        x = rows_of(fit, tree).x
    places = [_place(of, row) for row in rows]
    said = described(fit, as_data(fit, x[places]), fit.weight_draws(), LEVELS, per_expert=False)
    for i, place in enumerate(places):
        own = {name: values.reshape(len(places))[i] for name, values in said.items()}
        yield from _row_lines(of, place, own)


def expert_lines(folder: Path, expert: int) -> Iterator[str]:
    """Yield the share of an expert, its surest rows and its coefficients.

    Raises:
        InputError: for an expert that is not there, and a directory that is not a run.
    """
    fit, of = load_fit(folder), read_assignments(folder)
    if expert >= of.number:
        what = f"there is no expert {expert}"
        raise InputError(what, field="--expert", remedy=f"0 to {of.number - 1} are there")
    yield from bar_lines(tuple(b for b in expert_bars(of) if b.expert == expert))
    r = of.responsibilities[:, expert]
    own = [i for i in np.argsort(-r, kind="stable") if of.leader[i] == expert]
    if own:
        first = "  ".join(f"{of.first[i]} ({r[i]:.2f})" for i in own[:ROWS])
        more = f"  and {len(own) - ROWS} more" if len(own) > ROWS else ""
        yield from ("", f"Its {of.unit}, the surest first (row of the data, from 0): {first}{more}")
    yield ""
    named = Natural(fit.model, fit.guide, fit.encoding)()
    found = [each for each in coefficient_rows(fit, named) if each.expert == expert]
    yield "Its coefficients, in units of the table" if found else "It has no coefficients to list."
    for each in found:
        yield f"  {one_line(f'{each.name} {each.of}', NAME):<{NAME}} {each.value:>12.5g}"


def _place(of: Assignments, row: int) -> int:
    """Return where a row of the table is among the training rows."""
    found = np.flatnonzero(of.row == row)
    if not len(found):
        what = f"row {row} is not one of the training rows"
        remedy = "rows that were held out, and new ones, are for pyromoe predict"
        raise InputError(what, field="--obs", remedy=remedy)
    return int(found[0])


def _row_lines(of: Assignments, place: int, said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said of one row, by the columns of `predict`."""
    yield from ("", f"row {of.row[place]}")
    several = len(of.encoding.targets) > 1
    for target, value in zip(of.encoding.targets, of.y[place], strict=True):
        before = f"{target.name}:" if several else ""
        yield f"  {one_line(target.name, NAME)}: {_observed(target, value)}; predicted " + (
            _classes(target, said, before) if target.labels else _number(said, before)
        )
    r = of.of_rows[place]
    first = np.argsort(-r, kind="stable")[:SHOWN].tolist()
    yield from bar_lines(
        tuple(Bar(f"expert {k}", float(r[k]), f"gate {said[f'gate_{k}']:.1%}", k) for k in first)
    )
    if len(r) > len(first):
        yield f"  and {len(r) - len(first)} others with {1 - r[first].sum():.1%}"


def _observed(target: Target, value: float) -> str:
    if np.isnan(value):
        return "missing"
    return one_line(target.labels[int(value)], NAME) if target.labels else number(value)


def _number(said: Mapping[str, Any], before: str) -> str:
    mean, low, high = (number(float(said[before + n])) for n in ("mean", "q0.05", "q0.95"))
    return f"{mean}, 90% between {low} and {high}"


def _classes(target: Target, said: Mapping[str, Any], before: str) -> str:
    chances = {label: float(said[f"{before}p({label})"]) for label in target.labels}
    first = sorted(chances, key=lambda label: -chances[label])[:3]
    return ", ".join(f"{one_line(label, NAME)} {chances[label]:.1%}" for label in first)
