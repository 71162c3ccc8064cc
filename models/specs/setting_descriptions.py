"""The settings of a specification in words, from the one place where they are declared."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pyromoe.models.specs.settings import Section, without_none

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 10**6
"""An upper bound from here on is no news."""
TAGS = ("family", "kind")
"""Settings that choose which others there are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its name, what it is, and what it may be.

    Attributes:
        name: within its section.
        what: its description.
        allowed: the words or numbers it may be, empty where the description says so.
        default: what it is where it is left out.
        required: whether it has no default.
        depends: whether the default depends on other settings; the description says on which.
        sections: of what it holds, where these are settings; several where one of them is chosen.
    """

    name: str
    what: str
    allowed: str
    default: Any
    required: bool
    depends: bool
    sections: tuple[type[Section], ...]


def settings_of(section: type[Section]) -> Iterator[Setting]:
    """Give the settings of a section in their order.

    >>> from pyromoe.models.specs.spec import Experts
    >>> setting = next(settings_of(Experts))
    >>> setting.name, setting.what, setting.allowed
    ('kind', 'Form of each expert.', 'linear or mlp')
    """
    for name, field in section.model_fields.items():
        annotation = without_none(field.annotation)
        yield Setting(
            name,
            field.description or "",
            allowed(annotation, field.metadata),
            None if field.default is PydanticUndefined else field.default,
            field.is_required(),
            field.default_factory is not None,
            tuple(sections_in(annotation)),
        )


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """Give the sections that a setting may be, those in lists left out."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for each in get_args(annotation):
            yield from sections_in(each)


def allowed(annotation: Any, metadata: list[Any]) -> str:
    """Return which words or numbers a setting may be, in words."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        fields = (each.metadata for each in more if isinstance(each, FieldInfo))
        return allowed(annotation, [*metadata, *(bound for field in fields for bound in field)])
    if get_origin(annotation) is Literal:
        *others, last = map(str, get_args(annotation))
        return f"{', '.join(others)} or {last}" if others else last
    if annotation is bool:
        return "true or false"
    return _bounds(metadata) if annotation in (int, float) else ""


def _bounds(metadata: list[Any]) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = (
        (word, getattr(bound, name, None)) for name, word in words.items() for bound in metadata
    )
    return ", ".join(f"{word} {bound:g}" for word, bound in bounds
                     if bound is not None and bound < LARGE)  # fmt: skip


def choices(sections: tuple[type[Section], ...]) -> dict[str, str]:
    """Return the words that choose each of some sections, and what they stand for."""
    found = {}
    for section in sections:
        for setting in settings_of(section):
            if setting.name in TAGS:
                several = " or " in setting.allowed
                what = (section.__doc__ or "").partition("\n")[0] if several else setting.what
                found[setting.allowed] = what if what.endswith("...") else what.removesuffix(".")
    return found
