r"""Skew normal: a normal that leans to one side (Azzalini, 1985).

    p(y) = 2 / omega phi(t) Phi(alpha t),    t = (y - xi) / omega

The expert's first output is the mean, the scale the standard deviation, so that both mean what they
mean in the normal, which is alpha = 0. What is learned for each expert is its skewness,

    gamma = 0.9953 tanh(skew),    0.9953 being a millionth below the largest there is,

and alpha, xi and omega follow from the three: the centred parameters of Azzalini (1985). Learned
directly, with xi as the location, an alpha of the wrong sign does not come past 0, where its
gradient vanishes as alpha^2 at the best xi; a skewness does. alpha^2 stays below 2100^2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyromoe.models.incomplete_functions import owens_t
from pyromoe.models.likelihoods.likelihood import (
    NONE,
    LocationScale,
    Restriction,
    Scale,
    of_experts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.types import _size

B = math.sqrt(2 / math.pi)
"""The mean of |e| for a standard normal e."""
BELOW = 1 - 1e-6
"""At the largest skewness itself, alpha is infinite."""
LARGEST_SKEWNESS = BELOW * (4 - math.pi) / 2 * (B * B / (1 - B * B)) ** 1.5
FIRST = 0.1
"""Not 0, where alpha has no derivative in the skewness."""
NEARLY_NONE = 1e-9
"""A skew of which alpha is a thousandth, and the density the normal's to rounding."""


class SkewNormal(LocationScale):
    """Experts with skewed noise, a skewness for each.

    >>> from pyromoe.models.likelihoods import SkewNormal
    >>> [restriction.name for restriction in SkewNormal(num_experts=2).restrictions()]
    ['normal', 'scale: shared']
    """

    family = "skew_normal"

    def __init__(self, num_experts: int, scale: Scale = "per_expert") -> None:
        super().__init__(num_experts, scale)
        self.skew = nn.Parameter(torch.full((num_experts, 1), FIRST))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return mean, deviation and skew, (K, N); mixing experts off the corners mixes them."""
        parameters = self.loc_and_scale(outputs, z)
        return parameters | {"skew": of_experts(self.skew, z).expand_as(parameters["loc"])}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the skew normal with mean `loc`, standard deviation `scale`."""
        alpha = shape_of(parameters["skew"])
        shift = B * alpha * (1 + alpha * alpha).rsqrt()
        omega = parameters["scale"] * (1 - shift * shift).rsqrt()
        return _SkewNormal(parameters["loc"] - omega * shift, omega, alpha)

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return the standard deviation as scale, alpha as shape, and the skewness."""
        skew = self.skew[:, 0]
        own = {"shape": shape_of(skew), "skewness": LARGEST_SKEWNESS * skew.tanh()}
        return super().constants(units) | own

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the normal."""
        return (Restriction("normal", held={"skew": NEARLY_NONE}), *super().restrictions())


def shape_of(skew: Tensor) -> Tensor:
    """Return alpha where the skewness is LARGEST_SKEWNESS tanh(skew)."""
    # The skewness goes as u^3, alpha as u / sqrt(1 - u^2), with u in (-1, 1).
    size = skew.abs().clamp(1e-12, 20.0)
    near, far = size.clamp_max(0.5), size.clamp_min(0.5)
    log_tanh = torch.where(size < 0.5, near.tanh().log(), torch.log1p(-2 / ((2 * far).exp() + 1)))
    log_cube = log_tanh + math.log(BELOW)
    rest = -torch.expm1(2 / 3 * log_cube)  # 1 - u^2
    return skew.sign() * (log_cube / 3).exp() * ((1 - B * B) * rest).rsqrt()


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
        return self.loc + self.scale * self.delta * B

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.scale**2 * (1 - (B * self.delta) ** 2)

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...); its error is absolute, 1e-13."""
        t = (value - self.loc) / self.scale
        below: Tensor = torch.special.ndtr(t) - 2 * owens_t(t, self.alpha)
        return below.clamp(0, 1)

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
