"""What all settings of a specification share: the base class, common types, errors of checks."""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from pyromoe.models.errors import quoted


class Section(BaseModel):
    """Settings that belong together: exact types, no unknown names, no NaN, no assignment."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def problem(what: str, remedy: str = "", *, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Return the error of a check; `at` leads from the checked part to the setting it concerns."""
    # The text goes in as a value: pydantic would take braces in a template for its own.
    return PydanticCustomError("problem", "{what}", {"what": what, "remedy": remedy, "at": at})


def _distinct(values: list[Any]) -> list[Any]:
    seen = set()
    for i, value in enumerate(values):
        if value in seen:
            raise problem(f"{quoted(value)} is listed twice", "list it once", at=(i,))
        seen.add(value)
    return values


def word_or(word: str) -> Discriminator:
    """Choose the branch of `word | other`, so that a mistake is reported for one of them only."""
    return Discriminator(lambda value: word if isinstance(value, str) else "other")


def without_none(annotation: Any) -> Any:
    """Return the type of what may be left out where it is there: X for X | None."""
    inner = get_args(annotation)
    return inner[0] if len(inner) == 2 and inner[1] is NoneType else annotation


Name = Annotated[str, Field(min_length=1, max_length=1000)]
Location = Annotated[str, Field(min_length=1, max_length=4000)]
Distinct = AfterValidator(_distinct)
Names = Annotated[list[Name], Distinct]
Columns = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[list[Name], Distinct, Tag("other")],
    word_or("all"),
]
Responses = Annotated[
    Annotated[Name, Tag("column")]
    | Annotated[list[Name], Field(min_length=1), Distinct, Tag("other")],
    Discriminator(lambda value: "other" if isinstance(value, list) else "column"),
]
Trials = Annotated[
    Annotated[Name, Tag("column")] | Annotated[int, Field(ge=1, le=2**24), Tag("other")],
    word_or("column"),
]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(max_length=32)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
