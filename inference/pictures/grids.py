"""What the experts and the gate of a fit do where one or two predictors change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.inference.pictures.curves import Curves
from pyromoe.inference.pictures.rows import as_data, columns_of, values_of
from pyromoe.inference.posterior.predictive import (
    Components,
    components,
    expert_quantiles_of,
    moments_of,
    portions,
)
from pyromoe.models.data.predictors import Numeric
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.trace import Weights

LEVEL = 0.9
"""Probability of predictive intervals."""
POINTS = 200
"""Of a curve."""
SIDE = 100
"""Points of a map, each way."""
DRAWS = 100
"""Of the weights, of those that a fit has."""


def curves_of(
    fit: Fit,
    predictor: str,
    x: Tensor,
    *,
    response: int = 0,
    label: str | None = None,
    points: int = POINTS,
) -> Curves:
    """Return what the experts and the gate do as one predictor changes.

    The others are held at their medians, and those that are names at their most common level.

    Args:
        fit: the fit.
        predictor: its name.
        x: encoded rows, (N, D), over which it changes; see `rows_of`.
        response: which of them.
        label: the class whose probability is shown, where the response has classes; the last one
            where it is None.
        points: G, of a number.

    Raises:
        InputError: for a predictor or a class that is not there.

    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import curves_of, rows_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> rows = rows_of(found)
    >>> curves = curves_of(found, "income", rows.x, points=20)
    >>> curves.response, curves.means.shape  # (K, G)
    ('foodexp', (2, 20))
    """
    values, varied = _along(fit, predictor, x, points)
    target, draws = fit.encoding.targets[response], _draws(fit)
    found = components(fit, as_data(fit, _held(fit, x, {predictor: varied})), draws)
    name, code = target.name, None
    if target.labels:
        code = _code(target.labels, label)
        name = f"p({target.labels[code]})"
    means = _means(fit, found, response, code)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    band = expert_quantiles_of(fit, found, tails)[response]
    each = None
    if len(draws) > 1:
        of_draws = [_means(fit, _of_draw(found, s), response, code) for s in range(len(draws))]
        each = np.quantile(np.stack(of_draws), tails, 0)
    low, high = (None, None) if band is None else band
    mean_low, mean_high = (None, None) if each is None else each
    gate = found.gate.mean(0).double().numpy()
    return Curves(predictor, name, values, means, gate, low, high, mean_low, mean_high, level=LEVEL)


def gate_map_of(
    fit: Fit, predictors: tuple[str, str], x: Tensor, *, points: int = SIDE
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]:
    """Return values of two predictors, (G,) each, and p(z = k | x) there, (K, G, G).

    The others are held as in `curves_of`.

    Args:
        fit: the fit.
        predictors: the names of two numbers; the first one changes along the last dimension.
        x: encoded rows, (N, D), over which they change.
        points: G.

    Raises:
        InputError: for a predictor that is not there, or is not a number.

    >>> import torch
    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import gate_map_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: iris}, likelihood: {family: categorical}, experts: {number: 2}}"
    >>> found = fit(parse_spec(text, "iris.yaml", ["fit.epochs=2", "fit.restarts=1"]))
    >>> two = ("sepal_length", "petal_length")
    >>> x = torch.randn(20, 4, dtype=torch.float32)  # encoded rows, (N, D)
    >>> values, gate = gate_map_of(found, two, x, points=5)
    >>> gate.shape  # (K, G, G)
    (2, 5, 5)
    """
    along, varied = zip(*(_along(fit, name, x, points) for name in predictors), strict=True)
    for name, values in zip(predictors, along, strict=True):
        if values.dtype.kind == "U":
            raise InputError(f"{quoted(name)} is not a number", remedy="draw its gate by itself")
    first = varied[0].repeat(points, 1)
    second = varied[1].repeat_interleave(points, 0)
    at = _held(fit, x, dict(zip(predictors, (first, second), strict=True)))
    draws = _draws(fit)
    parts = portions(fit, as_data(fit, at), len(draws))
    gate = torch.cat([components(fit, part, draws).gate.mean(0) for part in parts], -1)
    return (along[0], along[1]), gate.double().numpy().reshape(-1, points, points)


def _along(
    fit: Fit, predictor: str, x: Tensor, points: int
) -> tuple[NDArray[np.float64] | NDArray[np.str_], Tensor]:
    """Return values of a predictor over its range, (G,), and its columns there, (G, d)."""
    part, columns = columns_of(fit, predictor)
    known = values_of(fit, predictor, x)
    if isinstance(part, Numeric):
        ends = np.nanmin(known.astype(float)), np.nanmax(known.astype(float))
        side = 0.5 if ends[0] == ends[1] else 0.0
        values = np.linspace(ends[0] - side, ends[1] + side, points)
        encoded = np.zeros((points, len(columns)))
        encoded[:, 0] = (values - part.mean) / part.sd
        return values, torch.from_numpy(encoded).to(x.dtype)
    own, first = np.unique(known, return_index=True)
    order = np.argsort([(part.levels.index(v) if v in part.levels else np.inf) for v in own])
    levels: NDArray[np.str_] = own[order].astype(np.str_)
    return levels, x[torch.from_numpy(first[order])][:, columns]


def _held(fit: Fit, x: Tensor, varied: dict[str, Tensor]) -> Tensor:
    """Return rows whose predictors are typical of x, (N, D), but for those that vary, (G, d)."""
    typical = x.median(0).values.clone()  # the lower one, so that trials stay whole
    for part in fit.encoding.predictors:
        _, columns = columns_of(fit, part.name)
        if not isinstance(part, Numeric):
            levels, counts = x[:, columns].unique(dim=0, return_counts=True)
            typical[columns] = levels[counts.argmax()]
        elif part.missing:
            there = x[x[:, columns[1]] < 0.5, columns[0]]
            typical[columns] = torch.stack([there.median(), torch.zeros_like(there[0])])
    rows = typical.repeat(len(next(iter(varied.values()))), 1)
    for name, values in varied.items():
        rows[:, columns_of(fit, name)[1]] = values
    return rows


def _draws(fit: Fit) -> list[Weights]:
    """Return some of the draws of the weights, evenly spaced."""
    draws = fit.weight_draws()
    return draws[:: -(-len(draws) // DRAWS)]


def _means(fit: Fit, found: Components, response: int, code: int | None) -> NDArray[np.float64]:
    """Return each expert's mean, or its probability of a class, (K, N)."""
    means: NDArray[np.float64] = moments_of(fit, found)[response].experts
    return means if code is None else means[..., code]


def _of_draw(found: Components, s: int) -> Components:
    """Return the experts for one draw of the weights."""
    one = {name: value[s : s + 1] for name, value in found.parameters.items()}
    return Components(found.gate[s : s + 1], one)


def _code(labels: tuple[str, ...], label: str | None) -> int:
    if label is not None and label not in labels:
        remedy = did_you_mean(label, labels) or f"known: {listed(labels)}"
        raise InputError(f"no class {quoted(label)}", remedy=remedy)
    return len(labels) - 1 if label is None else labels.index(label)
