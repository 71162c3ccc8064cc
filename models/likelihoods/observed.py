r"""Missing responses: what was not observed is summed out of the likelihood.

    log p(y_observed | z, x),    0 nats where nothing was observed

A missing response is NaN, or -1 where responses are codes of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions.constraints import Constraint
    from torch.types import _size


def is_observed(y: Tensor) -> Tensor:
    """Return whether each response is there, of the shape of y."""
    return ~y.isnan() if y.is_floating_point() else y >= 0


class Observed(TorchDistribution):
    """A distribution of numbers or codes, some of which may be missing.

    Args:
        whole: the distribution, without event dimensions.
        anywhere: a value in its support, to stand in for a missing one.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, whole: TorchDistribution, anywhere: float) -> None:
        self.whole, self.anywhere = whole, anywhere
        super().__init__(whole.batch_shape, validate_args=False)

    @property
    def support(self) -> Constraint | None:
        """The whole distribution's; a missing value is outside of it."""
        return self.whole.support

    def expand(self, batch_shape: _size, _instance: object = None) -> Observed:
        """Return the same distribution for more draws."""
        return Observed(self.whole.expand(batch_shape), self.anywhere)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw values, none of which is missing."""
        drawn: Tensor = self.whole.sample(sample_shape)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, 0 where the value is missing."""
        there = is_observed(value)
        log_density = self.whole.log_prob(torch.where(there, value, self.anywhere).to(value.dtype))
        return torch.where(there, log_density, 0.0)
