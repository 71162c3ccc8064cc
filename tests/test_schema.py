"""The JSON Schema that editors use: whole, and of one mind with what reads a specification."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # no stubs
import pytest

from pyromoe.inference.commands.spec_schema import spec_schema
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import parse_spec
from pyromoe.models.specs.yaml_tree import parse_yaml

ROOT = Path(__file__).parent.parent
SCHEMA = spec_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BAD = re.split(r"^=> (.*)\n", (ROOT / "tests/golden/bad_specs.txt").read_text(), flags=re.MULTILINE)
PLAIN = re.compile(
    r": (unknown (setting|family|kind)|must be |must have |must not be |required, but)"
)
"""Messages of mistakes in one setting by itself; which settings fit each other is no schema's."""
NO_MISTAKE = ("data.response: required", "a whole number, not 1000.0")
"""A dataset may have a response of its own, and a schema takes 1000.0 for whole."""


def tree_of(text: str) -> Any:
    data, likelihood = "data: {file: a.csv, response: y}\n", "likelihood: {family: normal}\n"
    return parse_yaml(text.replace("@data\n", data).replace("@likelihood\n", likelihood), "s")[0]


def settings() -> list[tuple[str, dict[str, Any], bool]]:
    """Every setting with its schema, and whether it may be left out."""
    return [
        (f"{title}.{name}", setting, name not in section.get("required", []))
        for title, section in [("", SCHEMA), *SCHEMA["$defs"].items()]
        for name, setting in section.get("properties", {}).items()
    ]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_valid(path: Path) -> None:
    VALIDATOR.validate(tree_of(path.read_text()))


def test_what_reads_a_specification_and_the_schema_refuse_the_same() -> None:
    wrong = [(text, line) for text, line in zip(BAD[::2], BAD[1::2], strict=False)
             if PLAIN.search(line) and not any(known in line for known in NO_MISTAKE)]  # fmt: skip
    assert len(wrong) > 30
    accepted = [line for text, line in wrong if VALIDATOR.is_valid(tree_of(text))]
    assert accepted == []


def test_every_setting_is_described_and_has_its_default() -> None:
    options = {f"Treatment.{name}" for name in SCHEMA["$defs"]["Treatment"]["properties"]}
    bare = [name for name, setting, _ in settings() if not setting.get("description")]
    assert bare == []
    without = {n for n, setting, free in settings() if free and "default" not in setting}
    depending = {"Experts.hidden", "NetworkGate.hidden", "Fit.weight_decay"}
    scales = {"ExpertPrior.scale", "Prior.scale", "ScalePrior.scale"}
    assert without - (options - {"Treatment.name"}) == depending | scales


def test_every_choice_is_offered() -> None:
    text = str(SCHEMA)
    assert all(f"'{name}'" in text for name in TREATMENTS)
    treatment = "data: {dataset: iris}\nlikelihood: {family: categorical}\ntreatment: "
    for right in ("jensen", "{name: jensen}", "{name: gumbel_softmax, temperature: 0.3}"):
        VALIDATOR.validate(tree_of(treatment + right))
    for wrong in ("jansen", "{name: jansen}", "3"):
        assert not VALIDATOR.is_valid(tree_of(treatment + wrong))


def test_the_schema_takes_what_the_reader_takes() -> None:
    """What is left out, shortened or open is no mistake in an editor either."""
    for more in (
        "gate: {predictors: [a]}",
        "gate: {kind: mlp, hidden: [8]}",
        "likelihood: [{family: normal}]",
        "fit: {initialisation: [random, kmeans_x], early_stopping: {}}",
        "fit: {batch_size: full, learning_rate: 1e-3}",
        "compare: {treatments: [all]}",
        "data: {file: a.csv, response: [a, b], trials: 3}",
    ):
        name = more.partition(":")[0]
        base = {
            "data": "data: {file: a.csv, response: y}",
            "likelihood": "likelihood: {family: normal}",
        }
        text = "\n".join(line for key, line in base.items() if key != name) + f"\n{more}\n"
        VALIDATOR.validate(tree_of(text))
        try:
            parse_spec(text, "s")
        except InputError as error:
            assert "trials" in error.field  # noqa: PT017  # of another family, which no schema knows
