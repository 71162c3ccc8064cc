"""The questions whose answers make a specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromoe.inference.commands.predictor_questions import (
    ask_categorical,
    ask_group,
    ask_left_out,
    ask_missing,
)
from pyromoe.inference.commands.response_questions import ask_likelihood, ask_response
from pyromoe.models.data import guesses
from pyromoe.models.errors import InputError, quoted

if TYPE_CHECKING:
    from pyromoe.inference.commands.interview import Interview

MOST_EXPERTS = 4096
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
        "data": {n: v for n, v in data.items() if v or n == "predictors"},
        "likelihood": likelihood,
        "experts": {"number": number},
        "gate": _gate(given.gate or ("linear" if predictors else "constant"), number),
        "fit": {"optimiser": "lbfgs" if small else "adam"},
    }


def ask_number(interview: Interview, units: int, given: int | None) -> int:
    """Return the number of experts."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= MOST_EXPERTS:
            raise InputError(f"{quoted(text)} is not a number of experts", remedy="write e.g. 3")
        return int(text)

    text = None if given is None else str(given)
    guess = guesses.guess_number(units)
    return interview.answer("experts", "How many experts", guess, read, given=text)


def _gate(kind: str, number: int) -> dict[str, Any]:
    return {"kind": kind} | ({"active": min(2, number)} if kind == "top_k" else {})
