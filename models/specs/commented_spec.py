"""Write a specification for people: a comment on each setting, what they want next beside it."""

from __future__ import annotations

import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pyromoe.models.errors import one_line
from pyromoe.models.specs.setting_descriptions import TAGS, choices, settings_of
from pyromoe.models.specs.settings import Section
from pyromoe.models.specs.spec_file import setting_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyromoe.models.specs.setting_descriptions import Setting
    from pyromoe.models.specs.spec import Spec

WIDTH = 96
NEXT = {
    "data": ("categorical", "group", "weights", "missing", "standardise", "split"),
    "experts": ("kind", "hidden", "predictors"),
    "gate": ("predictors", "levels", "hidden", "dimensions", "active", "concentration"),
    "likelihood": ("scale", "levels"),
    "priors": ("experts", "gate"),
    "priors.experts": ("scale",),
    "": ("objective",),
    "guide": (),
    "treatment": (),
    "fit": ("optimiser", "learning_rate", "schedule", "batch_size", "epochs"),
}
"""Settings that are shown, but commented out, by section."""
ALWAYS: dict[str, Any] = {
    "priors": {"experts": {"kind": ...}},
    "guide": {"weights": ...},
    "treatment": {"name": ...},
    "seed": ...,
}
"""Settings that are written out even where nobody chose them, so that no section is empty."""


def commented(spec: Spec, tree: Mapping[str, Any], notes: Mapping[str, str], head: str) -> str:
    """Return a specification in YAML.

    Args:
        spec: the specification.
        tree: the part of it that was chosen, as `Spec.model_validate` takes it.
        notes: a sentence more on some settings, by their path, such as `data.predictors`.
        head: what stands above all, a comment line for each line.
    """
    lines = [f"# {line}" for line in head.splitlines()]
    return "\n".join([*lines, *_lines(spec, _merged(ALWAYS, tree), notes, "")]) + "\n"


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for name in under.keys() & over.keys():
        if isinstance(under[name], dict):
            both[name] = _merged(under[name], over[name])
    return both


def _lines(
    section: Section,
    tree: Mapping[str, Any],
    notes: Mapping[str, str],
    path: str,
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    """Give the lines of a section: what the tree names, and what people want next.

    Args:
        section: with the value of every setting.
        tree: those that were chosen.
        notes: see `commented`.
        path: of the section, empty at the top.
        kinds: what else the section may be, and what that stands for.
    """
    plain = section.model_dump()
    settings = [*settings_of(type(section))]
    for setting in sorted(settings, key=lambda each: path != "" and each.name not in tree):
        name, value = setting.name, getattr(section, setting.name)
        here = f"{path}.{name}".lstrip(".")
        if name not in tree and name not in NEXT.get(path, ()):
            continue
        if not path:
            yield ""
        indent = "  " * here.count(".")
        yield from _comment(setting, kinds, notes.get(here, ""), f"{indent}# ")
        if isinstance(value, Section) and isinstance(tree.get(name), dict):
            yield f"{indent}{name}:"
            yield from _lines(value, tree[name], notes, here, choices(setting.sections))
        else:
            mark = "" if name in tree else "#"
            yield textwrap.indent(setting_line(name, plain[name]), indent + mark)


def _comment(setting: Setting, kinds: Mapping[str, str], note: str, indent: str) -> Iterator[str]:
    allowed = setting.allowed
    if setting.name in TAGS and len(kinds) > 1:
        allowed = "; ".join(f"{words} ({what})" for words, what in kinds.items())
    sentences = (setting.what, one_line(note), allowed and f"Allowed: {allowed}.")
    text = " ".join(sentence for sentence in sentences if sentence)
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
