"""What is public says what it is, what shapes it takes, and shows how it is used."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "pyromoe",
    "pyromoe.models",
    "pyromoe.models.gates",
    "pyromoe.models.likelihoods",
    "pyromoe.guides",
    "pyromoe.inference",
    "pyromoe.inference.pictures",
    "pyromoe.inference.treatments",
)
ARRAY = re.compile(r"(?<!\[str, )\b(Tensor|NDArray|FloatArray)\b")  # named ones have their own
SIZE = r"(?:\.\.\.|in|out|[A-Z0-9](?: (?:[-+] )?\w+)?)"
SHAPE = re.compile(rf"\((?:\.\.\.|{SIZE},(?: {SIZE},?)*)\)|\bscalar\b")
"""For instance (N, K), (S,), (K, N, ...), (...) or (C S, P)."""


def public() -> dict[str, Any]:
    """Every public function and class by its path, once."""
    found: dict[Any, str] = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        for each in package.__all__:
            if callable(getattr(package, each)):
                found.setdefault(getattr(package, each), f"{name}.{each}")
    return {path: thing for thing, path in found.items()}


def members(thing: Any) -> Iterator[tuple[Any, str]]:
    """A function, or a class and the methods that it defines, with what is said of them.

    Of a method that is what the classes above it say too: shapes are described once.
    """
    yield thing, inspect.getdoc(thing) or ""
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        raw = getattr(member, "fget", None) or getattr(member, "__func__", member)
        function = inspect.unwrap(raw) if callable(raw) else raw
        if not inspect.isfunction(function):
            continue
        if function.__code__.co_filename != inspect.getsourcefile(thing):  # made by dataclass
            continue
        if name == "__init__":
            yield function, inspect.getdoc(thing) or ""
        elif name == "__call__" or not name.startswith("_"):
            of_all = (vars(base).get(name) for base in thing.__mro__)
            yield function, "\n".join(filter(None, (each.__doc__ for each in of_all if each)))


PUBLIC = public()
everything = pytest.mark.parametrize("path", PUBLIC)


def test_what_is_public_is_found() -> None:
    assert len(PUBLIC) > 100
    assert {"pyromoe.MoERegressor", "pyromoe.inference.fit", "pyromoe.guides.Noise"} <= {*PUBLIC}


@everything
def test_it_has_a_docstring_and_so_have_its_methods(path: str) -> None:
    thing = PUBLIC[path]
    own = vars(thing)["__doc__"] if inspect.isclass(thing) else thing.__doc__
    assert own
    assert not own.startswith(f"{thing.__name__}(")  # made by dataclass
    assert [m.__qualname__ for m, text in members(thing) if not text] == []


@everything
def test_it_has_an_example_that_runs_by_itself(path: str) -> None:
    """In an empty namespace, as a reader runs it."""
    (found,) = doctest.DocTestFinder(recurse=False).find(PUBLIC[path], path, globs={})
    assert found.examples
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found)
    assert not result.failed


@everything
def test_every_array_has_a_shape(path: str) -> None:
    without = []
    for member, text in members(PUBLIC[path]):
        kinds = inspect.get_annotations(member)
        arrays = [name for name, kind in kinds.items() if ARRAY.search(str(kind))]
        said = "\n".join(line for line in text.splitlines() if ">>>" not in line)
        if len(SHAPE.findall(said)) < len(arrays):
            without.append(member.__qualname__)
    assert without == []


@everything
def test_errors_are_named(path: str) -> None:
    unnamed = []
    for member, text in members(PUBLIC[path]):
        if inspect.isclass(member):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(member)))
        raised = [getattr(n.exc, "func", None) for n in ast.walk(tree) if isinstance(n, ast.Raise)]
        names = {f.id for f in raised if isinstance(f, ast.Name) and f.id[0].isupper()}
        unnamed += [f"{member.__qualname__}: {name}" for name in names if name not in text]
    assert unnamed == []
