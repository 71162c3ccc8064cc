"""The posterior assignments of a fit, for ArviZ."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import pyromoe
from pyromoe.inference.draws import coefficients, original, posterior_draws
from pyromoe.inference.labels import chains
from pyromoe.inference.probabilities import to_tensors
from pyromoe.inference.result import Fit

if TYPE_CHECKING:
    from collections.abc import Sequence


Variable = tuple[tuple[str, ...], Any]
DRAWS = ("chain", "draw")
POINT = "one point for each; draws differ in z and in the predicted y alone"
WEIGHTS = "drawn from their posterior, as the guide has it; experts numbered alike in all draws"


def to_arviz(fit: Fit | Sequence[Fit]) -> Any:
    """Return the posterior of the training rows: `InferenceData` in ArviZ 0.x, a tree in 1.x.

    Several fits of the same rows, from other seeds or with other treatments, become its chains;
    their experts are first numbered alike (`pyromoe.inference.labels`).

    Groups and variables (S draws, N rows, K experts):
        posterior: z (chain, draw, obs), integer; resp (chain, draw, obs, expert), p(z | y, x);
            the coefficients of linear experts and gates, for predictors as they were encoded;
            what the family learns beside them (expert), the scale for instance.
        log_likelihood: y (chain, draw, obs), the log density with z summed out, in nats.
        posterior_predictive: y (chain, draw, obs), with z drawn from the gate.
        observed_data: y (obs).
        constant_data: x (obs, predictor), row (obs); offset, trials and weight (obs) where there
            are any, the offset on the scale of the encoded response.
        sample_stats: lp (chain, draw), log p(y, z | x) of the draw, in nats.

    Where rows of a group share one z, obs is the group, and what belongs to its rows has one more
    dimension, member; of several responses, y has one more, response. Missing numbers are NaN.

    Raises:
        ValueError: for a fit without its data, and for fits that do not match.
    """
    import arviz

    if isinstance(fit, Fit):
        tree = to_datatree(fit)
    else:
        tree = chains([to_datatree(each) for each in fit])
    if int(arviz.__version__.split(".")[0]) >= 1:
        return tree
    return arviz.InferenceData.from_datatree(tree)


def to_datatree(fit: Fit) -> xr.DataTree:
    """Return the same as `to_arviz`, always as an xarray tree; ArviZ is not imported."""
    if fit.data is None:
        raise ValueError("this fit was read without its data; fit again, or open posterior.nc")
    x, y = to_tensors(fit.data.train, fit.spec)
    rows = ("obs",) if x.dim() == 2 else ("obs", "member")
    of_y = (*rows, "response") if y.dim() > len(rows) else rows
    drawn = posterior_draws(fit, x, y)
    of_each = {
        "z": ("obs",),
        "resp": ("obs", "expert"),
        **{name: dims for name, dims, _ in coefficients(fit, fit.weights)},
    }
    groups: dict[str, dict[str, Variable]] = {
        "posterior": {name: ((*DRAWS, *dims), drawn[name]) for name, dims in of_each.items()},
        "log_likelihood": {"y": ((*DRAWS, "obs"), drawn["log_likelihood"])},
        "posterior_predictive": {"y": ((*DRAWS, *of_y), drawn["predictive"])},
        "observed_data": {"y": (of_y, original(fit, y))},
        "constant_data": {
            "x": ((*rows, "predictor"), x[..., : fit.model.num_predictors].numpy()),
            "row": (rows, fit.data.train.rows),
            **{name: (rows, x[..., i].numpy()) for name, i in fit.model.extras.items()},
        },
        "sample_stats": {"lp": (DRAWS, drawn["lp"])},
    }
    coords = _coordinates(fit, len(x), drawn["lp"].shape)
    attributes = _attributes(fit)
    return xr.DataTree.from_dict(
        {name: _dataset(variables, coords, attributes) for name, variables in groups.items()}
    )


def to_netcdf(tree: xr.DataTree) -> bytes:
    """Return a NetCDF file as bytes: on a full disk, writing it directly would end the process."""
    encoding = {
        f"/{name}": {v: {"zlib": True, "complevel": 1} for v in group.data_vars}
        for name, group in tree.children.items()
    }
    return bytes(tree.to_netcdf(None, engine="h5netcdf", encoding=encoding))


def _coordinates(fit: Fit, rows: int, shape: tuple[int, ...]) -> dict[str, Any]:
    columns = np.array(fit.encoding.columns, dtype=object)
    names = np.array([target.name for target in fit.encoding.targets], dtype=object)
    return {
        "chain": np.arange(shape[0]),
        "draw": np.arange(shape[1]),
        "obs": np.arange(rows),
        "expert": np.arange(fit.model.num_experts),
        "predictor": columns,
        "expert_predictor": columns[fit.model.expert_columns],
        "gate_predictor": columns[fit.model.gate_columns],
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


def _attributes(fit: Fit) -> dict[str, str]:
    """Return what was fitted; text only, since NetCDF knows no nested attributes."""
    metrics = fit.metrics
    return {
        "inference_library": "pyromoe",
        "inference_library_version": pyromoe.__version__,
        "treatment": str(metrics.get("treatment")),
        "objective": str(metrics.get("objective")),
        "guide": str(metrics.get("guide")),
        "seed": str(fit.spec.seed),
        "response": ", ".join(target.name for target in fit.encoding.targets),
        "classes": json.dumps(fit.encoding.target.labels),
        "weights": WEIGHTS if fit.guide.weights.spread else POINT,
    }


def _dataset(
    variables: dict[str, Variable], coords: dict[str, Any], attributes: dict[str, str]
) -> xr.Dataset:
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(
        variables, {name: c for name, c in coords.items() if name in used}, attributes
    )
