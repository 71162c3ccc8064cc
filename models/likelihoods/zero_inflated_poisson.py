r"""Zero-inflated Poisson: with probability pi a zero, otherwise a Poisson count.

    p(0) = pi + (1 - pi) exp(-lambda),    p(y) = (1 - pi) Poisson(y; lambda) for y > 0

log lambda is the expert's first output, pi is learned for each expert; the mean is
(1 - pi) lambda. pi starts at sigmoid(-1) = 0.27.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, Restriction, of_experts
from pyromoe.models.likelihoods.poisson import poisson_cdf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.types import _size
NEARLY_NONE = -30.0
"""The log odds where the probabilities are those of the Poisson to rounding."""


class ZeroInflatedPoisson(Likelihood):
    """Experts for counts with too many zeros, a probability pi of those for each.

    >>> import torch
    >>> from pyromoe.models.likelihoods import ZeroInflatedPoisson
    >>> family = ZeroInflatedPoisson(num_experts=2)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]], [[2.0]]]))
    >>> law = family.distribution(**parameters)
    >>> law.log_prob(torch.tensor(0.0)).exp().detach()  # p(y = 0 | z = k, x), (K, N)
    tensor([[0.5379],
            [0.2694]])
    """

    family = "zero_inflated_poisson"
    arguments = ("num_experts",)

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.zero_logit = nn.Parameter(torch.full((num_experts, 1), -1.0))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return log rate and log odds of pi, (K, N); off the corners both are mixed."""
        log_rate = outputs[..., 0]
        return {
            "log_rate": log_rate,
            "zero_logit": of_experts(self.zero_logit, z).expand_as(log_rate),
        }

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the zero-inflated Poisson."""
        return _ZeroInflatedPoisson(parameters["log_rate"], parameters["zero_logit"])

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return log(1 + y), (N, 1): counts span orders of magnitude."""
        return y.log1p()[:, None]

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return pi, as zero_probability."""
        return {"zero_probability": self.zero_logit[:, 0].sigmoid()}

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the Poisson."""
        return (Restriction("poisson", held={"zero_logit": NEARLY_NONE}),)


class _ZeroInflatedPoisson(TorchDistribution):
    """The zero-inflated Poisson by log rate and log odds of a zero, of one shape."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, zero_logit: Tensor) -> None:
        self.log_rate, self.zero_logit = log_rate, zero_logit
        super().__init__(log_rate.shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _ZeroInflatedPoisson:
        """Return the same with more dimensions of draws."""
        parameters = (self.log_rate, self.zero_logit)
        return _ZeroInflatedPoisson(*(p.expand(batch_shape) for p in parameters))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return (-self.zero_logit).sigmoid() * self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.mean * (1 + self.zero_logit.sigmoid() * self.log_rate.exp())

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        counted = (-self.zero_logit).sigmoid() * poisson_cdf(value, self.log_rate.exp())
        return torch.where(value < 0, 0.0, self.zero_logit.sigmoid() + counted)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw whether it is a zero, and a count where it is not."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            counts = torch.poisson(self.log_rate.exp().expand(shape))
            return counts * (1 - torch.bernoulli(self.zero_logit.sigmoid().expand(shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability in nats, (...)."""
        log_zero = nn.functional.logsigmoid(self.zero_logit)
        log_count = nn.functional.logsigmoid(-self.zero_logit) - self.log_rate.exp()
        positive = log_count + value * self.log_rate - (value + 1).lgamma()
        return torch.where(value == 0, torch.logaddexp(log_zero, log_count), positive)
