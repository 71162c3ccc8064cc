"""What pictures of a fit are drawn from: its rows, its experts and gate on grids, its PIT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.pictures.curves import Curves
from pyromoe.inference.predictive import (
    Components,
    components,
    expert_quantiles_of,
    moments_of,
    portions,
)
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.groups import NOTHING
from pyromoe.models.predictors import Numeric

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.result import Fit
    from pyromoe.models.trace import Weights

LEVEL = 0.9
"""Probability of predictive intervals."""
POINTS = 200
"""Of a curve."""
SIDE = 100
"""Points of a map, each way."""
DRAWS = 100
"""Of the weights, of those that a fit has."""


@dataclass(frozen=True)
class Shown:
    """The training rows of a fit, each by itself, also where a group of them shares one z.

    Attributes:
        x: encoded, extras included, (N, D).
        y: on their original scale, classes as codes, (N, R); NaN where one is missing.
        responsibilities: r, (N, K), their mean over draws and chains.
    """

    x: Tensor
    y: NDArray[np.float64]
    responsibilities: NDArray[np.float64]


def rows_of(fit: Fit, tree: xr.DataTree) -> Shown:
    """Return the training rows of a fit.

    Args:
        fit: the fit; it may have been read from its directory.
        tree: its `posterior.nc`, or from `to_datatree`.
    """
    known = tree["constant_data"]
    there = known["row"].to_numpy() != NOTHING  # (N,) or (G, M)
    x = known["x"].to_numpy()[there]
    extras = [known[name].to_numpy()[there] for name in fit.model.extras]
    y = tree["observed_data"]["y"].to_numpy().astype(float)[there]
    r = tree["posterior"]["resp"].mean(("chain", "draw")).to_numpy()
    dtype = getattr(torch, fit.spec.fit.precision)
    return Shown(
        torch.from_numpy(np.concatenate([x, *(e[:, None] for e in extras)], 1)).to(dtype),
        y.reshape(len(x), -1),
        r[np.nonzero(there)[0]],
    )


def values_of(fit: Fit, predictor: str, x: Tensor) -> NDArray[np.float64] | NDArray[np.str_]:
    """Return a predictor of encoded rows, (N, D), on its original scale: numbers or levels, (N,).

    A missing number is NaN, a missing level "missing".
    """
    part, columns = _columns(fit, predictor)
    own = x[:, columns].double().numpy()
    if isinstance(part, Numeric):
        values: NDArray[np.float64] = own[:, 0] * part.sd + part.mean
        return np.where(own[:, 1] > 0.5, np.nan, values) if part.missing else values
    names = np.array([*part.levels, *(["missing"] if part.missing else [])])
    first = 1 - own.sum(1, keepdims=True)
    levels: NDArray[np.str_] = names[np.concatenate([first, own], 1).argmax(1)]
    return levels


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
    """
    values, varied = _along(fit, predictor, x, points)
    target, draws = fit.encoding.targets[response], _draws(fit)
    found = components(fit, _single(fit, _held(fit, x, {predictor: varied})), draws)
    name, code = target.name, None
    if target.labels:
        code = _code(target.labels, label)
        name = f"p({target.labels[code]})"
    pick = (lambda a: a) if code is None else (lambda a: a[..., code])
    means = pick(moments_of(fit, found)[response].experts)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    band = expert_quantiles_of(fit, found, tails)[response]
    each = None
    if len(draws) > 1:
        one = [_of_draw(found, s) for s in range(len(draws))]
        every = np.stack([pick(moments_of(fit, draw)[response].experts) for draw in one])
        each = np.quantile(every, tails, 0)
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
    """
    along, varied = zip(*(_along(fit, name, x, points) for name in predictors), strict=True)
    for name, values in zip(predictors, along, strict=True):
        if values.dtype.kind == "U":
            raise InputError(f"{quoted(name)} is not a number", remedy="draw its gate by itself")
    first = varied[0].repeat(points, 1)
    second = varied[1].repeat_interleave(points, 0)
    at = _held(fit, x, dict(zip(predictors, (first, second), strict=True)))
    draws = _draws(fit)
    parts = portions(fit, _single(fit, at), len(draws))
    gate = torch.cat([components(fit, part, draws).gate.mean(0) for part in parts], -1)
    return (along[0], along[1]), gate.double().numpy().reshape(-1, points, points)


def probabilities_of(fit: Fit, x: Tensor, response: int = 0) -> NDArray[np.float64]:
    """Return p(y = c | x) of encoded rows, (N, C), for a response that has classes."""
    draws = fit.weight_draws()
    parts = portions(fit, _single(fit, x), len(draws))
    each = [moments_of(fit, components(fit, part, draws))[response].mean for part in parts]
    return np.concatenate(each)


def transforms_of(
    fit: Fit, x: Tensor, y: NDArray[np.float64], rng: np.random.Generator, response: int = 0
) -> NDArray[np.float64]:
    """Return P(Y <= y | x) of rows, (N,): uniform on (0, 1) where the fit is calibrated.

    Of a count it is drawn between P(Y < y) and P(Y <= y), which makes it uniform too. Rows without
    the response are left out.

    Args:
        fit: the fit.
        x: encoded rows, (N, D).
        y: their response on its original scale, a number, (N,).
        rng: of what is drawn.
        response: which of them.
    """
    target, there = fit.encoding.targets[response], np.isfinite(y)
    at = torch.from_numpy((y[there] - target.mean) / target.sd)
    before = torch.from_numpy(np.nextafter(at.numpy(), -np.inf))
    draws = fit.weight_draws()
    ends: list[NDArray[np.float64]] = []
    parts = list(portions(fit, _single(fit, x[torch.from_numpy(there)]), len(draws)))
    sizes = [len(part) for part in parts]
    for part, y_part, y_before in zip(parts, at.split(sizes), before.split(sizes), strict=True):
        found = components(fit, part, draws)
        law = fit.model.likelihood.marginals(**found.parameters)[response]
        shares = found.shares / len(draws)
        two = [(shares * law.cdf(value)).sum((0, 1)).numpy() for value in (y_before, y_part)]
        ends.append(np.stack(two))
    low, high = np.concatenate(ends, 1)
    u: NDArray[np.float64] = (low + (high - low) * rng.random(len(low))).clip(0, 1)
    return u


def _along(
    fit: Fit, predictor: str, x: Tensor, points: int
) -> tuple[NDArray[np.float64] | NDArray[np.str_], Tensor]:
    """Return values of a predictor over its range, (G,), and its columns there, (G, d)."""
    part, columns = _columns(fit, predictor)
    known = values_of(fit, predictor, x)
    if isinstance(part, Numeric):
        ends = np.nanmin(known.astype(float)), np.nanmax(known.astype(float))
        values = np.linspace(*ends, points)
        encoded = np.zeros((points, len(columns)))
        encoded[:, 0] = (values - part.mean) / part.sd
        return values, torch.from_numpy(encoded).to(x.dtype)
    own, first = np.unique(known, return_index=True)
    order = np.argsort([(part.levels.index(v) if v in part.levels else np.inf) for v in own])
    return own[order], x[torch.from_numpy(first[order])][:, columns]


def _held(fit: Fit, x: Tensor, varied: dict[str, Tensor]) -> Tensor:
    """Return rows whose predictors are typical of x, (N, D), but for those that vary, (G, d)."""
    typical = x.median(0).values.clone()  # the lower one, so that trials stay whole
    for part in fit.encoding.predictors:
        _, columns = _columns(fit, part.name)
        if not isinstance(part, Numeric):
            levels, counts = x[:, columns].unique(dim=0, return_counts=True)
            typical[columns] = levels[counts.argmax()]
        elif part.missing:
            there = x[x[:, columns[1]] < 0.5, columns[0]]
            typical[columns] = torch.stack([there.median(), torch.zeros_like(there[0])])
    rows = typical.repeat(len(next(iter(varied.values()))), 1)
    for name, values in varied.items():
        rows[:, _columns(fit, name)[1]] = values
    return rows


def _single(fit: Fit, x: Tensor) -> Tensor:
    """Return rows as the model takes them: each is a group where rows of a group share one z."""
    return x if fit.encoding.group is None else x[:, None]


def _draws(fit: Fit) -> list[Weights]:
    """Return some of the draws of the weights, evenly spaced."""
    draws = fit.weight_draws()
    return draws[:: -(-len(draws) // DRAWS)]


def _of_draw(found: Components, s: int) -> Components:
    """Return the experts for one draw of the weights."""
    one = {name: value[s : s + 1] for name, value in found.parameters.items()}
    return Components(found.gate[s : s + 1], one)


def _columns(fit: Fit, predictor: str) -> tuple[Any, list[int]]:
    """Return a predictor and its columns of x."""
    columns = list(fit.encoding.indices([predictor]))
    part = next(part for part in fit.encoding.predictors if part.name == predictor)
    return part, columns


def _code(labels: tuple[str, ...], label: str | None) -> int:
    if label is not None and label not in labels:
        remedy = did_you_mean(label, labels) or f"known: {listed(labels)}"
        raise InputError(f"no class {quoted(label)}", remedy=remedy)
    return len(labels) - 1 if label is None else labels.index(label)
