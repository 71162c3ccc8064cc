r"""Several responses that share one z, independent given it.

    log p(y_1, ..., y_R | z, x) = sum_r log p_r(y_r | z, x)

Each response has a family of its own; an expert's outputs are those for each of them in turn. An
offset is added where the link is a logarithm or a log odds, not to locations, whose units differ.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution

from pyromoe.models.likelihoods.likelihood import NONE, Likelihood, of_part
from pyromoe.models.likelihoods.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.distributions.constraints import Constraint
    from torch.types import _size


class Joint(Likelihood):
    """Experts for a row of R responses, y (N, R); classes are given as their codes.

    Args:
        likelihoods: one for each response.

    >>> import torch
    >>> from pyromoe.models.likelihoods import Bernoulli, Joint, Poisson
    >>> family = Joint([Bernoulli(), Poisson()])
    >>> law = family.distribution(**family.parameters_of(torch.zeros(2, 1, 2)))
    >>> law.log_prob(torch.tensor([1.0, 0.0]))  # log 0.5 - 1, (K, N)
    tensor([[-1.6931],
            [-1.6931]])
    """

    family = "joint"

    def __init__(self, likelihoods: Sequence[Likelihood]) -> None:
        super().__init__()
        self.number = len(likelihoods)
        for r, likelihood in enumerate(likelihoods):
            setattr(self, f"response_{r}", likelihood)
        self.first = list(accumulate((each.outputs for each in likelihoods), initial=0))
        self.outputs, self.encoded = self.first[-1], sum(each.encoded for each in likelihoods)
        self.places = tuple(self.first[:-1])
        self.offset_places = tuple(
            first + place
            for each, first in zip(likelihoods, self.first, strict=False)
            for place in each.offset_places
            if not each.in_units
        )
        self.redundant = sum(each.redundant for each in likelihoods)
        self.unused = sum(each.unused for each in likelihoods)
        self.has_density = all(each.has_density for each in likelihoods)
        self.required = tuple({name for each in likelihoods for name in each.required})

    def parts(self) -> list[Likelihood]:
        """Return the likelihood of each response."""
        return [getattr(self, f"response_{r}") for r in range(self.number)]

    def parameters_of(
        self, outputs: Tensor, z: Tensor | None = None, extras: Mapping[str, Tensor] = NONE
    ) -> dict[str, Tensor]:
        """Return the parameters of each response r, their names with r before them."""
        return {
            f"{r}.{name}": value
            for r, (part, (a, b)) in enumerate(zip(self.parts(), pairwise(self.first), strict=True))
            for name, value in part.parameters_of(outputs[..., a:b], z, extras).items()
        }

    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the law of R independent responses, any of which may be missing."""
        return _Independent(
            [
                Observed(part.distribution(**of_part(parameters, r)), part.anywhere)
                for r, part in enumerate(self.parts())
            ]
        )

    def means(self, **parameters: Tensor) -> list[Tensor]:
        """Return the mean of each response."""
        return [p.means(**of_part(parameters, r))[0] for r, p in enumerate(self.parts())]

    def marginals(self, **parameters: Tensor) -> list[TorchDistribution]:
        """Return the law of each response."""
        return [p.marginals(**of_part(parameters, r))[0] for r, p in enumerate(self.parts())]

    def encode(self, y: Tensor, extras: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the responses as the input of a network, (N, E)."""
        parts = self.parts()
        return torch.cat([p.encode(y[:, r], extras) for r, p in enumerate(parts)], -1)

    def uses(self) -> Tensor | None:
        """Return which outputs each expert uses, (K, P); None where it is all of them."""
        each = [part.uses() for part in self.parts()]
        number = next((len(used) for used in each if used is not None), None)
        if number is None:
            return None
        every = [
            torch.ones(number, part.outputs, dtype=torch.bool) if used is None else used
            for part, used in zip(self.parts(), each, strict=True)
        ]
        return torch.cat(every, -1)

    def at_floor(self) -> Tensor:
        """Return which experts have a scale that cannot be smaller, in any response."""
        each = torch.broadcast_tensors(*(part.at_floor() for part in self.parts()))
        return torch.stack(each).any(0)

    def filled(self, y: Tensor) -> Tensor:
        """Return y with a value in the support in the place of what is missing."""
        return torch.stack([p.filled(y[..., r]) for r, p in enumerate(self.parts())], -1)


class _Independent(TorchDistribution):
    """The law of R responses, independent given z.

    Args:
        parts: one distribution for each, all of the same batch shape.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, parts: Sequence[TorchDistribution]) -> None:
        self.parts = list(parts)
        size = torch.Size([len(self.parts)])
        super().__init__(parts[0].batch_shape, size, validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> _Independent:
        """Return the same law for more draws."""
        return _Independent([part.expand(batch_shape) for part in self.parts])

    def sample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        """Draw the responses, (..., R)."""
        drawn = [part.sample(sample_shape) for part in self.parts]
        return torch.stack([y.to(torch.get_default_dtype()) for y in drawn], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of all responses together, nats."""
        terms = [part.log_prob(value[..., r]) for r, part in enumerate(self.parts)]
        return torch.stack(terms).sum(0)
