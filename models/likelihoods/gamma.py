r"""Gamma: a positive response whose spread is in proportion to its mean.

    p(y) = (k / mu)^k y^(k - 1) exp(-k y / mu) / Gamma(k)

log mu is the expert's first output; k, the shape, is learned for each expert. The coefficient of
variation is 1 / sqrt(k) and is kept above 1e-4, so that the density stays bounded when an expert
sits on a single row. k starts at 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyromoe.models.incomplete_functions import lower_gamma
from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, bounded, of_experts, stirling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.types import _size


class Gamma(Likelihood):
    """Experts for positive numbers, a shape k for each.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Gamma
    >>> family = Gamma(num_experts=2)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[1.0]]]))
    >>> family.distribution(**parameters).variance.detach()  # of shape 1: the mean squared, (K, N)
    tensor([[1.0000],
            [7.3891]])
    """

    family = "gamma"
    anywhere = 1.0
    has_density = True
    arguments = ("num_experts",)

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.log_shape = nn.Parameter(torch.zeros(num_experts, 1))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return log mean and log k, (K, N); mixing experts off the corners mixes both."""
        log_mean = outputs[..., 0]
        return {
            "log_mean": log_mean,
            "log_shape": of_experts(bounded(self.log_shape), z).expand_as(log_mean),
        }

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the gamma distribution."""
        return _Gamma(parameters["log_mean"], parameters["log_shape"])

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return log y, (N, 1)."""
        return y.log()[:, None]

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return k, as shape."""
        return {"shape": bounded(self.log_shape)[:, 0].exp()}


class _Gamma(TorchDistribution):
    """The gamma distribution by log mean and log shape, of one shape of tensor."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.positive

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_mean, self.log_shape = log_mean, log_shape
        super().__init__(log_mean.shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _Gamma:
        """Return the same with more dimensions of draws."""
        return _Gamma(self.log_mean.expand(batch_shape), self.log_shape.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return (2 * self.log_mean - self.log_shape).exp()

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        k = self.log_shape.exp()
        return lower_gamma(k, k * (value.clamp_min(0) * (-self.log_mean).exp()))

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw."""
        with torch.no_grad():
            k = self.log_shape.exp().expand(self._extended_shape(sample_shape))
            return torch._standard_gamma(k) / k * self.log_mean.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, (...)."""
        # With k log k - lgamma(k) by Stirling no large numbers are subtracted where k is large.
        k, log_y = self.log_shape.exp(), value.log()
        log_u = log_y - self.log_mean
        constant = 0.5 * (self.log_shape - math.log(2 * math.pi)) - stirling(k)
        return constant + k * (log_u - torch.expm1(log_u)) - log_y
