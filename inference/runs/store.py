"""What is in a run directory: written, and read without running anything in it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import load as load_tensors, save as save_tensors

from pyromoe.inference.fitting.build import build, least_bytes
from pyromoe.inference.runs.forms import Metrics
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.runs.reading import read_checked, read_encoding, spec_in
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.files.strict_json import parse_json
from pyromoe.inference.files.verified import incomplete, verified
from pyromoe.models.data.data import load
from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec_file import to_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from pyromoe.models import Spec, SpecFile


def write_json(path: Path, value: object) -> None:
    """Write JSON with two spaces of indent."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, with the union of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def save_fit(fit: Fit, folder: Path, target: Path) -> None:
    """Write a run directory into an existing folder, all but `posterior.nc`.

    Args:
        fit: the fit.
        folder: where to write.
        target: the name that the folder will have; the data file is named relative to it.
    """
    source = fit.spec.data.file if fit.data is None else fit.data.source
    _write_spec(fit.spec, source, folder, target)
    # Also of weights that were changed since they were fitted.
    write_json(folder / "metrics.json", {**fit.metrics, "parameters_sha256": fit.fingerprint()})
    write_csv(folder / "history.csv", fit.history)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    write_json(checkpoints / "encoding.json", fit.encoding.to_json())
    tensors = {name: t.contiguous() for name, t in fit.tensors().items()}
    (checkpoints / "parameters.safetensors").write_bytes(save_tensors(tensors))


def save_spec(file: SpecFile, folder: Path, target: Path) -> None:
    """Write the spec that several fits have in common, but for what each has of its own.

    Args:
        file: the spec.
        folder: where to write.
        target: the name that the folder will have; the data file is named relative to it.
    """
    name = file.spec.data.file
    source = None if name is None else str(file.directory / name)
    _write_spec(file.spec, source, folder, target)


def _write_spec(spec: Spec, source: str | None, folder: Path, target: Path) -> None:
    data = spec.data
    if data.file is not None and source is not None:
        relative = os.path.relpath(Path(source).resolve(), target.resolve())
        data = data.model_copy(update={"file": relative})
    text = to_yaml(spec.model_copy(update={"data": data}))
    (folder / "spec.yaml").write_text(text, encoding="utf-8")


def load_fit(folder: Path) -> Fit:
    """Read a run directory.

    Raises:
        InputError: where it is not one, or a file in it is missing or broken.
    """
    if not (folder / "metrics.json").is_file():
        remedy = "give a directory that `pyromoe fit` has written"
        raise incomplete(folder) or InputError(
            "is not a run directory", file=str(folder), remedy=remedy
        )
    plan, encoding = make_plan(spec_in(folder)), read_encoding(folder)
    metrics = read_checked(folder, "metrics.json", Metrics)
    name = "checkpoints/parameters.safetensors"
    raw = verified(folder, name)
    if least_bytes(plan.spec, encoding) > len(raw):
        raise InputError("is too small for the model of the spec", file=str(folder / name))
    model, guide = build(plan.spec, plan.latent, encoding, torch.Generator().manual_seed(0))
    fit = Fit(plan.spec, encoding, model, guide, metrics)
    restore(fit, raw, str(folder / name))
    if fit.fingerprint() != metrics["parameters_sha256"]:
        what = "are not those that metrics.json speaks of (parameters_sha256 differs)"
        raise InputError(what, file=str(folder / name), remedy="fit again")
    return fit


def with_data(fit: Fit, folder: Path) -> Fit:
    """Return a fit that was read from its directory with its data, encoded as they were.

    Raises:
        InputError: where the data cannot be read any more.
    """
    data = load(spec_in(folder))
    if data.encoding != fit.encoding:
        what = "the data are no longer those that were fitted"
        raise InputError(what, file=data.source, remedy="fit again")
    return dataclasses.replace(fit, data=data)


def restore(fit: Fit, raw: bytes, source: str) -> None:
    """Set every fitted tensor to what a .safetensors file holds.

    Args:
        fit: whose tensors they are.
        raw: the bytes of the file.
        source: its name, for messages.

    Raises:
        InputError: where a tensor is missing, or is not of the shape that the spec says.
    """
    parse_json(raw[8 : 8 + int.from_bytes(raw[:8], "little")], source)  # nothing in it is twice
    try:
        stored = load_tensors(raw)
    except safetensors.SafetensorError as error:
        raise InputError(f"cannot be read ({error})", file=source) from None
    unknown = stored.keys() - fit.tensors().keys()
    if unknown:
        raise InputError("is not of the model of the spec", file=source, field=min(unknown))
    _restore(fit.tensors(), stored, source)


def _restore(wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor], source: str) -> None:
    """Copy stored values into a model's own tensors, which `wanted` shares."""
    for name, tensor in wanted.items():
        found = stored.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            what = "is missing" if found is None else "has another shape or type than the spec says"
            raise InputError(what, file=source, field=name)
        if not bool(found.isfinite().all()):
            raise InputError("holds a number that is not finite", file=source, field=name)
        tensor.copy_(found)
