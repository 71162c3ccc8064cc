"""The Concrete distribution as a Pyro distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import pyro.distributions as dist
import torch

from pyromoe.guides.concrete import concrete, log_density

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions.constraints import Constraint
    from torch.types import _size


class RelaxedOneHotCategorical(dist.TorchDistribution):
    """The Concrete distribution as a Pyro distribution, for handlers and Pyro's own ELBOs.

    A drawn value carries its logarithm along, so that `log_prob` does not have to take it of an
    underflowed number; the density is that of log z, see above.

    Args:
        temperature: t > 0, a scalar.
        logits: a, (N, K).
        hard: whether values are corners of the simplex, with the soft value's gradient.

    >>> import torch
    >>> from pyromoe.guides import RelaxedOneHotCategorical
    >>> law = RelaxedOneHotCategorical(0.5, torch.zeros(5, 3))
    >>> z = law.rsample((2,))
    >>> z.shape, law.log_prob(z).shape  # (S, N, K) and (S, N)
    (torch.Size([2, 5, 3]), torch.Size([2, 5]))
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    support = dist.constraints.independent(dist.constraints.real, 1)
    has_rsample = True

    def __init__(self, temperature: float | Tensor, logits: Tensor, *, hard: bool = False) -> None:
        self.temperature, self.logits, self.hard = temperature, logits, hard
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> RelaxedOneHotCategorical:
        """Return the same distribution for more data."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return RelaxedOneHotCategorical(self.temperature, logits, hard=self.hard)

    def rsample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw z, (S, N, K), from torch's global generator, as Pyro's distributions do."""
        shape = (*sample_shape, *self.logits.shape)
        noise = torch.empty(shape, dtype=self.logits.dtype).exponential_()
        gumbel = -noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
        log_z = concrete(self.logits, gumbel, self.temperature)
        z = log_z.exp()
        if self.hard:
            corner = torch.nn.functional.one_hot(log_z.argmax(-1), log_z.shape[-1]).to(z)
            z = corner + (z - z.detach())
        z._log = log_z  # type: ignore[attr-defined]
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density, (S, N), of log z, (S, N, K), in nats.

        Raises:
            ValueError: for a corner that was not drawn here: it has no density.
        """
        log_z = getattr(value, "_log", None)
        if log_z is None:
            log_z = value.log()
            if math.isinf(float(log_z.min())) and bool((self.logits > -torch.inf).all()):
                raise ValueError(
                    "a corner of the simplex has no density under the relaxed distribution; "
                    "observe z under the integer model, or leave it as it was drawn"
                )
        return log_density(self.logits, log_z, self.temperature)
