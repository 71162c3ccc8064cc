"""log p(y | x) of data at parameters that were found elsewhere."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.commands.assign import assign
from pyromoe.inference.files.strict_json import parse_json
from pyromoe.inference.files.verified import verified_file
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.measured import measured
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.runs.store import restore
from pyromoe.models.data.data import load
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyromoe.models.specs.spec_file import SpecFile


def evaluated(file: SpecFile, parameters: Path) -> Iterator[str]:
    """Say in lines log p(y | x) of a spec's data at the parameters in a file, all in float64.

    Raises:
        InputError: for a mistake in the spec, its data or the parameters.
    """
    tensors = parameters.suffix == ".safetensors"
    fit_ = file.spec.fit.model_copy(
        update={"precision": file.spec.fit.precision if tensors else "float64"}
    )
    update: dict[str, Any] = {"fit": fit_}
    if not tensors:
        priors = file.spec.priors
        none = {"kind": "none", "scale": None}
        update["priors"] = priors.model_copy(
            update={
                "experts": priors.experts.model_copy(update=none),
                "gate": priors.gate.model_copy(update=none),
                "scales": priors.scales.model_copy(update=none),
            }
        )
        update["guide"] = file.spec.guide.model_copy(update={"weights": "point"})
    file = dataclasses.replace(file, spec=file.spec.model_copy(update=update))
    plan, data = make_plan(file), load(file)
    model, guide = build(plan.spec, plan.latent, data.encoding, torch.Generator().manual_seed(0))
    fit = Fit(plan.spec, data.encoding, model, guide, data=data)
    if tensors:
        restore(fit, verified_file(parameters), str(parameters))
    else:
        values = parse_json(verified_file(parameters), str(parameters))
        if not isinstance(values, dict):
            raise InputError("must be an object of parameters", file=str(parameters))
        assign(fit, values, str(parameters))
    for label, name in (("training", "train"), ("test", "test")):
        found = measured(fit, data, name, errors=False)
        if found is None:
            continue
        total, rows = found.log_likelihood, found.rows
        each = f"{total / rows:.10g} nats a row"
        yield f"log p(y|x) of the {rows} {label} rows: {total:.10g} nats, {each}"
