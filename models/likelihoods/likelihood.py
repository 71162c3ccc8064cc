"""What every family is, and what several of them need."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

from pyromoe.models.likelihoods.observed import is_observed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyro.distributions import TorchDistribution

Scale = Literal["per_expert", "shared", "predicted"]

NONE: Mapping[str, Tensor] = MappingProxyType({})
"""No extras: values of the rows that no network sees, (N,), by name."""
SMALLEST_SCALE = 1e-4
"""Keeps the density bounded when an expert sits on a single row; in units of the response."""
ONE_AT_ZERO = math.log(math.e - 1)
"""softplus of it is 1."""
LARGE = 10.0
"""From here on Stirling's series of six terms is exact to 1e-13."""


@dataclass(frozen=True)
class Restriction:
    """A simpler model that a family contains, at least as a limit.

    Attributes:
        name: of the simpler model.
        held: parameters of the likelihood, by name, and the number that makes them the limit.
        equal: parameters of the likelihood that are the same for all experts.
        constant: outputs of an expert that do not depend on the predictors.
    """

    name: str
    held: Mapping[str, float] = field(default_factory=dict)
    equal: tuple[str, ...] = ()
    constant: tuple[int, ...] = ()


class Likelihood(PyroModule):
    """p(y | z, x): from the outputs of K networks to a distribution of y.

    Attributes:
        family: the name in a spec.
        arguments: what its constructor takes, of num_experts (K), num_classes (C) and scale.
        required: the extras without which it is no distribution.
        anywhere: a response in its support, which stands in for a missing one.
        places: the outputs that are linear predictors of locations, one for each response.
        offset_places: those of them to which an offset is added.
        in_units: whether the locations are in the units of the response.
        redundant: outputs that could be left out: added to all others of an expert, they cancel.
        unused: pairs of an expert and an output that it does not use.
        varied: whether experts differ in more than their parameters.
        has_density: whether y is a number with a density, which can grow without bound.
        outputs: P, how many outputs of an expert it needs.
        encoded: E, the width of `encode`.

    >>> import torch
    >>> from pyromoe.models.likelihoods import FAMILIES
    >>> family = FAMILIES["normal"](num_experts=2)
    >>> outputs = torch.tensor([[[0.0]], [[1.0]]])  # (K, N, P)
    >>> law = family.distribution(**family.parameters_of(outputs))
    >>> law.log_prob(torch.tensor(0.0)).detach()  # log p(y = 0 | z = k, x), nats, (K, N)
    tensor([[-0.9190],
            [-1.4189]])
    """

    family: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]] = ()
    required: tuple[str, ...] = ()
    anywhere: float = 0.0
    places: tuple[int, ...] = (0,)
    offset_places: tuple[int, ...] = (0,)
    in_units: bool = False
    redundant: int = 0
    unused: int = 0
    varied: ClassVar[bool] = False
    has_density: bool = False
    outputs: int = 1
    encoded: int = 1

    @abstractmethod
    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return each expert's parameters, (K, N, ...), from its outputs, (K, N, P).

        Args:
            outputs: of all experts, or of the chosen ones, (..., N, P).
            z: which were chosen, (..., N); None for all.
            extras: values of the rows, (N,), by name.
        """

    @abstractmethod
    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the distribution of y with the given parameters, batch shape (..., N)."""

    def mean(self, **parameters: Tensor) -> Tensor:
        """Return the mean of y, (..., N); for classes their probabilities, (..., N, C)."""
        mean: Tensor = self.distribution(**parameters).mean
        return mean

    def means(self, **parameters: Tensor) -> list[Tensor]:
        """Return the mean of each response, (..., N), from parameters of (..., N, ...)."""
        return [self.mean(**parameters)]

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the law of each response by itself, batch shape (..., N).

        It has `cdf`, and `variance` where y is a number.
        """
        return [self.distribution(**parameters)]

    def filled(self, y: Tensor) -> Tensor:
        """Return y, (N, ...), a value in the support in the place of what is missing, (N, ...)."""
        return torch.where(is_observed(y), y, self.anywhere).to(y.dtype)

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return y, (N,), as the input of a network, (N, E)."""
        return y[:, None]

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return what is learned beside the networks, (K, ...) or (1, ...), for a reader.

        Args:
            units: of what one unit of each encoded response is, on the original scale.
        """
        return {}

    def place_prior(self, scale: float) -> dict[str, Tensor]:
        """Make what is learned beside the networks latent sites: Normal(its first value, scale^2).

        Returns:
            Where the sites start, by name.
        """
        starts = {}
        for prefix, module in self.named_modules():
            for name, value in list(module.named_parameters(recurse=False)):
                start = value.detach().clone()
                delattr(module, name)
                prior = dist.Normal(start, scale).to_event(start.dim())
                setattr(module, name, PyroSample(prior))
                starts[f"{prefix}.{name}".removeprefix(".")] = start
        return starts

    def draw_own(self) -> None:
        """Draw the latent sites that there are; a plate must not surround them."""
        for module in self.modules():
            for name in getattr(module, "_pyro_samples", ()):
                getattr(module, name)

    def parts(self) -> list[Likelihood]:
        """Return a likelihood for each response, where they are independent given z."""
        return [self]

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the simpler models that this one contains, the nearest ones."""
        return ()

    def at_floor(self) -> Tensor:
        """Return which experts have a scale that cannot be smaller, (K,) or (1,)."""
        return torch.zeros(1, dtype=torch.bool)

    def uses(self) -> Tensor | None:
        """Return which outputs each expert uses, (K, P); None where it is all of them."""
        return None


class LocationScale(Likelihood):
    """A family on the real line: loc from the expert, and a scale.

    Args:
        num_experts: K.
        scale: "per_expert", "shared", or "predicted": softplus of the expert's second output,
            moved so that an output of 0 means 1.
    """

    arguments = ("num_experts", "scale")
    in_units = True
    has_density = True

    def __init__(self, num_experts: int, scale: Scale = "per_expert") -> None:
        super().__init__()
        self.outputs = 2 if scale == "predicted" else 1
        if scale != "predicted":
            number = num_experts if scale == "per_expert" else 1
            self.log_scale = nn.Parameter(torch.zeros(number, 1))

    def loc_and_scale(self, outputs: Tensor, z: Tensor | None) -> dict[str, Tensor]:
        """Return loc and scale, (K, N), or (..., N) of the chosen experts z."""
        loc = outputs[..., 0]
        if self.outputs == 2:
            raw = nn.functional.softplus(outputs[..., 1] + ONE_AT_ZERO)
            return {"loc": loc, "scale": raw + SMALLEST_SCALE}
        return {
            "loc": loc,
            "scale": of_experts(self.log_scale.exp() + SMALLEST_SCALE, z).expand_as(loc),
        }

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return the scale, where it is not predicted."""
        if self.outputs == 2:
            return {}
        return {"scale": (self.log_scale.exp() + SMALLEST_SCALE)[:, 0] * units[0]}

    def at_floor(self) -> Tensor:
        """Return which experts have a scale that cannot be smaller, (K,) or (1,)."""
        return super().at_floor() if self.outputs == 2 else near_floor(self.log_scale)[:, 0]

    def restrictions(self) -> tuple[Restriction, ...]:
        """Return the same with a constant scale, or with one scale for all experts."""
        if self.outputs == 2:
            return (Restriction("scale: per_expert", constant=(1,)),)
        if len(self.log_scale) == 1:
            return ()
        return (Restriction("scale: shared", equal=("log_scale",)),)


def near_floor(log_scale: Tensor) -> Tensor:
    """Return where a scale is hardly above the smallest one."""
    return log_scale.detach().exp() < SMALLEST_SCALE


def of_part(parameters: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return those parameters whose names begin with a part's number, without it."""
    own = f"{number}."
    return {n.removeprefix(own): v for n, v in parameters.items() if n.startswith(own)}


def of_experts(values: Tensor, z: Tensor | None) -> Tensor:
    """Return what each expert has, as it broadcasts over all experts or over the chosen ones.

    Args:
        values: of each expert, (K, 1, ...), or shared, (1, 1, ...).
        z: which experts were chosen, (..., N), giving (..., N, ...); None for all.
    """
    if z is None or len(values) == 1:
        return values
    chosen = values[:, 0].index_select(0, z.flatten())
    return chosen.reshape(z.shape + values.shape[2:])


def bounded(log_value: Tensor) -> Tensor:
    """Return the log of a concentration that stays below 1 / SMALLEST_SCALE^2.

    For families that become a spike as it grows; about log_value, far below that.
    """
    return log_value + nn.functional.logsigmoid(-log_value - 2 * math.log(SMALLEST_SCALE))


def stirling(a: Tensor) -> Tensor:
    """Return lgamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2), for a > 0.

    Densities written with it do not subtract large numbers from each other where a is large, and
    so keep their digits in single precision too.
    """
    a = a.clamp_min(torch.finfo(a.dtype).tiny)
    small, large = a.clamp_max(LARGE), a.clamp_min(LARGE)
    exact = small.lgamma() - (small - 0.5) * small.log() + small - 0.5 * math.log(2 * math.pi)
    r = large.reciprocal()
    s = r * r
    series = 1 / 1188 - s * 691 / 360360
    for term in (1 / 1680, 1 / 1260, 1 / 360, 1 / 12):
        series = term - s * series
    return torch.where(a < LARGE, exact, r * series)
