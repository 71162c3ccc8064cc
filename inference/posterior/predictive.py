r"""What a fit says of new rows: variances and their causes, quantiles, densities.

Expectations are over the expert z, given by the gate, and over draws w of the weights:

    Var(y | x) = E_w E_z Var(y | z, x, w)    within experts
               + E_w Var_z E(y | z, x, w)    between experts
               + Var_w E(y | x, w)           between draws of the weights; 0 where they are a point
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.fitting.probabilities import CHUNK
from pyromoe.inference.posterior.smallest import smallest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from pyro.distributions import TorchDistribution
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.trace import Weights

CELLS = 2**22
"""Numbers that are held at a time: draws, experts and rows multiplied."""
ROUNDING = 1e-14
"""By which part of itself a probability may be missed: the gate's sum to 1 to rounding only."""


@dataclass(frozen=True)
class Moments:
    """Means and variances of one response on its original scale, its unit squared.

    For classes they are of the indicators of the C classes: all have one more dimension.

    Attributes:
        mean: E(y | x), (N,).
        within: of the variance, what is within experts, (N,).
        between: what is between experts, (N,).
        weights: what is between draws of the weights, (N,).
        experts: E(y | z = k, x), (K, N).

    >>> import numpy as np
    >>> from pyromoe.inference import Moments
    >>> one = np.ones(3)  # of each row, (N,)
    >>> Moments(one, within=one, between=2 * one, weights=0 * one, experts=np.ones((2, 3))).variance
    array([3., 3., 3.])
    """

    mean: NDArray[Any]
    within: NDArray[Any]
    between: NDArray[Any]
    weights: NDArray[Any]
    experts: NDArray[Any]

    @property
    def variance(self) -> NDArray[Any]:
        """Var(y | x), (N,)."""
        total: NDArray[Any] = self.within + self.between + self.weights
        return total


@dataclass(frozen=True)
class Components:
    """The experts of some rows for each draw of the weights.

    Attributes:
        gate: p(z = k | x, w), (S, K, N), in the precision of the fit.
        parameters: of the experts, (S, K, N, ...), in double precision.
    """

    gate: Tensor
    parameters: dict[str, Tensor]

    @property
    def shares(self) -> Tensor:
        """The gate in double precision, its sum over experts 1 to rounding, (S, K, N)."""
        gate = self.gate.double()
        return gate / gate.sum(1, keepdim=True)


def components(fit: Fit, x: Tensor, draws: Sequence[Weights]) -> Components:
    """Return the experts of rows, (N, D); rows of groups, (G, M, D), are N = G M rows."""
    gates, each = zip(*(fit.components(x, weights) for weights in draws), strict=True)
    gate = torch.stack(gates).mT  # (S, K, N)
    if x.dim() == 3:
        gate = gate.repeat_interleave(x.shape[1], -1)
        each = tuple({n: v.flatten(1, 2) for n, v in one.items()} for one in each)
    return Components(gate, {n: torch.stack([one[n] for one in each]).double() for n in each[0]})


def portions(fit: Fit, x: Tensor, each: int) -> Iterator[Tensor]:
    """Yield the rows in portions whose experts fit into memory, each as often as it is held.

    The portions of a table are those of its pieces, each of a power of two of rows.
    """
    room = max(CELLS // (each * fit.model.num_experts), 1)
    rows = min(2 ** (room.bit_length() - 1), CHUNK)
    of_datum = 1 if x.dim() == 2 else x.shape[1]
    yield from x.split(max(rows // of_datum, 1))


def moments(fit: Fit, x: Tensor, draws: Sequence[Weights] | None = None) -> list[Moments]:
    """Return means and variances of each response at x, (N, D).

    Args:
        fit: the fit.
        x: the rows; of groups (G, M, D), whose rows then count as N = G M.
        draws: of the weights; those of the fit where it is None.

    >>> import torch
    >>> from pyromoe.inference import fit, moments
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> (of_response,) = moments(fit(spec), torch.zeros(3, 1, dtype=torch.float32))
    >>> of_response.mean.shape, of_response.experts.shape  # (N,) and (K, N)
    ((3,), (2, 3))
    """
    given = fit.weight_draws() if draws is None else draws
    return moments_of(fit, components(fit, x, given))


def moments_of(fit: Fit, found: Components) -> list[Moments]:
    """Return means and variances of each response."""
    likelihood, targets = fit.model.likelihood, fit.encoding.targets
    means = likelihood.means(**found.parameters)  # (S, K, N) or (S, K, N, C)
    laws = likelihood.marginals(**found.parameters)
    result = []
    for r, (target, mean, law) in enumerate(zip(targets, means, laws, strict=True)):
        if target.labels:
            of_class = mean if mean.dim() > found.gate.dim() else torch.stack([1 - mean, mean], -1)
            result.append(_split(found.shares[..., None], of_class, of_class * (1 - of_class)))
            continue
        encoded = _split(found.shares, mean, law.variance)
        result.append(_decoded(encoded, partial(fit.encoding.decode, response=r), target.sd**2))
    return result


def _decoded(
    encoded: Moments, decode: Callable[[NDArray[Any]], NDArray[Any]], unit: float
) -> Moments:
    """Return moments on the original scale, of which `unit` is the variance of an encoded 1."""
    return Moments(
        mean=decode(encoded.mean),
        within=unit * encoded.within,
        between=unit * encoded.between,
        weights=unit * encoded.weights,
        experts=decode(encoded.experts),
    )


def _split(shares: Tensor, mean: Tensor, variance: Tensor) -> Moments:
    """Return the moments of a mixture, encoded, given those of its components, (S, K, N)."""
    # Large means lose digits in their squares, their differences do not.
    origin = torch.nan_to_num(mean[:1, :1], 0.0, 0.0, 0.0)
    off = mean - origin
    of_draw = _expected(shares, off)  # (S, 1, N)
    within = _expected(shares, variance).mean(0)[0]
    between = _expected(shares, (off - of_draw).square()).mean(0)[0]
    overall = of_draw.mean(0, keepdim=True)
    weights = (of_draw - overall).square().mean(0)[0]
    experts = (_of_draws(shares) * mean).sum(0)
    parts = ((origin + overall)[0, 0], within, between, weights, experts)
    return Moments(*(part.numpy() for part in parts))


def _of_draws(shares: Tensor) -> Tensor:
    """Return how much each draw counts for an expert: as much as it takes it, (S, K, N)."""
    total = shares.sum(0)
    return torch.where(total > 0, shares / total, 1 / len(shares))


def _expected(shares: Tensor, values: Tensor) -> Tensor:
    """Return the mean over experts, (S, 1, N); an expert that is impossible may have no value."""
    return torch.where(shares > 0, shares * values, 0.0).sum(1, keepdim=True)


def quantiles_of(
    fit: Fit, found: Components, probabilities: Sequence[float]
) -> list[NDArray[Any] | None]:
    """Return the quantiles of each response on its original scale, (Q, N); None for classes.

    A quantile is the smallest number whose distribution function is at least p, so that of a count
    is a count.
    """
    laws = fit.model.likelihood.marginals(**found.parameters)
    shares = found.shares / len(found.gate)
    return [
        None
        if target.labels
        else fit.encoding.decode(_quantiles(law, shares, probabilities).numpy(), r)
        for r, (target, law) in enumerate(zip(fit.encoding.targets, laws, strict=True))
    ]


def expert_quantiles_of(
    fit: Fit, found: Components, probabilities: Sequence[float]
) -> list[NDArray[Any] | None]:
    """Return the quantiles of each expert by itself, (Q, K, N); otherwise as `quantiles_of`."""
    laws = fit.model.likelihood.marginals(**found.parameters)
    weight = _of_draws(found.shares)
    wanted = torch.tensor(probabilities, dtype=weight.dtype)[:, None, None]

    def reached(law: TorchDistribution, y: Tensor) -> Tensor:
        below = torch.stack([(weight * law.cdf(of_p)).sum(0) for of_p in y])
        return below >= wanted * (1 - ROUNDING)

    shape = (len(probabilities), *weight.shape[1:])
    return [
        None
        if target.labels
        else fit.encoding.decode(smallest(partial(reached, law), shape).numpy(), r)
        for r, (target, law) in enumerate(zip(fit.encoding.targets, laws, strict=True))
    ]


def _quantiles(law: TorchDistribution, shares: Tensor, probabilities: Sequence[float]) -> Tensor:
    """Return the quantiles of a mixture with the given shares, (S, K, N), as (Q, N)."""
    wanted = torch.tensor(probabilities, dtype=shares.dtype)[:, None]

    def reached(y: Tensor) -> Tensor:
        below = torch.empty_like(y)
        for i, of_p in enumerate(y):  # one after the other: each is as large as the shares
            below[i] = (shares * law.cdf(of_p)).sum((0, 1))
        return below >= wanted * (1 - ROUNDING)

    return smallest(reached, (len(probabilities), shares.shape[-1]))


def log_densities(
    fit: Fit, x: Tensor, y: Tensor, draws: Sequence[Weights]
) -> tuple[Tensor, Tensor]:
    """Return log p(y | x), (N, J), and log p(y, z = k | x), (N, K, J), nats, on a grid.

    Args:
        fit: the fit.
        x: the rows, (N, D); rows of groups, (G, M, D), are N = G M rows, each by itself.
        y: J encoded responses, (J,); (J, R) of several.
        draws: of the weights.
    """
    each = reduce(torch.logaddexp, (_log_joint(fit, x, y, weights) for weights in draws))
    units = sum(math.log(target.sd) for target in fit.encoding.targets)
    each = each - math.log(len(draws)) - units
    return each.logsumexp(1), each


def _log_joint(fit: Fit, x: Tensor, y: Tensor, weights: Weights) -> Tensor:
    """Return log p(y, z = k | x, w) of the encoded response, (N, K, J)."""
    found = components(fit, x, [weights])
    at = {n: v[0].unsqueeze(2) for n, v in found.parameters.items()}  # (K, N, 1, ...)
    log_density: Tensor = fit.model.likelihood.distribution(**at).log_prob(y)  # (K, N, J)
    return (log_density + found.shares[0].log()[..., None]).movedim(0, 1)
