"""The posterior assignments of a fit, for ArviZ."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import pyromoe
from pyromoe.inference.files.arviz_versions import to_container
from pyromoe.inference.files.repeated import POINT
from pyromoe.inference.fitting.labels import chains
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.fitting.training import curves
from pyromoe.inference.posterior.draws import coefficients, posterior_draws, prior_draws
from pyromoe.inference.posterior.simulation import original
from pyromoe.inference.steps.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.data.divide import Data

Variable = tuple[tuple[str, ...], Any]
DRAWS = ("chain", "draw")
USED = ("torch", "pyro-ppl")
WEIGHTS = "drawn from their posterior, as the guide has it; experts numbered alike in all draws"


def to_arviz(fit: Fit | Sequence[Fit]) -> Any:
    """Return the posterior of the training rows: `InferenceData` in ArviZ 0.x, a tree in 1.x.

    Several fits of the same rows, from other seeds or with other treatments, become its chains;
    their experts are first numbered alike (`pyromoe.inference.fitting.labels`).

    Groups and variables:
        posterior: z (chain, draw, obs), integer; resp (chain, draw, obs, expert), p(z | y, x);
            the coefficients of linear experts and gates, for predictors as they were encoded;
            what the family learns beside them (expert), the scale for instance.
        log_likelihood: y (chain, draw, obs), the log density with z summed out, in nats.
        posterior_predictive: y (chain, draw, obs), with z drawn from the gate.
        prior_predictive: the same with weights from their priors, 100 draws at most; weights
            without a prior are as they were fitted, and where none has one the group is left out.
        observed_data: y (obs).
        constant_data: x (obs, predictor), row (obs); offset, trials and weight (obs) where there
            are any, the offset on the scale of the encoded response.
        sample_stats: lp (chain, draw), log p(y, z | x) of the draw, in nats; of NUTS diverging.
        training: loss, log_likelihood, learning_rate, what else changed, and temperature where
            there is one (restart, epoch), as in `history.csv`; of several fits (fit, restart,
            epoch).

    Where rows of a group share one z, obs is the group, and what belongs to its rows has one more
    dimension, member; of several responses, y has one more, response. Missing numbers are NaN.

    What is the same in every draw, as resp is where weights are a point, is a view that takes the
    memory of one draw; `to_netcdf` writes it without laying it out.

    Raises:
        ValueError: for a fit without its data, and for fits that do not match.

    >>> from pyromoe.inference import fit, to_arviz
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> posterior = to_arviz(fit(spec))["posterior"]
    >>> posterior["resp"].dims
    ('chain', 'draw', 'obs', 'expert')
    """
    if isinstance(fit, Fit):
        return to_container(to_datatree(fit))
    return to_container(chains([to_datatree(each) for each in fit]))


def to_datatree(fit: Fit) -> xr.DataTree:
    """Return the same as `to_arviz`, always as an xarray tree; ArviZ is not imported.

    Raises:
        ValueError: for a fit without its data.

    >>> from pyromoe.inference import fit, to_datatree
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> tree = to_datatree(fit(spec))
    >>> tree["posterior"]["z"].dims
    ('chain', 'draw', 'obs')
    """
    if fit.data is None:
        raise ValueError("this fit was read without its data; fit again, or open posterior.nc")
    x, y = to_tensors(fit.data.train, fit.spec)
    rows = ("obs",) if x.dim() == 2 else ("obs", "member")
    of_y = (*rows, "response") if y.dim() > len(rows) else rows
    with one_thread():
        drawn, prior = posterior_draws(fit, x, y), prior_draws(fit, x)
    of_each = {
        "z": ("obs",),
        "resp": ("obs", "expert"),
        **{name: dims for name, dims, _ in coefficients(fit, fit.weights)},
    }
    stats = [name for name in ("lp", "diverging") if name in drawn]
    training, numbers = curves(fit.history, _temperature(fit))
    groups: dict[str, dict[str, Variable]] = {
        "posterior": {name: ((*DRAWS, *dims), drawn[name]) for name, dims in of_each.items()},
        "log_likelihood": {"y": ((*DRAWS, "obs"), drawn["log_likelihood"])},
        "posterior_predictive": {"y": ((*DRAWS, *of_y), drawn["predictive"])},
        "prior_predictive": {} if prior is None else {"y": ((*DRAWS, *of_y), prior)},
        "observed_data": {"y": (of_y, original(fit, y))},
        "constant_data": {
            "x": ((*rows, "predictor"), x[..., : fit.model.num_predictors].numpy()),
            "row": (rows, fit.data.train.rows),
            **{name: (rows, x[..., i].numpy()) for name, i in fit.model.extras.items()},
        },
        "sample_stats": {name: (DRAWS, drawn[name]) for name in stats},
        "training": {name: (("restart", "epoch"), values) for name, values in training.items()},
    }
    coords = _coordinates(fit, len(x)) | numbers
    attributes = _attributes(fit)
    found = {n: _dataset(v, coords, attributes) for n, v in groups.items() if v}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **found})


def _coordinates(fit: Fit, rows: int) -> dict[str, Any]:
    columns = np.array(fit.encoding.columns, dtype=object)
    names = np.array([target.name for target in fit.encoding.targets], dtype=object)
    return {
        "obs": np.arange(rows),
        "expert": np.arange(fit.model.num_experts),
        "predictor": columns,
        "expert_predictor": columns[fit.model.expert_columns],
        "gate_predictor": columns[fit.model.gate_columns],
        "gate_predictor_2": columns[fit.model.gate_columns],
        "class": np.array(fit.encoding.target.labels, dtype=object),
        "output": np.array(output_names(fit), dtype=object),
        "between": np.array(_between(fit.encoding.target.labels), dtype=object),
        "response": names,
        "response_2": names,
    }


def output_names(fit: Fit) -> list[str]:
    """Return a name for each output of an expert."""
    targets, parts = fit.encoding.targets, fit.model.likelihood.parts()
    if len(parts) < len(targets):
        return [target.name for target in targets]
    found = []
    for target, part in zip(targets, parts, strict=True):
        names = list(target.labels) if target.labels else ["location", "scale"]
        of = f"({target.name})" if len(targets) > 1 else ""
        found += [name + of for name in names[: part.outputs]]
    return found


def _between(labels: Sequence[str]) -> list[str]:
    """Return a name for each gap between neighbouring classes."""
    return [f"{low}|{high}" for low, high in pairwise(labels)]


def _temperature(fit: Fit) -> dict[str, float]:
    """Return the temperature of the treatment, where it has one that does not change."""
    value = fit.spec.treatment.options.get("temperature")
    return {"temperature": value} if isinstance(value, float) else {}


def _attributes(fit: Fit) -> dict[str, str]:
    """Return what was fitted; text only, since NetCDF knows no nested attributes."""
    metrics, names = fit.metrics, fit.guide.weights.names
    last = {} if not fit.history else {n: v for n, v in fit.history[-1].items() if v is not None}
    temperature = (_temperature(fit) | last).get("temperature")
    versions = metrics.get("versions", {})
    parts = list(dict.fromkeys(name.split(".")[0] for name in names))
    return {
        "creation_library": "pyromoe",
        "creation_library_version": pyromoe.__version__,
        "creation_library_language": "Python",
        "inference_library": "pyromoe",
        "inference_library_version": versions.get("pyromoe", pyromoe.__version__),
        **{
            f"{name.partition('-')[0]}_version": versions[name] for name in USED if name in versions
        },
        "treatment": str(metrics.get("treatment")),
        "objective": str(metrics.get("objective")),
        "guide": str(metrics.get("guide") or "none"),
        "guide_of_weights": fit.spec.guide.weights,
        **({} if temperature is None else {"temperature": f"{temperature:.6g}"}),
        "seed": str(fit.spec.seed),
        "response": ", ".join(target.name for target in fit.encoding.targets),
        "classes": json.dumps(fit.encoding.target.labels),
        "weights": WEIGHTS if fit.guide.weights.spread else POINT,
        "priors": f"of {', '.join(parts)}" if parts else "none, and so no prior_predictive",
        **_sample(fit.data),
    }


def _sample(data: Data | None) -> dict[str, str]:
    """Say of which rows the assignments are, where these are not all that were fitted to."""
    if data is None or len(data.train.rows) == data.size:
        return {}
    return {"rows": f"a sample of {len(data.train.rows)} of {data.size} training rows"}


def _dataset(
    variables: dict[str, Variable], coords: dict[str, Any], attributes: dict[str, str]
) -> xr.Dataset:
    found = xr.Dataset(variables, attrs=attributes)
    numbers = {name: np.arange(found.sizes[name]) for name in DRAWS if name in found.dims}
    known = {name: c for name, c in coords.items() if name in found.dims}
    return found.assign_coords(numbers | known)
