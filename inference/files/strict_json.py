"""JSON, read strictly: finite numbers, no name twice, no more than a file of ours ever has."""

from __future__ import annotations

import json
import math
from typing import Any

from pyromoe.models.errors import InputError, quoted

LARGEST = 2**24
"""Bytes of a file; Python's values take up to some twenty times as much."""


def parse_json(raw: bytes, source: str) -> Any:
    """Return what JSON text says.

    Args:
        raw: the bytes of a file.
        source: its name, for messages.

    Raises:
        InputError: where it is not JSON in UTF-8, says something twice, or holds a number that is
            not finite.

    >>> from pyromoe.inference.files.strict_json import parse_json
    >>> parse_json(b'{"loss": 0.5}', "metrics.json")
    {'loss': 0.5}
    """
    if len(raw) > LARGEST:
        raise InputError(f"has {len(raw)} bytes, more than {LARGEST}", file=source)
    try:
        found = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite
        )
        if b"\\ud" in raw.lower():  # half a character, which no file and no terminal can take
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=source) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{quoted(twice)} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return value
