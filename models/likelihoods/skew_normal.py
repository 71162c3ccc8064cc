r"""Skew normal: a normal that leans to one side (Azzalini, 1985).

    p(y) = 2 / omega phi(t) Phi(alpha t),    t = (y - xi) / omega

xi, the location, is the expert's first output, omega its scale, alpha its shape; alpha = 0 is the
normal. The mean is xi + omega delta sqrt(2 / pi) with delta = alpha / sqrt(1 + alpha^2). At
alpha = 0 moving xi and moving alpha are the same to first order, and a fit that starts there can
stay: so the experts start at alpha = 1 and -1 in turn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyromoe.models.likelihoods.likelihood import NONE, LocationScale, Scale, pick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.types import _size


class SkewNormal(LocationScale):
    """Experts with skewed noise, a shape alpha for each."""

    family = "skew_normal"

    def __init__(self, num_experts: int, scale: Scale = "per_expert") -> None:
        super().__init__(num_experts, scale)
        self.shape = nn.Parameter(1.0 - 2 * (torch.arange(num_experts)[:, None] % 2.0))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return loc, scale and shape, (K, N); mixing experts off the corners mixes them."""
        parameters = self.loc_and_scale(outputs, z)
        return parameters | {"shape": pick(self.shape, z).expand_as(parameters["loc"])}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the skew normal."""
        return _SkewNormal(parameters["loc"], parameters["scale"], parameters["shape"])

    def constants(self) -> dict[str, Tensor]:
        """Return the scale and alpha, as shape."""
        return super().constants() | {"shape": self.shape[:, 0]}


class _SkewNormal(TorchDistribution):
    """The skew normal of parameters of one shape."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, shape: Tensor) -> None:
        self.loc, self.scale, self.alpha = loc, scale, shape
        self.delta = shape * (1 + shape * shape).rsqrt()
        super().__init__(loc.shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _SkewNormal:
        """Return the same with more dimensions of draws."""
        return _SkewNormal(*(p.expand(batch_shape) for p in (self.loc, self.scale, self.alpha)))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.loc + self.scale * self.delta * math.sqrt(2 / math.pi)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw: of two normals, the half of one and what is independent of it of the other."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            half, other = (torch.randn(shape).to(self.loc) for _ in range(2))
            rest = (1 + self.alpha * self.alpha).rsqrt()
            return self.loc + self.scale * (self.delta * half.abs() + rest * other)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, (...)."""
        t = (value - self.loc) / self.scale
        log_phi = -0.5 * (t * t + math.log(2 * math.pi)) - self.scale.log()
        log_density: Tensor = math.log(2) + log_phi + torch.special.log_ndtr(self.alpha * t)
        return log_density
