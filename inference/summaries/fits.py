"""What a directory of several fits says of one of them, and of what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.runs.reading import spec_in
from pyromoe.inference.summaries.model import model_sentences
from pyromoe.inference.summaries.run import summarise_run
from pyromoe.inference.summary import Worry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyromoe.inference.summary import Bar
    from pyromoe.models.specs.spec import Spec


def common_spec(folder: Path, names: Sequence[str] = ()) -> Spec | None:
    """Return the spec of a directory, or of the first of its fits that is still there.

    Raises:
        InputError: where it is broken.
    """
    folders = [folder, *(folder / name for name in names)]
    first = next((each for each in folders if (each / "spec.yaml").is_file()), None)
    return None if first is None else spec_in(first).spec


def model_of(spec: Spec | None, *, counted: bool = True) -> str:
    """Say what was fitted, but for what differs between fits: treatments, or experts' number."""
    if spec is None:
        return "The spec is no longer there."
    return model_sentences(spec, counted=counted)[0]


def one_fit(
    folder: Path, name: str, said: Sequence[str], known_as: str
) -> tuple[str, tuple[Bar, ...], tuple[Worry, ...]]:
    """Return what bars are of, the experts and the worries of one fit, if it is still there.

    Args:
        folder: of all fits.
        name: of the fit.
        said: worries that are left out, since the directory says them of all fits.
        known_as: what to call it.

    Raises:
        InputError: where it is broken.
    """
    if not (folder / name).is_dir():
        return "", (), ()
    found = summarise_run(folder / name)
    known = [w for w in found.worries if w.name not in said]
    worries = tuple(Worry(f"{w.name}, {known_as}", w.what, w.remedy) for w in known)
    return f"{found.bars_of}, {known_as}", found.bars, worries
