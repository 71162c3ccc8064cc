"""The rows of a fit as pictures show them, and what it says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.posterior.predictive import components, moments_of, portions
from pyromoe.models.data.predictors import Numeric
from pyromoe.models.tables.groups import NOTHING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.predictors import Predictor


@dataclass(frozen=True)
class Shown:
    """The training rows of a fit, each by itself, also where a group of them shares one z.

    Attributes:
        x: encoded, extras included, (N, D).
        y: on their original scale, classes as codes, (N, R); NaN where one is missing.
        responsibilities: r, (N, K), their mean over draws and chains.

    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import rows_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> rows = rows_of(found)
    >>> rows.y.shape == (len(rows.x), 1)  # (N, R)
    True
    """

    x: Tensor
    y: NDArray[np.float64]
    responsibilities: NDArray[np.float64]


def rows_of(fit: Fit, tree: Any = None) -> Shown:
    """Return the training rows of a fit.

    Args:
        fit: the fit; it may have been read from its directory.
        tree: its `posterior.nc`, or what `to_arviz` or `to_datatree` returned; made anew, for a fit
            that has its data, where it is None.

    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import rows_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> rows = rows_of(found)
    >>> rows.x.shape[1], rows.responsibilities.shape[1]  # D and K
    (1, 2)
    """
    tree = to_datatree(fit) if tree is None else tree
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

    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import rows_of, values_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> rows = rows_of(found)
    >>> values_of(found, "income", rows.x).shape == (len(rows.x),)
    True
    """
    part, columns = columns_of(fit, predictor)
    own = x[:, columns].double().numpy()
    if isinstance(part, Numeric):
        values: NDArray[np.float64] = own[:, 0] * part.sd + part.mean
        return np.where(own[:, 1] > 0.5, np.nan, values) if part.missing else values
    names = np.array([*part.levels, *(["missing"] if part.missing else [])])
    first = 1 - own.sum(1, keepdims=True)
    levels: NDArray[np.str_] = names[np.concatenate([first, own], 1).argmax(1)]
    return levels


def probabilities_of(fit: Fit, x: Tensor, response: int = 0) -> NDArray[np.float64]:
    """Return p(y = c | x), (N, C), of encoded rows, (N, D), for a response that has classes.

    >>> import torch
    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import probabilities_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: iris}, likelihood: {family: categorical}}"
    >>> found = fit(parse_spec(text, "iris.yaml", ["fit.epochs=2", "fit.restarts=1"]))
    >>> x = torch.zeros(3, 4, dtype=torch.float32)  # encoded rows, (N, D)
    >>> probabilities_of(found, x).sum(1).round(4)  # over the C classes
    array([1., 1., 1.])
    """
    draws = fit.weight_draws()
    parts = portions(fit, as_data(fit, x), len(draws))
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

    >>> import numpy as np
    >>> from pyromoe.inference import fit
    >>> from pyromoe.inference.pictures import rows_of, transforms_of
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> rows = rows_of(found)
    >>> u = transforms_of(found, rows.x, rows.y[:, 0], np.random.default_rng(0))
    >>> bool((u >= 0).all() and (u <= 1).all())
    True
    """
    target, there = fit.encoding.targets[response], np.isfinite(y)
    at = torch.from_numpy((y[there] - target.mean) / target.sd)
    before = torch.from_numpy(np.nextafter(at.numpy(), -np.inf))
    draws = fit.weight_draws()
    ends: list[NDArray[np.float64]] = []
    parts = list(portions(fit, as_data(fit, x[torch.from_numpy(there)]), len(draws)))
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


def columns_of(fit: Fit, predictor: str) -> tuple[Predictor, list[int]]:
    """Return a predictor and its columns of x."""
    columns = list(fit.encoding.indices([predictor]))
    part = next(part for part in fit.encoding.predictors if part.name == predictor)
    return part, columns


def as_data(fit: Fit, x: Tensor) -> Tensor:
    """Return rows as the model takes them: each is a group where rows of a group share one z."""
    return x if fit.encoding.group is None else x[:, None]
