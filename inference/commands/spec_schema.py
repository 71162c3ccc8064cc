"""The JSON Schema of a specification, with the treatments that there are and their options."""

from __future__ import annotations

import dataclasses
from typing import Any

from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models.specs.spec_file import json_schema


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification, for completion and hover text in editors.

    >>> "jensen" in spec_schema()["$defs"]["Treatment"]["properties"]["name"]["enum"]
    True
    """
    schema = json_schema()
    names = list(TREATMENTS)
    definitions = schema["$defs"]
    for place in (
        definitions["Treatment"]["properties"]["name"],
        next(s for s in schema["properties"]["treatment"]["anyOf"] if s.get("type") == "string"),
    ):
        place["enum"] = names
    definitions["Compare"]["properties"]["treatments"]["items"]["enum"] = [*names, "all"]
    definitions["Treatment"]["properties"] |= _options()
    return schema


def _options() -> dict[str, Any]:
    """Return every option of the treatments; which value it may have, the treatment checks."""
    found = dict[str, list[str]]()
    for name, treatment in TREATMENTS.items():
        for field in dataclasses.fields(treatment.config):
            found.setdefault(field.name, []).append(f"{name}: {field.default}")
    return {name: {"description": f"Of {'; '.join(of)}."} for name, of in found.items()}
