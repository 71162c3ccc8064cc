"""What a command shows: progress, tables, and one line for every error."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pyromoe.inference.files.signals import Signals, Stopped
from pyromoe.inference.plain_progress import PlainProgress
from pyromoe.models.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyromoe.inference.summary import Tabular

OK, BUG, INPUT, ENVIRONMENT, NUMERICAL, INTERRUPTED = 0, 1, 2, 3, 4, 130
OUT_OF_MEMORY = "out of memory; try a smaller fit.batch_size or fewer output.draws"


class _Safe(Console):
    """A console that obeys nobody's names: what is not printable is shown as an escape."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


def printable(text: str) -> str:
    r"""Return lines with escapes in the place of what would move, colour or reverse them.

    >>> from pyromoe.inference.terminal import printable
    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\n'
    """
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


out = _Safe(highlight=False, soft_wrap=True)
err = _Safe(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Print one line on stderr."""
    err.print(f"pyromoe: error: {one_line(message)}", markup=False)


def exit_code(error: BaseException) -> int:
    """Print what went wrong as one line, and return the exit code for it."""
    notes = getattr(error, "__notes__", [])
    if isinstance(error, InputError):
        fail(str(error))
        return INPUT
    if isinstance(error, (KeyboardInterrupt, Stopped)):
        fail("; ".join(["stopped", *notes]))
        return 128 + error.number if isinstance(error, Stopped) else INTERRUPTED
    if isinstance(error, ArithmeticError):
        fail(str(error))
        return NUMERICAL
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's words
        fail("; ".join([OUT_OF_MEMORY, *notes]))
        return ENVIRONMENT
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror or error}"
        remedy = "check space and permissions, or name another --out"
        fail("; ".join([what, *(notes or [remedy])]))
        return ENVIRONMENT
    with tempfile.NamedTemporaryFile("w", prefix="pyromoe-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    fail(f"a bug: {type(error).__name__}: {error}; the traceback is in {file.name}")
    return BUG


@contextmanager
def terminable() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an exception, so that nothing half-written is left behind."""
    with deferring():
        yield


@contextmanager
def deferring() -> Iterator[Signals]:
    """Give what holds Ctrl-C or SIGTERM until a fit that looks for it has saved its step."""
    signals = Signals()
    before = {n: signal.signal(n, signals.take) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """Give a function to report with: a bar on a terminal, a plain line now and then elsewhere."""
    if not err.is_terminal:
        yield PlainProgress(partial(err.print, markup=False))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def report(done: float, text: str) -> None:
            bar.update(task, completed=done, description=one_line(text, 70))

        yield report


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their headings, numbers to the right."""
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    cells = [[shown(value) for value in row] for row in rows]
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], (int, float)) or row[i] is None for row in rows)
        # In a narrow window names are folded, numbers never.
        justify: Literal["left", "right"] = "right" if numeric else "left"
        grid.add_column(name, justify=justify, overflow="fold", no_wrap=numeric, vertical="bottom")
    for each in cells:
        grid.add_row(*each)
    width = out.width if out.is_terminal else max(out.width, 160)  # no window, nothing to fit
    Console(file=sys.stdout, highlight=False, width=width).print(grid, markup=False)


def tabular(of: Tabular) -> None:
    """Print rows under their headings, and what these mean."""
    table(of.headings, of.rows)
    out.print(f"\n{of.note}", markup=False)


def shown(value: object) -> str:
    """Return a value as a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value), 80)


def quiet_pipe() -> None:
    """Leave without a word when the reader of our output has gone, as `| head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
