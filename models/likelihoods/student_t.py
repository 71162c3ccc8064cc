r"""Student's t: a normal with heavier tails.

    y = loc + scale t,    t ~ t_nu,    nu = 1 + exp(log_df)

nu > 1, so that the mean, which predictions report, exists: it is loc, the expert's first output. As
nu grows the density becomes that of Normal(loc, scale^2). nu starts at 10.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyromoe.models.incomplete_functions import incomplete_beta
from pyromoe.models.likelihoods.likelihood import (
    NONE,
    LocationScale,
    Restriction,
    Scale,
    of_experts,
    stirling,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyro.distributions import TorchDistribution

SMALLEST_DF = 1.0
FIRST_DF = 10.0
LARGE_LOG_DF = 30.0
"""Where the density is that of the normal to rounding."""


class StudentT(LocationScale):
    """Experts with heavy tails, degrees of freedom nu for each.

    >>> import torch
    >>> from pyromoe.models.likelihoods import StudentT
    >>> family = StudentT(num_experts=1)
    >>> parameters = family.parameters_of(torch.tensor([[[0.0]]]))
    >>> law = family.distribution(**parameters)
    >>> law.log_prob(torch.tensor(9.0)).detach()  # nats, (K, N); -41.4 for a normal
    tensor([[-13.0885]])
    """

    family = "student_t"

    def __init__(self, num_experts: int, scale: Scale = "per_expert") -> None:
        super().__init__(num_experts, scale)
        first = math.log(FIRST_DF - SMALLEST_DF)
        self.log_df = nn.Parameter(torch.full((num_experts, 1), first))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return loc, scale and log(nu - 1), (K, N); mixing experts off the corners mixes them."""
        parameters = self.loc_and_scale(outputs, z)
        log_df = of_experts(self.log_df, z).expand_as(parameters["loc"])
        return parameters | {"log_df": log_df}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return loc + scale t."""
        df = SMALLEST_DF + parameters["log_df"].exp()
        return _StudentT(df, parameters["loc"], parameters["scale"])

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return the scale and nu, as degrees of freedom."""
        return super().constants(units) | {"df": SMALLEST_DF + self.log_df[:, 0].exp()}

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the normal, where nu is beyond counting."""
        return (Restriction("normal", held={"log_df": LARGE_LOG_DF}), *super().restrictions())


class _StudentT(dist.StudentT):  # type: ignore[misc]  # Pyro has no types
    """Student's t with a density that keeps its digits where nu is large."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, (...)."""
        t, a = (value - self.loc) / self.scale, self.df / 2
        # lgamma(a + 1/2) - lgamma(a) - log(a) / 2, by Stirling.
        ratio = a * torch.log1p(0.5 / a) - 0.5 + stirling(a + 0.5) - stirling(a)
        constant = ratio - 0.5 * math.log(2 * math.pi) - self.scale.log()
        log_density: Tensor = constant - (a + 0.5) * torch.log1p(t * t / self.df)
        return log_density

    @property
    def variance(self) -> Tensor:
        """The variance; infinite where nu <= 2."""
        finite = self.scale**2 / (1 - 2 / self.df)
        heavy = torch.where(self.df > 1, math.inf, math.nan)
        return torch.where(self.df > 2, finite, heavy)

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        t = (value - self.loc) / self.scale
        ratio = t.square() / self.df  # may overflow: the tail is then 0
        tail = 0.5 * incomplete_beta(
            self.df / 2, torch.full_like(self.df, 0.5), 1 / (1 + ratio), 1 / (1 + 1 / ratio)
        )
        return torch.where(t < 0, tail, 1 - tail)
