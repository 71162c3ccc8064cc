"""Broken specifications, thousands of them: each is read or refused with one line."""

import copy
import importlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from ruamel.yaml import YAML

from pyromoe.models.errors import InputError
from pyromoe.models.spec_file import parse_spec

FULL = YAML(typ="safe", pure=True).load(Path(__file__).parent / "golden" / "full_spec.yaml")


def dump(tree: object) -> str:
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, text)
    return text.getvalue()


WEIRD: list[object] = [
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    "",
    " ",
    "\n",
    "x" * 5000,
    "\u202e",
    "\x1b[31m",
    [],
    {},
]
WEIRD += [
    [[]],
    [None],
    {"a": 1},
    [1] * 50,
    "1e-3",
    "null",
    "all",
    "<<",
    "../../x",
    "{{7*7}}",
    "%s%n",
    "\ud7ff",
]
BITS = [
    b"\t",
    b"!!x ",
    b"&a ",
    b"*a ",
    b"\0",
    b"\xff\xfe",
    b"---\n",
    b"{" * 40,
    b"[" * 300,
    b"- ",
    b": ",
    b"#",
]
BITS += [
    b"'",
    b'"',
    b"<<: ",
    b"\r",
    b"%YAML 9.9\n",
    b"? ",
    b"| ",
    b"> ",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b'"\\U',
]


def places(tree: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    return [p for key, value in items for p in [(*path, key), *places(value, (*path, key))]]


@st.composite
def broken_trees(draw: st.DrawFn) -> bytes:
    tree = copy.deepcopy(FULL)
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        *above, key = draw(st.sampled_from(places(tree)))
        node: Any = tree
        for part in above:
            node = node[part]
        change = draw(st.integers(0, 3))
        if change == 0 and isinstance(node, dict):
            node[f"{key}{draw(st.sampled_from('s_ Xé'))}"] = node.pop(key)
        elif change == 1:
            node.pop(key)
        else:
            node[key] = [node[key]] if change == 2 else copy.deepcopy(draw(st.sampled_from(WEIRD)))
        if not places(tree):
            break
    return dump(tree).encode()


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    raw = bytearray(dump(FULL).encode())
    for _ in range(draw(st.sampled_from([1, 1, 2, 8]))):
        at = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 12))
        raw[at : at + length] = draw(st.sampled_from(BITS) | st.binary(max_size=4))
    return bytes(raw)


def outcome(raw: bytes) -> str:
    try:
        parse_spec(raw, "s.yaml")
    except InputError as error:
        line = str(error)
        assert line.startswith("s.yaml")
        assert line.isprintable()
        assert len(line) <= 400
        return "error"
    return "specification"


def fuzz(phases: tuple[Phase, ...]) -> set[str]:
    seen: set[str] = set()

    @settings(
        max_examples=500,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(broken_trees() | broken_bytes())
    def run(raw: bytes) -> None:
        seen.add(outcome(raw))

    run()
    return seen


def test_every_broken_text_gives_a_specification_or_one_line() -> None:
    assert fuzz((Phase.generate, Phase.shrink)) == {"error", "specification"}


class Planted(Exception):
    pass


def test_the_fuzzing_finds_a_planted_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: in a reader that fails on one kind of mistake only, the mistake is found."""

    def crash(*_: object) -> str:
        raise Planted

    module = importlib.import_module("pyromoe.models.spec_errors")
    monkeypatch.setattr(module, "closest", crash)
    with pytest.raises(Planted):
        fuzz((Phase.generate,))
