r"""Negative binomial: counts that vary more than a Poisson's.

    E y = mu,    Var y = mu + alpha mu^2,    log mu the expert's first output

alpha, the dispersion, is learned for each expert; as it falls to 0 the family becomes Poisson(mu).
It starts at 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyromoe.models.incomplete_functions import incomplete_beta
from pyromoe.models.likelihoods.likelihood import (
    NONE,
    Likelihood,
    Restriction,
    of_experts,
    stirling,
)
from pyromoe.models.likelihoods.poisson import LARGEST_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.types import _size
NEARLY_NONE = -25.0
"""The log dispersion where the probabilities are those of the Poisson to rounding."""


class NegativeBinomial(Likelihood):
    """Experts for overdispersed counts, a dispersion alpha for each.

    >>> import torch
    >>> from pyromoe.models.likelihoods import NegativeBinomial
    >>> family = NegativeBinomial(num_experts=2)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.distribution(**parameters).variance.detach()  # mu + alpha mu^2, (K, N)
    tensor([[ 2.0000],
            [61.9872]])
    """

    family = "negative_binomial"
    arguments = ("num_experts",)

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.log_dispersion = nn.Parameter(torch.zeros(num_experts, 1))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return log mean and log alpha, (K, N); mixing experts off the corners mixes both."""
        log_mean = outputs[..., 0]
        log_dispersion = of_experts(self.log_dispersion, z).expand_as(log_mean)
        return {"log_mean": log_mean, "log_dispersion": log_dispersion}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the negative binomial."""
        return _NegativeBinomial(parameters["log_mean"], parameters["log_dispersion"])

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return log(1 + y), (N, 1): counts span orders of magnitude."""
        return y.log1p()[:, None]

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return alpha, as dispersion."""
        return {"dispersion": self.log_dispersion[:, 0].exp()}

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the Poisson."""
        return (Restriction("poisson", held={"log_dispersion": NEARLY_NONE}),)


class _NegativeBinomial(TorchDistribution):
    """The negative binomial by log mean and log dispersion, of one shape."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor) -> None:
        self.log_mean, self.log_dispersion = log_mean, log_dispersion
        super().__init__(log_mean.shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _NegativeBinomial:
        """Return the same with more dimensions of draws."""
        parameters = (self.log_mean, self.log_dispersion)
        return _NegativeBinomial(*(p.expand(batch_shape) for p in parameters))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.mean + (2 * self.log_mean + self.log_dispersion).exp()

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        spread = self.log_dispersion + self.log_mean  # log alpha mu
        count = value.clamp(0, LARGEST_COUNT).floor()
        r = (-self.log_dispersion).exp()
        at = incomplete_beta(r, count + 1, (-spread).sigmoid(), spread.sigmoid())
        return torch.where(value < 0, 0.0, at)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw a rate from a gamma distribution, and a count from that rate."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            r = (-self.log_dispersion).exp().expand(shape)
            rate = torch._standard_gamma(r) / r * self.log_mean.exp()
            return torch.poisson(rate)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability in nats, (...)."""
        # lgamma(y + r) - lgamma(r) - y log r by Stirling, r = 1 / alpha: plainly written, large
        # numbers would be subtracted from each other where the family is nearly Poisson.
        alpha, r = self.log_dispersion.exp(), (-self.log_dispersion).exp()
        rising = (value + r - 0.5) * (alpha * value).log1p() - value
        rising = rising + stirling(value + r) - stirling(r)
        # log(1 + alpha mu), which does not overflow.
        log_spread = -nn.functional.logsigmoid(-self.log_dispersion - self.log_mean)
        of_mean = value * self.log_mean - (value + r) * log_spread
        return of_mean + rising - (value + 1).lgamma()
