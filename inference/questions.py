"""The questions whose answers make a specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pyromoe.inference.interview import NONE
from pyromoe.models import guesses
from pyromoe.models.data_settings import Missing
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.guesses import Guess
from pyromoe.models.missing import filled
from pyromoe.models.responses import RESPONSES, Family
from pyromoe.models.spec_errors import SYNONYMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.inference.interview import Interview
    from pyromoe.models.column_summary import ColumnSummary

FAMILIES = [name for name in get_args(Family) if not RESPONSES[name].vector]
MOST_EXPERTS = 4096
FEW_CODES = range(3, 13)
"""Whole numbers with so many different values may be codes of names."""
SMALL_FIT = 20_000
"""Values in a table that is fitted exactly, from many starts, within a minute."""


@dataclass(frozen=True, slots=True)
class Given:
    """Answers that are there before the questions, None where there is none."""

    response: str | None = None
    family: str | None = None
    experts: int | None = None
    gate: str | None = None


def ask_all(interview: Interview, file: str, given: Given) -> dict[str, Any]:
    """Return a specification as `Spec.model_validate` takes it, from the answers to questions."""
    response = ask_response(interview, given.response)
    likelihood, trials = ask_likelihood(interview, response, given.family)
    group = ask_group(interview, [response.name, trials])
    taken = [response.name, trials, group]
    rest = [column for column in interview.columns if column.name not in taken]
    left_out = ask_left_out(interview, rest)
    predictors = [column for column in rest if column.name not in left_out]
    categorical = ask_categorical(interview, predictors)
    units = response.num_rows if group is None else interview.column(group).distinct
    number = ask_number(interview, units, given.experts)
    missing = ask_missing(interview, response, predictors)
    data = {
        "file": file,
        "response": response.name,
        "predictors": [column.name for column in predictors] if left_out else "all",
        "categorical": categorical,
        "trials": trials,
        "group": group,
        "missing": missing,
    }
    small = response.num_rows * max(1, len(predictors)) <= SMALL_FIT
    return {
        "data": {name: value for name, value in data.items() if value not in (None, {})},
        "likelihood": likelihood,
        "experts": {"number": number},
        "gate": _gate(given.gate or ("linear" if predictors else "constant"), number),
        "fit": {"optimiser": "lbfgs"} if small else {"epochs": 200},
    }


def ask_response(interview: Interview, given: str | None) -> ColumnSummary:
    """Return the column to predict."""

    def read(text: str) -> ColumnSummary:
        column = interview.column(text)
        if column.distinct < 2:
            raise interview.rows.error(
                column.name, "has no two different values to predict", "name another column"
            )
        return column

    if given is not None:
        return read(given)
    guess = guesses.guess_response(interview.columns, interview.rows.source)
    question = "response, the column to predict (name or number)"
    column = Guess(interview.column(guess.value), guess.why)
    return interview.answer(question, column, read, lambda c: c.name)


def ask_likelihood(
    interview: Interview, response: ColumnSummary, given: str | None
) -> tuple[dict[str, Any], str | int | None]:
    """Return the likelihood, and the trials where it has any."""

    def read(text: str) -> Family:
        word = SYNONYMS.get(text.lower(), text)
        if word not in FAMILIES:
            remedy = f"{did_you_mean(word, FAMILIES)} choose one of: {listed(FAMILIES, 20)}"
            raise InputError(f"unknown family {quoted(text)}", remedy=remedy.strip())
        family: Family = word  # type: ignore[assignment]  # it is one of them
        check_family(interview, response, family)
        return family

    fitting = [family for family in FAMILIES if _fits(interview, response, family)]
    question = f"family, of those that {quoted(response.name)} fits ({', '.join(fitting)})"
    guess = guesses.guess_family(response)
    family = interview.answer(question, guess, read, given=given)
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
    return interview.answer("classes from the lowest to the highest", guess, read, ", ".join)


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

    return interview.answer("trials, a column's name, or one number for all rows", guess, read)


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
    question = f"group, a column whose equal values share one expert, or {NONE}"
    return interview.answer(question, guess, read, lambda name: NONE if name is None else name)


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
    guess = Guess([*reasons], why or "each has something to tell")
    question = f"columns to leave out (names or numbers with commas, or {NONE})"
    names = interview.answer(question, guess, read, _joined)
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

    guess = Guess(text, "text is; so would be numbers that are only codes of names")
    question = f"categorical columns; few whole numbers are in {listed(codes)}"
    return interview.answer(question, guess, read, _joined)


def ask_number(interview: Interview, units: int, given: int | None) -> int:
    """Return the number of experts."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= MOST_EXPERTS:
            raise InputError(f"{quoted(text)} is not a number of experts", remedy="write e.g. 3")
        return int(text)

    text = None if given is None else str(given)
    return interview.answer("experts", guesses.guess_number(units), read, given=text)


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

    return interview.answer(f"missing {part} ({', '.join(rules)})", guess, read)


def _gate(kind: str, number: int) -> dict[str, Any]:
    return {"kind": kind} | ({"active": min(2, number)} if kind == "top_k" else {})


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or NONE
