r"""Different families in different experts, one of which may be noise.

    y | z = k ~ p_k,    p_k: the family of expert k

Noise is a constant density over the range of the responses that it was fitted to, or over the box
of their ranges where there are several: an expert for outliers. Banfield and Raftery (1993).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, of_experts, of_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.distributions.constraints import Constraint
    from torch.types import _size


class Noise(Likelihood):
    """A constant density over a box; experts have no say in it.

    Args:
        low: the smallest of each response, one or R.
        high: the largest; as many.
        vector: whether a response is a row of R.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Noise
    >>> family = Noise(low=[0.0], high=[10.0])
    >>> law = family.distribution(**family.parameters_of(torch.zeros(1, 1, 0)))
    >>> law.log_prob(torch.tensor(50.0)).exp()  # (K, N)
    tensor([[0.1000]])
    """

    family = "noise"
    outputs = 0
    places = offset_places = ()

    def __init__(
        self, low: Sequence[float], high: Sequence[float], *, vector: bool = False
    ) -> None:
        super().__init__()
        self.vector = vector
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the bounds, (K, N, R)."""
        shape = (*outputs.shape[:-1], len(self.low))
        return {"low": self.low.expand(shape), "high": self.high.expand(shape)}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the uniform law, with the same density outside of the box."""
        return _Box(parameters["low"], parameters["high"], vector=self.vector)

    def means(self, **parameters: Tensor) -> list[Tensor]:
        """Return the middle of each range."""
        middle = (parameters["low"] + parameters["high"]) / 2
        return list(middle.unbind(-1))

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the uniform law of each response."""
        low, high = (parameters[name].split(1, -1) for name in ("low", "high"))
        return [_Box(*own, vector=False) for own in zip(low, high, strict=True)]


class Mixed(Likelihood):
    """Experts of several families.

    Args:
        families: the likelihoods, each with as many experts as use it.
        of_expert: which of them each of the K experts uses.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Mixed, Noise, Normal
    >>> family = Mixed([Normal(1), Noise([0.0], [10.0])], of_expert=[0, 1])
    >>> law = family.distribution(**family.parameters_of(torch.zeros(2, 1, 1)))
    >>> law.log_prob(torch.tensor([5.0])).detach().exp()  # (K, N)
    tensor([[1.4903e-06],
            [1.0000e-01]])
    """

    family = "mixed"
    varied = True

    def __init__(self, families: Sequence[Likelihood], of_expert: Sequence[int]) -> None:
        super().__init__()
        self.number = len(families)
        for f, likelihood in enumerate(families):
            setattr(self, f"family_{f}", likelihood)
        self.outputs = max(each.outputs for each in families)
        self.unused = sum(self.outputs - families[f].outputs for f in of_expert)
        learns = [each for each in families if each.places]
        self.places, self.encoded = learns[0].places, learns[0].encoded
        self.has_density = any(each.has_density for each in families)
        self.in_units = all(each.in_units for each in learns)
        self.offset_places, self.anywhere = learns[0].offset_places, learns[0].anywhere
        within = [sum(g == f for g in of_expert[:k]) for k, f in enumerate(of_expert)]
        own = [[w if g == f else 0 for g, w in zip(of_expert, within, strict=True)]
               for f in range(self.number)]  # fmt: skip
        self.register_buffer("of_expert", torch.tensor(of_expert))
        self.register_buffer("within", torch.tensor(own))  # (families, K)

    def families(self) -> list[Likelihood]:
        """Return the likelihood of each family."""
        return [getattr(self, f"family_{f}") for f in range(self.number)]

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return every family's parameters for every expert, and which of them counts."""
        found: dict[str, Tensor] = {}
        for f, part in enumerate(self.families()):
            own = self.within[f]
            of_each = (own[:, None] if z is None else own[z]).expand(outputs.shape[:-1])
            given = part.parameters_of(outputs[..., : part.outputs], of_each, extras)
            found |= {f"{f}.{name}": value for name, value in given.items()}
        which = of_experts(self.of_expert[:, None], z).expand(outputs.shape[:-1])
        return found | {"family": which.to(outputs.dtype)}

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the law of each datum in the family of its expert."""
        laws = [
            part.distribution(**of_part(parameters, f)) for f, part in enumerate(self.families())
        ]
        return _Cases(laws, parameters["family"])

    def means(self, **parameters: Tensor) -> list[Tensor]:
        """Return the mean of each response in the family of the expert."""
        each = [part.means(**of_part(parameters, f)) for f, part in enumerate(self.families())]
        which = parameters["family"]
        return [
            sum(torch.where(which == f, m, 0.0) for f, m in enumerate(of_response))  # type: ignore[misc]
            for of_response in zip(*each, strict=True)
        ]

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the law of each response in the family of the expert."""
        each = [p.marginals(**of_part(parameters, f)) for f, p in enumerate(self.families())]
        return [_Cases(laws, parameters["family"]) for laws in zip(*each, strict=True)]

    def uses(self) -> Tensor:
        """Return which outputs each expert uses, (K, P); noise has no use for any."""
        own = self.of_expert.new_tensor([each.outputs for each in self.families()])[self.of_expert]
        used: Tensor = torch.arange(self.outputs, device=own.device) < own[:, None]
        return used

    def at_floor(self) -> Tensor:
        """Return which experts have a scale that cannot be smaller, (K,)."""
        found = torch.zeros_like(self.of_expert, dtype=torch.bool)
        for f, part in enumerate(self.families()):
            floor = part.at_floor()
            of_each = floor[self.within[f] if len(floor) > 1 else torch.zeros_like(self.within[f])]
            found = torch.where(self.of_expert == f, of_each, found)
        return found

    def constants(self, units: Sequence[float] = (1.0,)) -> dict[str, Tensor]:
        """Return what each expert has, (K, ...); NaN where its family has no such thing."""
        found: dict[str, Tensor] = {}
        for f, part in enumerate(self.families()):
            own = self.of_expert == f
            for name, value in part.constants(units).items():
                of_each = value[self.within[f] if len(value) > 1 else torch.zeros_like(own).long()]
                shape = (-1, *(1,) * (of_each.dim() - 1))
                before = found.get(name, torch.full_like(of_each, math.nan))
                found[name] = torch.where(own.reshape(shape), of_each, before)
        return found

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return y as the first family that learns does."""
        return next(each for each in self.families() if each.places).encode(y, extras)


class _Cases(TorchDistribution):
    """One of several laws for each datum."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, laws: Sequence[TorchDistribution], which: Tensor) -> None:
        self.laws, self.which = list(laws), which
        super().__init__(which.shape, laws[0].event_shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _Cases:
        """Return the same law for more draws."""
        return _Cases(
            [law.expand(batch_shape) for law in self.laws], self.which.expand(batch_shape)
        )

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw from each datum's own law."""
        which = self.which.reshape(self.which.shape + (1,) * self.event_dim)
        drawn = [law.sample(sample_shape) for law in self.laws]
        return sum(torch.where(which == f, y, 0.0) for f, y in enumerate(drawn))  # type: ignore[return-value]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density, nats."""
        return self._of_each([law.log_prob(value) for law in self.laws])

    @property
    def variance(self) -> Tensor:
        """The variance of each datum's own law."""
        return self._of_each([law.variance for law in self.laws])

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value), (...)."""
        return self._of_each([law.cdf(value) for law in self.laws])

    def _of_each(self, values: Sequence[Tensor]) -> Tensor:
        """Return each datum's value under its own law."""
        own = [torch.where(self.which == f, value, 0.0) for f, value in enumerate(values)]
        return sum(own[1:], own[0])


class _Box(TorchDistribution):
    """The uniform law over a box, its density the same outside."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, low: Tensor, high: Tensor, *, vector: bool) -> None:
        self.low, self.high, self.vector = low, high, vector
        shape = low.shape[-1:] if vector else torch.Size()
        super().__init__(low.shape[:-1], shape, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _Box:
        """Return the same law for more draws."""
        low, high = (t.expand(*batch_shape, t.shape[-1]) for t in (self.low, self.high))
        return _Box(low, high, vector=self.vector)

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw within the box."""
        u = torch.rand(*sample_shape, *self.low.shape, dtype=self.low.dtype)
        y = self.low + u * (self.high - self.low)
        return y if self.vector else y[..., 0]

    @property
    def variance(self) -> Tensor:
        """The variance of one response."""
        return (self.high - self.low)[..., 0].square() / 12

    def cdf(self, value: Tensor) -> Tensor:
        """Return P(Y <= value) of one response, (...)."""
        low, high = self.low[..., 0], self.high[..., 0]
        return ((value - low) / (high - low)).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the log volume of the box in the responses that are there, nats."""
        log_size = (self.high - self.low).log()
        if self.vector:
            return -torch.where(value.isnan(), 0.0, log_size).sum(-1)
        return (-log_size[..., 0]).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
