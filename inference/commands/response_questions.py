"""Questions about the response of a new specification: which column, and which family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pyromoe.models.data import guesses
from pyromoe.models.data.guesses import Guess
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.specs.spec_errors import SYNONYMS
from pyromoe.models.tables.missing import filled
from pyromoe.models.tables.responses import RESPONSES, Family

if TYPE_CHECKING:
    from pyromoe.inference.commands.interview import Interview
    from pyromoe.models.tables.column_summary import ColumnSummary

FAMILIES = [name for name in get_args(Family) if not RESPONSES[name].vector]
MOST_CLASSES = 50
"""Families of classes are not proposed for more, but allowed."""


def ask_response(interview: Interview, given: str | None) -> ColumnSummary:
    """Return the column to predict."""

    def read(text: str) -> ColumnSummary:
        column = interview.column(text)
        if column.distinct < 2:
            raise interview.rows.error(
                column.name, "has no two different values to predict", "name another column"
            )
        if column.kind != "text":
            check_family(interview, column, "normal")  # no family takes infinite numbers
        return column

    if given is not None:
        return read(given)
    guess = guesses.guess_response(interview.columns, interview.rows.source)
    question = "The column to predict, by its name or number"
    column = Guess(read(guess.value), guess.why)
    return interview.answer("response", question, column, read, lambda c: c.name)


def ask_likelihood(
    interview: Interview, response: ColumnSummary, given: str | None
) -> tuple[dict[str, Any], str | int | None]:
    """Return the likelihood, and the trials where it has any."""

    def read(text: str) -> Family:
        word = SYNONYMS.get(text.lower(), text)
        if word in ("multivariate_normal", "mixed"):
            what = f"family {word} is for several responses or experts at once"
            raise InputError(
                what, remedy="choose another, and edit the spec as in docs/families.md"
            )
        if word not in FAMILIES:
            remedy = f"{did_you_mean(word, FAMILIES)} choose one of: {listed(FAMILIES, 20)}"
            raise InputError(f"unknown family {quoted(text)}", remedy=remedy.strip())
        family: Family = word  # type: ignore[assignment]  # it is one of them
        check_family(interview, response, family)
        return family

    fitting = [family for family in FAMILIES if _fits(interview, response, family)]
    question = f"The distribution of {quoted(response.name)}, of {', '.join(fitting)}"
    guess = guesses.guess_family(response)
    family = interview.answer("family", question, guess, read, given=given)
    interview.notes["likelihood.family"] = f"Here: {guess.why}." if family == guess.value else ""
    if family == "ordinal" and response.kind == "text":
        return {"family": family, "levels": ask_levels(interview, response)}, None
    return {"family": family}, ask_trials(interview, response) if family == "binomial" else None


def check_family(interview: Interview, response: ColumnSummary, family: Family) -> None:
    """Refuse a family that the values of the response do not fit."""
    kind = RESPONSES[family]
    rows, _ = filled(interview.rows, response.name)
    if kind.read is not None:
        kind.read(rows, response.name)
    elif response.distinct > kind.classes:
        what = f"has {response.distinct} different values, but family {family} has two classes"
        raise rows.error(response.name, what, "choose another family")


def _fits(interview: Interview, response: ColumnSummary, family: Family) -> bool:
    if RESPONSES[family].classes and response.distinct > MOST_CLASSES:
        return False
    try:
        check_family(interview, response, family)
    except InputError:
        return False
    return True


def ask_levels(interview: Interview, response: ColumnSummary) -> list[str]:
    """Return the classes in their order."""

    def read(text: str) -> list[str]:
        words = [word.strip() for word in text.split(",")]
        if sorted(words) != sorted(response.words):
            raise InputError("write each class once", remedy=f"classes: {listed(response.words)}")
        return words

    guess = Guess([*response.words], "the order of the alphabet, surely to be changed")
    question = "The classes from the lowest to the highest, with commas between them"
    return interview.answer("levels", question, guess, read, ", ".join)


def ask_trials(interview: Interview, response: ColumnSummary) -> str | int:
    """Return the column of the trials, or their number."""
    largest = int(response.numbers.max())
    both = [
        c.name
        for c in interview.columns
        if c.kind == "integer"
        and c.name != response.name
        and not c.missing | response.missing
        and (c.numbers >= response.numbers).all()
    ]
    guess: Guess[str | int] = Guess(largest, "the largest response, in every row")
    if both:
        guess = Guess(both[0], "never below the response")

    def read(text: str) -> str | int:
        names = [c.name for c in interview.columns]
        return int(text) if text.isdecimal() and text not in names else interview.column(text).name

    question = "The trials of each row: a column's name, or one number for all rows"
    return interview.answer("trials", question, guess, read)
