"""What pydantic found wrong with a specification, in plain words and at its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from pyromoe.models.errors import closest, did_you_mean, listed, one_line, quoted
from pyromoe.models.specs.marks import dotted, nearest
from pyromoe.models.specs.setting_descriptions import TAGS
from pyromoe.models.specs.settings import without_none
from pyromoe.models.specs.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from pyromoe.models.errors import InputError
    from pyromoe.models.specs.marks import FieldPath, Mark

MUST = {
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
    "list_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
}
# A wrong word where `word | other` is wanted: what the other is.
OTHERS = {"all": "a list of columns", "full": "a whole number"}
EXAMPLES = {
    "data": "add e.g. data: {file: train.csv, response: y}",
    "likelihood": "add e.g. likelihood: {family: normal}",
}
SYNONYMS = {
    "gaussian": "normal",
    "logistic": "bernoulli",
    "binary": "bernoulli",
    "softmax": "categorical",
    "multinomial": "categorical",
    "t": "student_t",
    "negbin": "negative_binomial",
    "zip": "zero_inflated_poisson",
    "ordered": "ordinal",
    "cumulative": "ordinal",
    "lr": "learning_rate",
    "target": "response",
    "features": "predictors",
    "inputs": "predictors",
}


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: str
    path: FieldPath
    what: str
    remedy: str = ""
    meant: FieldPath = ()


def explain(
    error: ValidationError, tree: object, marks: Mapping[FieldPath, Mark], source: str
) -> InputError:
    """Return the first problem by position, with the number of the others."""
    found = [_problem(detail, tree) for detail in error.errors(include_url=False)]
    meant = {problem.meant for problem in found if problem.meant}
    # A misspelt setting is one mistake, although the right one is then missing too. And what
    # depends on a wrong setting is not wrong itself.
    problems = [
        problem
        for problem in found
        if problem.kind != "default_factory_not_called"
        and not (problem.kind == "missing" and problem.path in meant)
    ]

    def position(problem: _Problem) -> tuple[float, float]:
        mark = nearest(marks, problem.path, source)
        return (mark.line or float("inf"), mark.column or 0)

    first = min(problems, key=position)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    mark = nearest(marks, first.path, source)
    return mark.error(f"{first.what}{more}", first.remedy, dotted(first.path))


def _problem(detail: ErrorDetails, tree: object) -> _Problem:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    path = _path(detail["loc"], tree, keep_last=kind == "missing")
    if kind == "problem":
        return _Problem(kind, path + tuple(context["at"]), context["what"], context["remedy"])
    if kind == "extra_forbidden":
        return _unknown_setting(path, _known_settings(detail["loc"][:-1]))
    if kind == "literal_error" and (other := OTHERS.get(str(detail["loc"][-1]))):
        word = detail["loc"][-1]
        remedy = f"write [{_plain(value)}]" if word == "all" else ""
        return _Problem(kind, path, f"must be '{word}' or {other}, not {quoted(value)}", remedy)
    if kind == "literal_error":
        return _unknown_choice(path, value, _words(context["expected"]))
    if kind == "union_tag_invalid":
        path = (*path, _words(context["discriminator"])[0])
        return _unknown_choice(path, context["tag"], _words(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return _no_tag(path, value, _words(context["discriminator"])[0])
    if kind == "missing":
        remedy = EXAMPLES.get(dotted(path), "add it")
        return _Problem(kind, path, "required, but missing", remedy)
    must = MUST[kind].format_map(_bounds(context)) if kind in MUST else detail["msg"]
    if kind == "model_attributes_type" and isinstance(value, str):
        tag = "kind" if path[-1:] == ("gate",) else "family"
        return _Problem(kind, path, must + _not(kind, value), f"write {{{tag}: {_plain(value)}}}")
    return _Problem(kind, path, must + _not(kind, value), _remedy(kind, value))


def _path(location: tuple[int | str, ...], tree: object, *, keep_last: bool) -> FieldPath:
    """Return the settings alone: pydantic puts names of branches of unions between their names."""
    path: list[str | int] = []
    for part in location[:-1] if keep_last else location:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            continue
        path.append(part)
    return (*path, location[-1]) if keep_last else tuple(path)


def _known_settings(location: tuple[int | str, ...]) -> list[str]:
    node: Any = Spec
    for part in location:
        if isinstance(node, type) and issubclass(node, BaseModel):
            node = without_none(node.model_fields[str(part)].annotation)
        else:
            node = _branches(node).get(part, node)
    return list(node.model_fields)


def _branches(node: Any) -> dict[object, type[BaseModel]]:
    """Return the models in a union, by the word that chooses each."""
    if isinstance(node, type) and issubclass(node, BaseModel):
        words = [node.model_fields[tag].annotation for tag in TAGS if tag in node.model_fields]
        return dict.fromkeys(get_args(words[0]), node) if words else {}
    return {word: m for each in get_args(node) for word, m in _branches(each).items()}


def _unknown_setting(path: FieldPath, known: list[str]) -> _Problem:
    name = str(path[-1])
    synonym = SYNONYMS.get(name.lower())
    near = synonym if synonym in known else closest(name, known)
    if near is None:
        remedy = f"known here: {listed(known, 20)}"
        return _Problem("extra_forbidden", path, "unknown setting", remedy)
    remedy, meant = f"did you mean {quoted(near)}?", (*path[:-1], near)
    return _Problem("extra_forbidden", path, "unknown setting", remedy, meant)


def _unknown_choice(path: FieldPath, value: object, choices: list[str]) -> _Problem:
    word = SYNONYMS.get(str(value).lower(), str(value))
    every = f"choose one of: {', '.join(choices)}" if len(choices) > 1 else f"write {choices[0]}"
    remedy = f"{did_you_mean(word, choices)} {every}".strip()
    name = next(part for part in reversed(path) if isinstance(part, str))  # of an entry, its list
    return _Problem("choice", path, f"unknown {name} {quoted(value)}", remedy)


def _no_tag(path: FieldPath, value: object, tag: str) -> _Problem:
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    near = closest(tag, keys)
    if near is None:
        return _Problem("missing", (*path, tag), "required, but missing", "add e.g. family: normal")
    return _unknown_setting((*path, near), [tag])


def _plain(value: object) -> str:
    return one_line(str(value), 40)


def _words(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text) or [text]


def _bounds(context: Mapping[str, Any]) -> dict[str, object]:
    """Return bounds for a message: pydantic has made floats of all bounds of floats."""
    return {
        name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in context.items()
    }


def _not(kind: str, value: Any) -> str:
    if kind in ("string_too_short", "too_short"):
        return ""
    return f", not {len(value) if kind in ('string_too_long', 'too_long') else quoted(value)}"


def _remedy(kind: str, value: object) -> str:
    if value is None:
        return "fill it in, or remove it"
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return f'write "{quoted(value)}", with the quotes'
    if kind == "list_type" and isinstance(value, (str, int, float)):
        return f"write [{_plain(value)}]"
    return ""
