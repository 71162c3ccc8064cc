"""A directory, looked at in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference import terminal
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.of_directory import kind_of, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pyromoe.inference.summaries.assignments import Assignments
    from pyromoe.inference.summary import Bar, Summary

BAR = 24
"""Width of a full bar, in characters."""
MOST = 16
"""Bars; more would drive what stands above them off the screen."""


def inspect(folder: Path, rows: int) -> None:
    """Print the first screen of a directory, and a run's least certain rows.

    Args:
        folder: written by a command.
        rows: how many.

    Raises:
        InputError: for a directory that is not ours, or a file in it that is broken.
    """
    show(summarise(folder))
    if kind_of(folder) == "run":
        print_lines(uncertain_lines(read_assignments(folder), rows))


def show(summary: Summary) -> None:
    """Print the first screen."""
    print_lines(summary_lines(summary))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        terminal.out.print(line, markup=False)


def summary_lines(summary: Summary) -> Iterator[str]:
    """Yield a summary in lines."""
    yield from (summary.title, *summary.what, "", *summary.how_good)
    if summary.bars:
        yield from ("", summary.bars_of)
        yield from bar_lines(summary.bars[:MOST])
    if len(summary.bars) > MOST:
        yield f"and {len(summary.bars) - MOST} more, in the report"
    yield ""
    yield "To look into" if summary.worries else "Nothing to worry about was found."
    for worry in summary.worries:
        yield f"  {worry.name}: {worry.what}; {worry.remedy}"


def bar_lines(bars: tuple[Bar, ...]) -> Iterator[str]:
    """Yield each share as a bar."""
    width = max(len(each.name) for each in bars)
    for each in bars:
        yield f"{each.name:>{width}}  {bar(each.share)} {each.percent:>6}  {each.text}".rstrip()


def bar(share: float) -> str:
    """Return a share, 0 to 1, as a bar.

    >>> bar(0.5)
    '############            '
    """
    return ("#" * round(BAR * share)).ljust(BAR)


def uncertain_lines(of: Assignments, rows: int) -> Iterator[str]:
    """Yield the least certain data with their leading experts."""
    if of.number == 1 or not rows:
        return
    yield from ("", "The least certain assignments (row of the data, from 0)")
    r = of.responsibilities
    for i in np.argsort(r.max(1), kind="stable")[:rows]:
        first = np.argsort(-r[i], kind="stable")[:3]
        yield f"{of.first[i]:>7}  " + "  ".join(f"expert {k} {r[i, k]:.2f}" for k in first)
