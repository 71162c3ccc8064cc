r"""What a fit says of new rows: variances and their causes, quantiles, densities.

Expectations are over the expert z, given by the gate, and over draws w of the weights:

    Var(y | x) = E_w E_z Var(y | z, x, w)    within experts
               + E_w Var_z E(y | z, x, w)    between experts
               + Var_w E(y | x, w)           between draws of the weights; 0 where they are a point
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.density import CHUNK
from pyromoe.inference.smallest import smallest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.result import Fit
    from pyromoe.models.trace import Weights

CELLS = 2**22
"""Draws times experts times rows that are held at a time."""
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


def portions(fit: Fit, x: Tensor, draws: Sequence[Weights]) -> Iterator[Tensor]:
    """Yield the rows in portions whose experts fit into memory."""
    rows = min(CELLS // (len(draws) * fit.model.num_experts), CHUNK)
    of_datum = 1 if x.dim() == 2 else x.shape[1]
    yield from x.split(max(rows // of_datum, 1))


def moments(fit: Fit, x: Tensor, draws: Sequence[Weights] | None = None) -> list[Moments]:
    """Return means and variances of each response at x, (N, D).

    Args:
        fit: the fit.
        x: the rows; of groups (G, M, D), whose rows then count as N = G M.
        draws: of the weights; those of the fit where it is None.
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
            each = _split(found.shares[..., None], of_class, of_class * (1 - of_class))
            result.append(Moments(*(part.numpy() for part in each)))
        else:
            mean, *causes, experts = (p.numpy() for p in _split(found.shares, mean, law.variance))
            scaled = (target.sd**2 * part for part in causes)
            decode = fit.encoding.decode
            result.append(Moments(decode(mean, r), *scaled, decode(experts, r)))
    return result


def _split(shares: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
    """Return the mean, the three parts of the variance, and the mean of each expert."""
    origin = mean[:1, :1]  # large means lose digits in their squares, their differences do not
    off = mean - origin
    of_draw = _expected(shares, off)  # (S, 1, N)
    within = _expected(shares, variance).mean(0)[0]
    between = _expected(shares, (off - of_draw).square()).mean(0)[0]
    overall = of_draw.mean(0, keepdim=True)
    weights = (of_draw - overall).square().mean(0)[0]
    # Given the expert, a draw counts as often as it takes that expert.
    total = shares.sum(0)
    of_draws = torch.where(total > 0, shares / total, 1 / len(shares))
    return (origin + overall)[0, 0], within, between, weights, (of_draws * mean).sum(0)


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
    shares, result = found.shares / len(found.gate), list[NDArray[Any] | None]()
    for r, (target, law) in enumerate(zip(fit.encoding.targets, laws, strict=True)):
        if target.labels:
            result.append(None)
            continue

        def cdf(y: Tensor, law: Any = law) -> Tensor:
            return (shares * law.cdf(y)).sum((0, 1))

        each = [
            smallest(lambda y, p=p: cdf(y) >= p * (1 - ROUNDING), shares.shape[-1:])  # type: ignore[misc]
            for p in probabilities
        ]
        result.append(fit.encoding.decode(torch.stack(each).numpy(), r))
    return result


def density(
    fit: Fit, x: Tensor, y: Tensor, draws: Sequence[Weights] | None = None
) -> tuple[Tensor, Tensor]:
    """Return log p(y | x), (N, J), and log p(y, z = k | x), (N, K, J), nats, on a grid of y.

    Args:
        fit: the fit.
        x: the rows, (N, D); rows of groups, (G, M, D), are N = G M rows, each by itself.
        y: J responses on the original scale, or codes of classes, (J,); (J, R) of several.
        draws: of the weights; those of the fit where it is None.
    """
    given, encoding = fit.weight_draws() if draws is None else draws, fit.encoding
    mean = torch.tensor([t.mean for t in encoding.targets]).double()
    sd = torch.tensor([t.sd for t in encoding.targets]).double()
    several = len(encoding.targets) > 1
    encoded = (y - mean) / sd if several else (y - mean[0]) / sd[0]
    total: Tensor | None = None
    for weights in given:
        one = components(fit, x, [weights])
        at = {n: v[0].unsqueeze(2) for n, v in one.parameters.items()}  # (K, N, 1, ...)
        log_density = fit.model.likelihood.distribution(**at).log_prob(encoded)  # (K, N, J)
        joint = (log_density + one.shares[0].log()[..., None]).movedim(0, 1)
        total = joint if total is None else torch.logaddexp(total, joint)
    assert total is not None
    each = total - math.log(len(given)) - sd.log().sum()
    return each.logsumexp(1), each
