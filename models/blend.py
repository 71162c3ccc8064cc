r"""What an expert's likelihood is when z lies inside the simplex.

At a corner, z = e_k, all of these are p(y | z = k, x); between the corners they differ:

    parameters        log p(y | sum_k z_k eta_k)      eta_k: the expert's parameters
    log_likelihoods   sum_k z_k log p(y | z = k)      linear in z
    likelihoods       log sum_k z_k p(y | z = k)

The default is `log_likelihoods`: it exists for every family, and straight-through gradients
then tend to the exact ones as the temperature falls. With `parameters` they tend to the
trapezoid rule of the same line, and with `likelihoods` to sinh(D) / D times the exact gradient,
D being the gap between two log-likelihoods.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pyro.distributions import TorchDistribution

from pyromoe.models.pick import pick

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions.constraints import Constraint
    from torch.types import _size

Mix = Literal["parameters", "log_likelihoods", "likelihoods"]
SUPPORT = "_pyro_categorical_support"
"""Pyro marks by it a z that is every category in order: there is nothing to select."""


def select(z: Tensor, values: Tensor) -> Tensor:
    """Return the value of the chosen expert, (S, N, ...), or their mixture.

    Args:
        z: integers, (S, N) or (S, 1) where all data share a value, as when Pyro enumerates;
            or points of the simplex, (S, N, K). S may be any number of dimensions.
        values: one for each expert and datum, (K, N, ...).
    """
    if z.is_floating_point():
        mixed = torch.einsum(
            "...nk,kne->...ne", z, values.flatten(2) if values.dim() > 2 else values[..., None]
        )
        return mixed.reshape(z.shape[:-1] + values.shape[2:])
    if hasattr(z, SUPPORT) and len(z) == len(values):
        return values.reshape(z.shape[:-1] + values.shape[1:])
    if z.dim() and z.shape[-1] == 1:
        return values.index_select(0, z.flatten()).reshape(z.shape[:-1] + values.shape[1:])
    return pick(values.movedim(0, 1), z)


class Blend(TorchDistribution):
    """Experts' (log-)likelihoods averaged with weights z.

    Args:
        experts: the K experts' distributions, batch shape (K, N).
        z: points of the simplex, (S, N, K).
        mix: "log_likelihoods", which is not normalised, or "likelihoods".
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, experts: TorchDistribution, z: Tensor, mix: Mix) -> None:
        self.experts, self.z, self.mix = experts, z, mix
        super().__init__(z.shape[:-1], experts.event_shape, validate_args=False)

    @property
    def support(self) -> Constraint | None:
        """The experts' own support."""
        return self.experts.support

    def expand(self, batch_shape: _size, _instance: object = None) -> Blend:
        """Return the same blend for more draws."""
        z = self.z.expand(*batch_shape, self.z.shape[-1])
        return Blend(self.experts, z, self.mix)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw an expert from z, then y from the expert: the law of "likelihoods" alone.

        Raises:
            NotImplementedError: for "log_likelihoods", which is not a normalised density.
        """
        if self.mix != "likelihoods":
            raise NotImplementedError(
                "a geometric mean of densities cannot be drawn from; "
                "use mix='likelihoods' or 'parameters', or an integer z"
            )
        k = torch.distributions.Categorical(probs=self.z).sample(sample_shape)
        y = self.experts.sample(k.shape[:-1]).movedim(-2 - self.event_dim, 0)  # (K, S, N, ...)
        index = k.reshape(k.shape + (1,) * self.event_dim)
        return torch.take_along_dim(y, index[None], 0)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the blended log-likelihood, (S, N), in nats."""
        each = self.experts.log_prob(value.unsqueeze(-2 - self.event_dim)).movedim(-2, -1)
        absent, excluded = self.z == 0, each == -torch.inf  # (S, N, K)
        if self.mix == "log_likelihoods":
            return (self.z * torch.where(absent & excluded, 0.0, each)).sum(-1)
        log_z = torch.where(absent, 1.0, self.z).log()
        total = torch.where(absent, -torch.inf, log_z + each).logsumexp(-1)
        # An expert without weight adds nothing to the value, but its ratio p_k / p is the
        # derivative in z_k; bounded, so that what is multiplied by it stays finite.
        largest = 0.75 * math.log(torch.finfo(each.dtype).max)
        log_ratio = (each - total[..., None]).clamp_max(largest)
        ratio = torch.where(absent & ~excluded, log_ratio, -torch.inf).exp()
        return total + (self.z * ratio).sum(-1)
