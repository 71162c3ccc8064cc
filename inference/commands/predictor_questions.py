"""Questions about the predictors of a new specification: which columns, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pyromoe.inference.commands.interview import NONE
from pyromoe.models.data import guesses
from pyromoe.models.data.guesses import Guess
from pyromoe.models.errors import InputError, listed, quoted
from pyromoe.models.specs.data_settings import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.inference.commands.interview import Interview
    from pyromoe.models.tables.column_summary import ColumnSummary

FEW_CODES = range(3, 13)
"""Whole numbers with so many different values may be codes of names."""


def ask_group(interview: Interview, taken: Sequence[object]) -> str | None:
    """Return the column whose rows share an expert."""

    def read(text: str) -> str | None:
        if text == NONE:
            return None
        column = interview.column(text)
        if column.name in taken or column.missing:
            what = "has missing values" if column.missing else "has another part already"
            raise interview.rows.error(column.name, what, f"name another column, or {NONE}")
        return column.name

    guess = guesses.guess_group([c for c in interview.columns if c.name not in taken])
    question = f"A column that names groups of rows, each of which has one expert, or {NONE}"
    return interview.answer(
        "group", question, guess, read, lambda name: NONE if name is None else name
    )


def ask_left_out(interview: Interview, columns: Sequence[ColumnSummary]) -> list[str]:
    """Return the columns that are not predictors."""

    def read(text: str) -> list[str]:
        known = [column.name for column in columns]
        for name in (names := interview.several(text)):
            if name not in known:
                raise interview.rows.error(name, "has another part already", "leave it away here")
        return names

    reasons = {c.name: why for c in columns if (why := guesses.reason_to_leave_out(c))}
    why = "; ".join(f"{quoted(name)}: {reason}" for name, reason in reasons.items())
    guess = Guess([*reasons], why or "no identifier, and none that is constant")
    question = f"Columns that predict nothing: names or numbers with commas between them, or {NONE}"
    names = interview.answer("left out", question, guess, read, _joined)
    said = ", ".join(f"{quoted(n)}{f' ({reasons[n]})' if n in reasons else ''}" for n in names)
    interview.notes["data.predictors"] = f"Left out: {said}." if names else ""
    return names


def ask_categorical(interview: Interview, columns: Sequence[ColumnSummary]) -> list[str]:
    """Return the predictors that hold names: text always does, few whole numbers may."""
    text = [column.name for column in columns if column.kind == "text"]
    codes = [c.name for c in columns if c.kind == "integer" and c.distinct in FEW_CODES]
    if not codes:
        return text
    known = [column.name for column in columns]

    def read(answer: str) -> list[str]:
        chosen = interview.several(answer)
        for name in chosen:
            if name not in known:
                raise interview.rows.error(name, "is not a predictor", "leave it away here")
        return [name for name in known if name in text or name in chosen]

    guess = Guess(text, "columns of text")
    question = f"Columns whose numbers are only codes of names, perhaps of {listed(codes)}"
    return interview.answer("categorical", question, guess, read, _joined)


def ask_missing(
    interview: Interview, response: ColumnSummary, predictors: Sequence[ColumnSummary]
) -> dict[str, str]:
    """Return what becomes of missing values, where there are any."""
    found = {}
    lacking = [column for column in predictors if column.missing]
    if response.missing:
        guess = Guess("drop", f"{response.missing} rows cannot be predicted")
        found["responses"] = _ask_rule(interview, "responses", guess)
    if lacking:
        found["predictors"] = _ask_rule(interview, "predictors", guesses.guess_missing(lacking))
    return found


def _ask_rule(interview: Interview, part: str, guess: Guess[str]) -> str:
    rules = get_args(Missing.model_fields[part].annotation)

    def read(text: str) -> str:
        if text not in rules:
            raise InputError(f"unknown answer {quoted(text)}", remedy=f"write {listed(rules)}")
        return text

    question = f"What becomes of rows with missing {part}: {', '.join(rules)}"
    return interview.answer(f"missing {part}", question, guess, read)


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or NONE
