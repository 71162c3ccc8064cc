"""From YAML 1.2 text to plain values, with the position of each.

Of YAML, only what a specification needs: one document of mappings, lists and scalars. Tags,
anchors, aliases and merge keys are refused, so that nothing is executed and nothing grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import Resolver

from pyromoe.models.errors import InputError, one_line, quoted
from pyromoe.models.specs.marks import Mark, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.models.specs.marks import FieldPath, Marks

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_VALUES = 20_000
# Not the reader's own: that one follows a %YAML line further on before it can be refused.
YAML_1_2 = Resolver()
# The scalars of YAML 1.2; ruamel also knows dates and others of YAML 1.1, which stay text here.
SCALARS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "null"))


def parse_yaml(text: bytes | str, source: str) -> tuple[Any, Marks]:
    """Return the value of a YAML text, and where each key and list item stands in it."""
    reader = YAML(typ="safe", pure=True)
    builder = _Builder(source, reader)
    for event in _plain_events(_events(reader, _decode(text, source), source), source):
        builder.take(event)
    return builder.root, builder.marks


def _decode(text: bytes | str, source: str) -> str:
    if len(text) > MAX_BYTES:
        raise Mark(source).error("larger than 1 MiB", "is this the right file?")
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Mark(source, 1, 1).error("looks like UTF-16", "save it as UTF-8")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        what = f"not UTF-8 (byte 0x{text[error.start]:02x})"
        raise Mark(source, line, column).error(what, "save it as UTF-8") from None


def _mark_of_offset(text: str, offset: int, source: str) -> Mark:
    before = text[:offset]
    return Mark(source, before.count("\n") + 1, offset - before.rfind("\n"))


def _syntax_error(error: MarkedYAMLError, source: str) -> InputError:
    mark = error.problem_mark or error.context_mark
    place = Mark(source, mark.line + 1, mark.column + 1) if mark else Mark(source)
    what = " ".join(str(error.problem or error.context).split())
    if "'\\t'" in what:
        return place.error("a tab cannot indent", "use spaces")
    context = f" {error.context}" if error.context and error.problem else ""
    return place.error(f"not valid YAML: {what}{context}")


def _events(reader: YAML, text: str, source: str) -> Iterator[Any]:
    try:
        yield from reader.parse(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, source) from None
    except ReaderError as error:
        mark = _mark_of_offset(text, error.position, source)
        raise mark.error(f"character U+{ord(text[error.position]):04X} is not allowed") from None
    except YAMLError as error:
        raise Mark(source).error(f"not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, OverflowError):
        what = "not valid YAML: an escape in a text in quotes is not a character"
        raise Mark(source).error(what, "such as \\UFFFFFFFF") from None


def _plain_events(events: Iterator[Any], source: str) -> Iterator[Any]:
    documents = 0
    for event in events:
        mark = Mark(source, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise mark.error("a second YAML document starts here", "keep one in a file")
            if event.version not in (None, (1, 2)):
                raise mark.error("only YAML 1.2 is understood", "remove the %YAML line")
        if isinstance(event, AliasEvent):
            raise mark.error(
                f"YAML aliases (*{one_line(event.anchor, 40)}) are not allowed", "write it out"
            )
        if isinstance(event, NodeEvent) and event.anchor is not None:
            raise mark.error(
                f"YAML anchors (&{one_line(event.anchor, 40)}) are not allowed", "remove it"
            )
        if isinstance(event, (ScalarEvent, CollectionStartEvent)) and event.tag is not None:
            raise mark.error(f"YAML tags ({one_line(event.tag, 40)}) are not allowed", "remove it")
        yield event


@dataclass
class _Builder:
    """Grow the value event by event: no recursion, so that no depth of nesting can exhaust it."""

    source: str
    reader: YAML
    root: Any = None
    marks: Marks = field(default_factory=dict)
    stack: list[tuple[FieldPath, dict[str, Any] | list[Any]]] = field(default_factory=list)
    key: str | None = None
    count: int = 0

    def take(self, event: Any) -> None:
        """Add what one event brings."""
        if isinstance(event, CollectionEndEvent):
            self.stack.pop()
        if not isinstance(event, (ScalarEvent, CollectionStartEvent)):
            return
        mark = Mark(self.source, event.start_mark.line + 1, event.start_mark.column + 1)
        self.count += 1
        if self.count > MAX_VALUES:
            raise mark.error(f"more than {MAX_VALUES} values", "is this the right file?")
        if self.stack and isinstance(self.stack[-1][1], dict) and self.key is None:
            self._take_key(event, mark)
        elif isinstance(event, ScalarEvent):
            self._put(self._scalar(event, mark), mark)
        else:
            if len(self.stack) == MAX_DEPTH:
                raise mark.error(f"nested more than {MAX_DEPTH} deep", "is a bracket left open?")
            value: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
            self.stack.append((self._put(value, mark), value))

    def _take_key(self, event: Any, mark: Mark) -> None:
        path, mapping = self.stack[-1]
        if not isinstance(event, ScalarEvent):
            raise mark.error("a key must be one word", field=dotted(path))
        if event.value == "<<" and event.implicit[0]:
            raise mark.error("YAML merge keys (<<) are not allowed", "write it out")
        self.key = str(self._text(event.value, mark))
        here = (*path, self.key)
        if self.key in mapping:
            first = f"line {self.marks[here].line}"
            raise mark.error(f"given twice (first in {first})", "keep one", dotted(here))
        self.marks[here] = mark

    def _put(self, value: Any, mark: Mark) -> FieldPath:
        if not self.stack:
            self.root, self.marks[()] = value, mark
            return ()
        path, parent = self.stack[-1]
        if isinstance(parent, list):
            here: FieldPath = (*path, len(parent))
            parent.append(value)
            self.marks[here] = mark
        else:
            here = (*path, str(self.key))
            parent[str(self.key)], self.key = value, None
        return here

    def _scalar(self, event: Any, mark: Mark) -> Any:
        tag = YAML_1_2.resolve(ScalarNode, event.value, event.implicit)
        if str(tag) not in SCALARS:
            return self._text(event.value, mark)
        try:
            value = self.reader.constructor.construct_object(ScalarNode(tag, event.value))
        except ValueError:
            raise mark.error(
                f"{quoted(event.value)} is not a number", "put text in quotes"
            ) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise mark.error(f"{quoted(event.value)} is not a finite number")
        return value

    def _text(self, value: str, mark: Mark) -> str:
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise mark.error(f"{quoted(value)} has a character that is not allowed")
        return value
