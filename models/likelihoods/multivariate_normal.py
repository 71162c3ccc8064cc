r"""Multivariate normal: R responses, their means from the expert, a covariance for each expert.

    y = loc + e,    e_i = sum_{j < i} b_ij e_j + s_i t_i,    t_i ~ Normal(0, 1)

Each response's error is a regression on those before it. Coefficients b and standard deviations s
are free, and every choice of them is a covariance: Pourahmadi (1999), Biometrika 86. Where some
responses are missing, the density is that of the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyromoe.models.likelihoods.likelihood import (
    NONE,
    SMALLEST_SCALE,
    Likelihood,
    Restriction,
    near_floor,
    of_experts,
)
from pyromoe.models.likelihoods.normal import NormalLaw
from pyromoe.models.likelihoods.observed import is_observed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.distributions.constraints import Constraint
    from torch.types import _size

Covariance = Literal["full", "diagonal", "shared", "shared_diagonal"]


class MultivariateNormal(Likelihood):
    """Experts for R responses with correlated noise, y (N, R).

    Args:
        num_experts: K.
        num_responses: R.
        covariance: "full" or "diagonal" for each expert, or one for all.
        incomplete: whether responses may be missing, NaN.

    >>> import torch
    >>> from pyromoe.models.likelihoods import MultivariateNormal
    >>> family = MultivariateNormal(num_experts=1, num_responses=2)
    >>> parameters = family.parameters_of(torch.zeros(1, 1, 2))
    >>> law = family.distribution(**parameters)
    >>> law.log_prob(torch.zeros(1, 2)).detach()  # -log(2 pi) nats, (K, N)
    tensor([[-1.8381]])
    """

    family = "multivariate_normal"
    in_units = True
    has_density = True
    offset_places = ()
    arguments = ("num_experts", "num_responses", "covariance", "incomplete")

    def __init__(
        self,
        num_experts: int,
        num_responses: int,
        covariance: Covariance = "full",
        *,
        incomplete: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = self.encoded = num_responses
        self.places = tuple(range(num_responses))
        self.incomplete = incomplete
        number = 1 if covariance.startswith("shared") else num_experts
        self.log_scale = nn.Parameter(torch.zeros(number, 1, num_responses))
        self.rows, self.columns = torch.tril_indices(num_responses, num_responses, -1).tolist()
        self.is_full = covariance in ("full", "shared") and num_responses > 1
        if self.is_full:
            self.coefficients = nn.Parameter(torch.zeros(number, 1, len(self.rows)))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return loc and s, (K, N, R), and I - b, (K, N, R, R); off the corners all mix."""
        own = {"scale": self.log_scale.exp() + SMALLEST_SCALE}
        if self.is_full:
            own["matrix"] = self._matrix(self.coefficients)
        found = {"loc": outputs}
        for name, values in own.items():
            value = of_experts(values, z)
            within = values.shape[2:]
            found[name] = value.expand(outputs.shape[:-1] + within)
        return found

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the multivariate normal distribution."""
        loc, scale, matrix = parameters["loc"], parameters["scale"], parameters.get("matrix")
        return _MultivariateNormal(loc, scale, matrix, incomplete=self.incomplete)

    def means(self, **parameters: Tensor) -> list[Tensor]:
        """Return the mean of each response, (K, N)."""
        return list(parameters["loc"].unbind(-1))

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the normal law of each response."""
        factor = _factor(parameters["scale"], parameters.get("matrix"))
        loc, sd = parameters["loc"].unbind(-1), factor.square().sum(-1).sqrt().unbind(-1)
        return [NormalLaw(*own) for own in zip(loc, sd, strict=True)]

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return y itself, (N, R)."""
        return y

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return the covariances, (K, R, R), or (1, R, R)."""
        scale = self.log_scale[:, 0].exp() + SMALLEST_SCALE
        matrix = self._matrix(self.coefficients[:, 0]) if self.is_full else None
        factor = _factor(scale, matrix) * torch.as_tensor(units, dtype=scale.dtype)[:, None]
        return {"covariance": factor @ factor.mT}

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the same with independent errors, and with one covariance for all experts."""
        found = []
        if self.is_full:
            found.append(Restriction("covariance: diagonal", held={"coefficients": 0.0}))
        if len(self.log_scale) > 1:
            equal = ("log_scale", "coefficients") if self.is_full else ("log_scale",)
            found.append(Restriction("covariance: shared", equal=equal))
        return tuple(found)

    def at_floor(self) -> Tensor:
        """Return which experts have a scale s that cannot be smaller, (K,) or (1,)."""
        return near_floor(self.log_scale)[:, 0].any(-1)

    def _matrix(self, coefficients: Tensor) -> Tensor:
        """Return I - b, (..., R, R): errors times it are independent."""
        size = self.outputs
        entries = {pair: i for i, pair in enumerate(zip(self.rows, self.columns, strict=True))}
        zero, one = torch.zeros_like(coefficients[..., 0]), torch.ones_like(coefficients[..., 0])
        flat = [
            -coefficients[..., entries[i, j]] if (i, j) in entries else one if i == j else zero
            for i in range(size)
            for j in range(size)
        ]
        matrix: Tensor = torch.stack(flat, -1).unflatten(-1, (size, size))
        return matrix


class _MultivariateNormal(TorchDistribution):
    """Normal errors; I - b is the identity where it is None."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    support = torch.distributions.constraints.real_vector

    def __init__(
        self, loc: Tensor, scale: Tensor, matrix: Tensor | None, *, incomplete: bool
    ) -> None:
        self.loc, self.scale, self.matrix, self.incomplete = loc, scale, matrix, incomplete
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The locations."""
        return self.loc

    def expand(self, batch_shape: _size, _instance: object = None) -> _MultivariateNormal:
        """Return the same law for more draws."""
        size = self.loc.shape[-1]
        matrix = None if self.matrix is None else self.matrix.expand(*batch_shape, size, size)
        loc, scale = (t.expand(*batch_shape, size) for t in (self.loc, self.scale))
        return _MultivariateNormal(loc, scale, matrix, incomplete=self.incomplete)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw y, (..., R)."""
        with torch.no_grad():
            t = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype)
            drawn: Tensor = self.loc + (_factor(self.scale, self.matrix) @ t[..., None])[..., 0]
            return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of what is not missing, nats."""
        if self.incomplete:
            return self._of_observed(value)
        errors = value - self.loc
        if self.matrix is not None:
            errors = (self.matrix * errors[..., None, :]).sum(-1)
        t, size = errors / self.scale, self.loc.shape[-1]
        terms = -0.5 * t.square() - self.scale.log()
        log_density: Tensor = terms.sum(-1) - 0.5 * size * math.log(2 * math.pi)
        return log_density

    def _of_observed(self, value: Tensor) -> Tensor:
        there = is_observed(value)
        errors = torch.where(there, value - self.loc, 0.0)
        factor = _factor(self.scale, self.matrix)
        both = there[..., :, None] & there[..., None, :]
        covariance = torch.where(both, factor @ factor.mT, torch.eye(self.loc.shape[-1]).to(errors))
        root = torch.linalg.cholesky_ex(covariance).L
        t = torch.linalg.solve_triangular(root, errors[..., None], upper=False)[..., 0]
        # What is missing has error 0 and variance 1 here.
        log_root = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * there.sum(-1) * math.log(2 * math.pi)
        log_density: Tensor = -0.5 * t.square().sum(-1) - log_root - constant
        return log_density


def _factor(scale: Tensor, matrix: Tensor | None) -> Tensor:
    """Return (I - b)^-1 diag(s), (..., R, R): times its transpose it is the covariance."""
    diagonal = torch.diag_embed(scale)
    if matrix is None:
        return diagonal
    factor: Tensor = torch.linalg.solve_triangular(
        matrix, diagonal, upper=False, unitriangular=True
    )
    return factor
