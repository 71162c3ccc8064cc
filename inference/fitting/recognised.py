"""Whether checkpoints are those of a fit: its spec, its data and torch are the same."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pyromoe.inference.files.checkpoints import Saved
from pyromoe.models.errors import InputError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.models import Spec
    from pyromoe.models.data.divide import Data

MAY_CHANGE = ("output", "fit.checkpoint_seconds", "compare", "select")
"""Settings that may differ from those of the fit that is gone on with; options say what else is."""
FIT = "fit"
"""The part that says of what fit the others are."""


def recognise(
    checkpoints: Checkpoints,
    spec: Spec,
    data: Data,
    budget: Budget | None = None,
    **options: Any,
) -> None:
    """Note of what fit the checkpoints are, or see that they are of this one.

    Args:
        checkpoints: whose.
        spec: of the fit.
        data: its rows.
        budget: of each start.
        **options: what else must be the same, as JSON has it, by the name of an option.

    Raises:
        InputError: for another spec, naming the setting, or other data.
    """
    settings = {**spec.model_dump(mode="json"), "--budget": budget and dataclasses.asdict(budget)}
    settings |= {f"--{name}": value for name, value in options.items()}
    now = {"spec": settings, "data": digest(data), "torch": version("torch")}
    before = checkpoints.take(FIT)
    if before is None:
        checkpoints.keep(FIT, Saved(values=now), whole=False)
        return
    remedy = "take the same again, or start anew with --overwrite"
    for name, value, old in _differences(now["spec"], before.values["spec"]):
        if not any(name == m or name.startswith(f"{m}.") for m in MAY_CHANGE):
            what = f"is {quoted(value)} and was {quoted(old)} in the unfinished fit"
            raise InputError(what, field=name, remedy=remedy)
    if now["data"] != before.values["data"]:
        what = "the data are not those of the unfinished fit"
        raise InputError(what, file=data.source, remedy=remedy)
    if now["torch"] != before.values["torch"]:
        checkpoints.note = (
            f"the fit was begun with torch {before.values['torch']} and goes on with "
            f"{now['torch']}: its last digits may differ"
        )


def digest(data: Data) -> str:
    """Return the SHA-256 of all rows as they are fitted and tested; of a stream, of a sample.

    What is streamed is not read again for it: the encoding, in which every row had a part, the
    sizes of files and the sample tell it from other data.
    """
    found = hashlib.sha256(repr(data.encoding).encode())
    found.update(b"" if data.stream is None else data.stream.digest().encode())
    for part in (data.train, data.test, data.kept):
        for array in () if part is None else (part.x, part.y, part.rows):
            found.update(f"{array.shape} {array.dtype}".encode())
            found.update(array.tobytes())
    return found.hexdigest()


def _differences(now: Any, before: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name of every setting that differs, what it is and what it was."""
    if isinstance(now, dict) and isinstance(before, dict):
        for key in dict.fromkeys([*now, *before]):
            inner = f"{name}.{key}" if name else key
            yield from _differences(now.get(key), before.get(key), inner)
    elif now != before:
        yield name, now, before
