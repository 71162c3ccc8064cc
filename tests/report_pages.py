"""Runs with hostile names, and a page as its elements, for the tests of reports."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference import fit
from pyromoe.inference.runs.run_directory import save_run
from pyromoe.models import Spec
from pyromoe.models.specs.spec_file import parse_spec, to_yaml

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    "\"'><img src=x onerror=alert(1)>",
    "</style></title>{{ 7 * 7 }}{% raw %}",
    "line\nbreak\tand 中文 \U0001d518 $x^2$ http://example.org/",
    "a" * 200,
)
CLASSES = ("<b>one", "{{two}}", "' three")


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def is_safe(page: str) -> Elements:
    """Nothing in a page is executed, and nothing is loaded from elsewhere."""
    found = Elements(page)
    allowed = {
        "html", "head", "meta", "title", "link", "style", "body", "header", "main", "nav",
        "section", "div", "p", "h1", "h2", "h3", "ul", "li", "span", "strong", "a", "svg", "rect",
        "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img",
        "pre",
    }  # fmt: skip
    assert {tag for tag, _ in found.found} <= allowed
    for tag, attributes in found.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
        assert not [v for v in attributes.values() if v.startswith("javascript:")]
    return found


def table(number: int = 60) -> dict[str, Any]:
    """Columns with hostile names: numbers, names, classes and a group."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(number, 3))
    columns: dict[str, Any] = {HOSTILE[i]: x[:, i] for i in range(3)}
    columns[HOSTILE[3]] = np.array([SCRIPT, "{{ level }}"])[(x[:, 0] > 0).astype(int)]
    columns[HOSTILE[4]] = np.abs(x[:, 0]) + 0.1 * rng.normal(size=number)
    columns["second"] = x[:, 1] + rng.normal(size=number)
    columns["class"] = np.array(CLASSES)[rng.integers(3, size=number)]
    columns["g"] = np.arange(number) // 3
    return columns


def spec(
    response: Any = HOSTILE[4], family: str = "normal", number: int = 2, **sections: Any
) -> dict[str, Any]:
    """A spec of a short fit to these columns."""
    data = {"file": "train.csv", "response": response, "predictors": list(HOSTILE[:4])}
    return {
        "data": data | {"categorical": [HOSTILE[3]]} | sections.pop("data", {}),
        "likelihood": {"family": family},
        "experts": {"number": number},
        "fit": {"epochs": 2, "restarts": 2, "batch_size": 32, "mode": "eager", "optimiser": "adam"},
        "output": {"draws": 20},
        **sections,
    }


def as_yaml(settings: dict[str, Any]) -> str:
    """A spec with every default, as a file has it."""
    return to_yaml(Spec.model_validate(settings))


def write_run(
    folder: Path, settings: dict[str, Any], columns: dict[str, Any] | None = None
) -> Path:
    """Fit a spec and write its run directory."""
    result = fit(parse_spec(as_yaml(settings), str(folder / "spec.yaml")), table())
    folder.mkdir(parents=True)
    save_run(result, folder, folder)
    return folder
