"""Broken specifications, of settings and of bytes: for the tests and benchmarks/fuzz_specs.py."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzzing import watched
from ruamel.yaml import YAML

from pyromoe.inference.fitting.choice import settle
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.models.data.data import load
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec, to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from pyromoe.models.specs.spec_file import SpecFile

    Read = Callable[[bytes, str], SpecFile]

ROOT = Path(__file__).parent.parent
SEEDS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "tests" / "golden" / "full_spec.yaml"]
NAME = "s.yaml"
WEIRD: list[object] = [
    None, True, 0, -1, 2**70, 1e308, 1e-320, 0.5, "", " ", "\n", "x" * 5000, "\u202e", "\x1b[31m",
    "\ud7ff", "\ufffe", [], {}, [[]], [None], {"a": 1}, {"": None}, [1] * 50, "1e-3", "null", "all",
    "full", "<<", "~", "../../x", "/dev/zero", "{{7*7}}", "%s%n", "${HOME}", "$(touch x)",
]  # fmt: skip
BITS = [
    b"\t", b"!!x ", b"!!python/object/apply:os.system ['touch executed'] ", b"&a ", b"*a ", b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"---\n", b"...\n", b"{" * 40,
    b"[" * 300, b"{", b"}", b"[", b"]", b"- ", b": ", b",", b"#", b"'", b'"', b"<<: ", b"\r", b"? ",
    b"%YAML 9.9\n", b"%TAG ! !!\n", b"| ", b"> ", b'"\\U', b'"\\x', b"@", b"`", b"0x", b".inf",
    b".nan", b"1e999", b"012", b"9" * 400, b"no", b"on",
]  # fmt: skip


def dump(tree: object) -> bytes:
    """Write a tree as YAML."""
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, text)
    return text.getvalue().encode("utf-8", "surrogatepass")


def places(tree: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value in a tree."""
    pairs = enumerate(tree) if isinstance(tree, list) else ()
    items = tree.items() if isinstance(tree, dict) else pairs
    return [p for key, value in items for p in [(*path, key), *places(value, (*path, key))]]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return what stands at a path."""
    for part in path:
        tree = tree[part]
    return tree


def misspelt(word: str, chance: Random) -> str:
    """Return a word with a letter lost, doubled, added or in another case."""
    place = chance.randrange(len(word) + 1)
    letter = word[place : place + 1]
    instead = chance.choice(["", letter * 2, letter.swapcase(), chance.choice("sX_ é-\u0301")])
    return word[:place] + instead + word[place + 1 :]


def broken_tree(trees: list[Any], chance: Random) -> bytes:
    """Return one of the specifications after one to four changes of its settings."""
    tree = copy.deepcopy(chance.choice(trees))
    for _ in range(chance.choice([1, 1, 2, 4])):
        here = chance.choice(places(tree))
        *above, key = here
        node = at(tree, tuple(above))
        change = chance.randrange(6)
        if change == 0 and isinstance(node, dict):
            node[misspelt(str(key), chance)] = node.pop(key)
        elif change == 1:
            node.pop(key)
        elif change == 2:
            node[key] = [node[key]]
        elif change == 3:
            other = chance.choice(trees)
            node[key] = copy.deepcopy(at(other, chance.choice(places(other))))
        elif change == 4 and isinstance(node[key], str):
            node[key] = misspelt(node[key], chance)
        else:
            node[key] = copy.deepcopy(chance.choice(WEIRD))
        if not places(tree):
            break
    return dump(tree)


def broken_bytes(texts: list[bytes], chance: Random) -> bytes:
    """Return one of the texts after one to eight changes of its bytes."""
    raw = bytearray(chance.choice(texts))
    for _ in range(chance.choice([1, 1, 2, 8])):
        place, length = chance.randrange(len(raw) + 1), chance.randrange(13)
        change = chance.randrange(5)
        if change == 0 and raw:
            raw[place % len(raw)] ^= 1 << chance.randrange(8)
        elif change == 1:
            del raw[place:]
        elif change == 2:
            lines = raw.splitlines(keepends=True)
            lines.insert(
                chance.randrange(len(lines) + 1), chance.choice(lines or [bytearray(b":")])
            )
            raw = bytearray().join(lines)
        elif change == 3:
            raw[place : place + length] = bytes(chance.randrange(256) for _ in range(length % 5))
        else:
            raw[place : place + length] = chance.choice(BITS)
    return bytes(raw)


def texts() -> list[bytes]:
    """Return the specifications that are broken."""
    return [path.read_bytes() for path in SEEDS]


def trees() -> list[Any]:
    """Return the same as dictionaries."""
    return [YAML(typ="safe", pure=True).load(text) for text in texts()]


def outcome(raw: bytes, read: Read = parse_spec) -> str:
    """Read a text, and return the line of its error, or nothing where it is a specification.

    Raises:
        AssertionError: for an error that is not one printable line with a place, and for a
            specification that is not read back as it is written.
    """
    try:
        with watched():
            file = read(raw, NAME)
            again = read(to_yaml(file.spec).encode(), NAME)
            settle(make_plan(file).spec, len(load(file).train.rows))
    except InputError as error:
        check(error)
        return str(error)
    assert again.spec == file.spec, "not read back as it is written"
    return ""


def check(error: InputError) -> None:
    """Refuse an error that is not one printable line with a file, and a place in a spec."""
    line = str(error)
    assert error.file, f"no file: {line!r}"
    assert error.line or error.field or error.file != NAME, f"no place: {line!r}"
    assert line.isprintable(), f"not printable: {line!r}"
    assert len(line) <= 400, f"too long: {line!r}"
