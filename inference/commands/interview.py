"""Ask questions about a table, each with a guess for an answer."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rich.prompt import Prompt
from rich.text import Text

from pyromoe.inference import terminal
from pyromoe.models.errors import InputError, did_you_mean, listed, one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.models.data.guesses import Guess
    from pyromoe.models.tables.column_summary import ColumnSummary
    from pyromoe.models.tables.table import Rows

T = TypeVar("T")
NONE = "none"


@dataclass(slots=True)
class Interview:
    """The table, who answers, and what was answered.

    Attributes:
        rows: the table.
        columns: of the table.
        ask: whether somebody answers; otherwise every guess is taken, and printed.
        notes: why a setting is what it is, by its path.
    """

    rows: Rows
    columns: Sequence[ColumnSummary]
    ask: bool
    notes: dict[str, str] = field(default_factory=dict)

    def answer(
        self,
        label: str,
        question: str,
        guess: Guess[T],
        read: Callable[[str], T],
        show: Callable[[T], str] = str,
        given: str | None = None,
    ) -> T:
        """Return the answer to a question, asked until it can be read.

        Args:
            label: what is asked for, in a word.
            question: what else may be said to it.
            guess: the answer that Enter stands for.
            read: makes the answer of a text, or raises an InputError.
            show: makes a text of an answer.
            given: an answer that is there already.
        """
        if given is not None:
            return read(given)
        shown = one_line(show(guess.value), 60)
        if not self.ask:
            terminal.out.print(f"{label}: {shown} ({guess.why})", markup=False)
            return guess.value
        terminal.out.print(f"\n{question}. Guessed: {guess.why}.", markup=False)
        while True:
            prompt = partial(Prompt.ask, Text(label), default=shown, console=terminal.out)
            text = answered(prompt)
            if text == shown:
                return guess.value
            try:
                return read(text.strip())
            except InputError as error:
                terminal.out.print(str(error), markup=False)

    def column(self, text: str) -> ColumnSummary:
        """Return the column of a name or a number; a name counts before a number."""
        names = [column.name for column in self.columns]
        if text in names:
            return self.columns[names.index(text)]
        if text.isdecimal() and 1 <= int(text) <= len(names):
            return self.columns[int(text) - 1]
        remedy = did_you_mean(text, names) or f"columns: {listed(names)}"
        raise InputError(f"no column {quoted(text)}", file=self.rows.source, remedy=remedy)

    def several(self, text: str) -> list[str]:
        """Return the columns of names or numbers with commas between them."""
        if text == NONE:
            return []
        if text in [column.name for column in self.columns]:
            return [text]
        words = next(csv.reader([text], skipinitialspace=True), [])
        return list(dict.fromkeys(self.column(word.strip()).name for word in words))


def answered(prompt: Callable[[], T]) -> T:
    """Return the answer to a prompt; the end of the input is taken as Ctrl-C."""
    try:
        return prompt()
    except EOFError:
        raise KeyboardInterrupt from None
