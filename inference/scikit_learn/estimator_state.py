"""What an estimator is made of, as plain values: for copies of the object, and on disk."""

from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import JsonValue, ValidationError

from pyromoe.inference.files.directories import new_directory
from pyromoe.inference.files.strict_json import LARGEST
from pyromoe.inference.files.verified import seal
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.runs.reading import read_json
from pyromoe.inference.runs.store import load_fit, save_fit, write_json
from pyromoe.models.data.encoding import Encoding
from pyromoe.models.errors import InputError
from pyromoe.models.specs.settings import Section
from pyromoe.models.specs.spec_file import parse_spec, to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FILE = "estimator.json"
"""Beside the files of a run directory."""
LABELS = "biufU"
"""Kinds of NumPy's types that JSON keeps; labels of kind object must be texts."""


class Classes(Section):
    """Labels of classes, and the type they have in NumPy."""

    dtype: str
    values: list[JsonValue]


class Stored(Section):
    """What scikit-learn needs to know of an estimator beside the fit."""

    estimator: str
    parameters: dict[str, JsonValue]
    num_features: int
    feature_names: list[str] | None
    classes: Classes | None


def packed(fit: Fit) -> dict[str, Any]:
    """Return a fit as text, numbers and arrays, without its data."""
    return {
        "spec": to_yaml(fit.spec),
        "encoding": fit.encoding.to_json(),
        "metrics": fit.metrics,
        "history": fit.history,
        "tensors": {name: tensor.numpy().copy() for name, tensor in fit.tensors().items()},
    }


def unpacked(state: Mapping[str, Any]) -> Fit:
    """Return the fit that was packed."""
    plan = make_plan(parse_spec(state["spec"], "spec"))
    encoding = Encoding.from_json(state["encoding"])
    model, guide = build(plan.spec, plan.latent, encoding, torch.Generator().manual_seed(0))
    fit = Fit(plan.spec, encoding, model, guide, state["metrics"], state["history"])
    for name, tensor in fit.tensors().items():
        tensor.copy_(torch.from_numpy(np.array(state["tensors"][name])))
    return fit


def write(folder: Path, fit: Fit, stored: Stored, *, overwrite: bool) -> None:
    """Write a run directory with what scikit-learn needs in it.

    In it classes have their own labels, for the commands to show; in an estimator, codes.
    """
    named = fit if stored.classes is None else _labelled(fit, stored.classes.values)
    with new_directory(folder, overwrite=overwrite) as new:
        save_fit(named, new, folder)
        write_json(new / FILE, stored.model_dump(mode="json"))
        seal(new)


def read(folder: Path, estimator: str) -> tuple[Fit, Stored]:
    """Read what was written.

    Raises:
        InputError: where it is not a directory of that estimator, or a file in it is broken.
    """
    fit, path = load_fit(folder), folder / FILE
    try:
        stored = Stored.model_validate(read_json(folder, FILE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], file=str(path), field=where) from None
    if stored.estimator != estimator:
        what = f"holds a {stored.estimator}, not a {estimator}"
        raise InputError(what, file=str(path), remedy="load it with its own class")
    if stored.classes is not None:
        fit = _labelled(fit, range(len(fit.encoding.target.labels)))
    return fit, stored


def _labelled(fit: Fit, labels: Iterable[object]) -> Fit:
    """Return the same fit with other labels of its classes, in the order of their codes."""
    target = fit.encoding.target.model_copy(update={"labels": tuple(map(str, labels))})
    encoding = fit.encoding.model_copy(update={"targets": (target,)})
    return dataclasses.replace(fit, encoding=encoding)


def plain(parameters: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the parameters of a constructor as JSON has them; a source of chance is None."""
    known = {n: v.tolist() if isinstance(v, np.generic) else v for n, v in parameters.items()}
    if not isinstance(known["random_state"], numbers.Integral):
        known["random_state"] = None
    return {n: list(v) if isinstance(v, tuple) else v for n, v in known.items()}


def classes_of(labels: NDArray[np.generic]) -> Classes:
    """Return labels with their type.

    Raises:
        InputError: for labels that JSON cannot keep.
    """
    values = labels.tolist()
    texts = labels.dtype.kind == "O" and all(isinstance(value, str) for value in values)
    if labels.dtype.kind not in LABELS and not texts:
        what = f"class labels of type {labels.dtype} cannot be written"
        raise InputError(what, remedy="use numbers or texts")
    return Classes(dtype=labels.dtype.str, values=values)


def labels_of(classes: Classes) -> NDArray[np.generic]:
    """Return the labels again.

    Raises:
        InputError: for a type that is none, or values that are not of it.
    """
    try:
        kind = np.dtype(classes.dtype)
        if kind.kind not in f"{LABELS}O" or kind.itemsize * len(classes.values) > LARGEST:
            raise ValueError(f"{kind} is not a type of labels")
        return np.array(classes.values, dtype=kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not class labels ({error})", file=FILE, field="classes") from None
