r"""Beta: a proportion strictly between 0 and 1.

    y ~ Beta(mu phi, (1 - mu) phi),    logit mu the expert's first output

phi, the precision, is learned for each expert: Var y = mu (1 - mu) / (1 + phi). It is kept below
1e8, so that the density stays bounded when an expert sits on a single row, and starts at 10.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyromoe.models.incomplete_functions import incomplete_beta
from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, bounded, of_experts, stirling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.types import _size

FIRST_PRECISION = 10.0


class Beta(Likelihood):
    """Experts for proportions, a precision phi for each.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Beta
    >>> family = Beta(num_experts=2)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> family.mean(**parameters)  # (K, N)
    tensor([[0.5000],
            [0.8808]])
    """

    family = "beta"
    anywhere = 0.5
    has_density = True
    arguments = ("num_experts",)

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.log_precision = nn.Parameter(torch.full((num_experts, 1), math.log(FIRST_PRECISION)))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return logit mean and log phi, (K, N); mixing experts off the corners mixes both."""
        logits = outputs[..., 0]
        return {
            "logits": logits,
            "log_precision": of_experts(bounded(self.log_precision), z).expand_as(logits),
        }

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the beta distribution."""
        return _Beta(parameters["logits"], parameters["log_precision"])

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the log odds of y, (N, 1)."""
        return (y.log() - (-y).log1p())[:, None]

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return phi, as precision."""
        return {"precision": bounded(self.log_precision)[:, 0].exp()}


class _Beta(TorchDistribution):
    """The beta distribution by logit of the mean and log precision, of one shape."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, log_precision: Tensor) -> None:
        self.logits, self.log_precision = logits, log_precision
        super().__init__(logits.shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _Beta:
        """Return the same with more dimensions of draws."""
        return _Beta(self.logits.expand(batch_shape), self.log_precision.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.logits.sigmoid() * (-self.logits).sigmoid() / (1 + self.log_precision.exp())

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        phi, y = self.log_precision.exp(), value.clamp(0, 1)
        a, b = phi * self.logits.sigmoid(), phi * (-self.logits).sigmoid()
        return incomplete_beta(a, b, y, 1 - y)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw two gamma variates, and take the share of the first."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            phi = self.log_precision.exp()
            sides = torch.stack([phi * self.logits.sigmoid(), phi * (-self.logits).sigmoid()], -1)
            return torch._sample_dirichlet(sides.expand(*shape, 2))[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, (...)."""
        # Stirling's terms apart, phi enters as -phi KL(mu, y): nothing large is subtracted.
        log_mu, log_rest = logsigmoid(self.logits), logsigmoid(-self.logits)
        phi = self.log_precision.exp()
        a, b = phi * log_mu.exp(), phi * log_rest.exp()
        log_y, log_other = value.log(), (-value).log1p()
        constant = 0.5 * (self.log_precision + log_mu + log_rest - math.log(2 * math.pi))
        constant = constant + stirling(phi) - stirling(a) - stirling(b)
        fit = a * (log_y - log_mu) + b * (log_other - log_rest)
        return constant + fit - log_y - log_other
