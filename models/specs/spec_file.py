"""Read a specification from YAML, and write one; errors name line, column and setting."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from pyromoe.models.errors import InputError, quoted, unreadable
from pyromoe.models.specs.marks import Mark, dotted, nearest
from pyromoe.models.specs.settings import Section
from pyromoe.models.specs.spec import Spec
from pyromoe.models.specs.spec_errors import explain
from pyromoe.models.specs.yaml_tree import MAX_BYTES, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ruamel.yaml.nodes import ScalarNode

    from pyromoe.models.specs.marks import FieldPath, Marks

EXAMPLE = "write e.g. data: {file: train.csv, response: y}"


@dataclass(frozen=True, slots=True)
class SpecFile:
    r"""A specification, and where its settings stand in the file that it was read from.

    >>> from pyromoe.models import parse_spec
    >>> file = parse_spec("data: {dataset: engel}\nlikelihood: {family: normal}", "fit.yaml")
    >>> print(file.error("likelihood.family", "fits no count"))
    fit.yaml:2:14: likelihood.family: fits no count
    >>> file.changed(experts={"number": 2}).spec.experts.number
    2
    """

    spec: Spec
    source: str = "spec"
    directory: Path = Path()
    marks: Mapping[FieldPath, Mark] = field(default_factory=dict, repr=False)

    def error(self, field: str, what: str, remedy: str = "") -> InputError:
        """Return an error about a setting such as `treatment.temperature`, at its place."""
        parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", field)
        path = tuple(int(index) if index else name for index, name in parts)
        return nearest(self.marks, path, self.source).error(what, remedy, field)

    def changed(self, **sections: Any) -> SpecFile:
        """Return the spec with other sections, checked as if they had been written so.

        Args:
            sections: settings, or what is written for them, by name.

        Raises:
            InputError: where they do not fit the others.
        """
        tree = self.spec.model_dump(exclude_unset=True)
        for name, section in sections.items():
            is_section = isinstance(section, Section)
            tree[name] = section.model_dump(exclude_unset=True) if is_section else section
        try:
            spec = Spec.model_validate(tree)
        except ValidationError as error:
            raise explain(error, tree, self.marks, self.source) from None
        return replace(self, spec=spec)


def read_spec(path: Path | str, overrides: Sequence[str] = ()) -> SpecFile:
    """Read a specification from a file; see `parse_spec`.

    Raises:
        InputError: for a file that cannot be read, and for a mistake in it.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from pyromoe.models import read_spec
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "engel.yaml")
    ...     _ = path.write_text("{data: {dataset: engel}, likelihood: {family: normal}}")
    ...     print(read_spec(path).spec.data.dataset)
    ...
    engel
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(Path(path), error) from None
    return parse_spec(text, str(path), overrides)


def parse_spec(text: bytes | str, source: str, overrides: Sequence[str] = ()) -> SpecFile:
    """Read a specification.

    Args:
        text: YAML 1.2, without tags, anchors and aliases.
        source: Name of the file, for messages and to find the data beside it.
        overrides: Settings of the form `fit.epochs=5`, which replace those of the text.

    Raises:
        InputError: for a mistake in the text, with its line and column.

    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}}"
    >>> parse_spec(text, "engel.yaml", ["experts.number=3"]).spec.experts.number
    3
    """
    tree, marks = parse_yaml(text, source)
    if tree is None:
        raise Mark(source, 1, 1).error("the specification is empty", EXAMPLE)
    if not isinstance(tree, dict):
        raise Mark(source, 1, 1).error(
            f"must be a mapping of settings, not {quoted(tree)}", EXAMPLE
        )
    for override in overrides:
        _override(tree, marks, override)
    try:
        spec = Spec.model_validate(tree)
    except ValidationError as error:
        raise explain(error, tree, marks, source) from None
    return SpecFile(spec, source, Path(source).parent, marks)


def _override(tree: dict[str, Any], marks: Marks, override: str) -> None:
    name, equals, text = override.partition("=")
    mark = Mark(f"--set {override}")
    path = tuple(part.strip() for part in name.split("."))
    if not equals or not all(path):
        raise mark.error("must be of the form name=value", "write e.g. --set fit.epochs=5")
    try:
        value, _ = parse_yaml(text, mark.source)
    except InputError as error:
        raise mark.error(error.what, error.remedy) from None
    section = tree
    for depth, part in enumerate(path[:-1], start=1):
        inner = section.get(part)
        if path[:depth] == ("treatment",) and isinstance(inner, str):
            inner = {"name": inner}
        if inner is None:
            inner = {}
            marks.setdefault(path[:depth], mark)
        if not isinstance(inner, dict):
            raise mark.error("is not a mapping of settings", field=dotted(path[:depth]))
        section[part] = inner
        section = inner
    section[path[-1]] = value
    for stale in [other for other in marks if other[: len(path)] == path]:
        del marks[stale]
    marks[path] = mark


class _Representer(SafeRepresenter):
    """Write text with unusual characters in double quotes: ruamel loses U+0085 otherwise."""

    def represent_str(self, data: str) -> ScalarNode:
        """Return the node of a text."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(spec: Spec) -> str:
    """Write a specification with every default; `parse_spec` reads the same one back."""
    return _dump(spec.model_dump(), flow=None)


def setting_line(name: str, value: object) -> str:
    """Write one setting, on one line where it is short.

    >>> setting_line("predictors", ["a: b", "c"])
    "predictors: ['a: b', c]"
    """
    return _dump({name: value}, flow=True).strip()[1:-1]


def _dump(tree: Mapping[str, Any], *, flow: bool | None) -> str:
    """Write plain values; without `flow`, only the innermost lists and mappings have brackets."""
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    writer.width = 120
    text = io.StringIO()
    writer.dump(tree, text)
    return text.getvalue()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification, for completion and hover text in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}
