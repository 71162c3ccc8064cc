"""Simpler models inside a model, as restrictions of its parameters.

A larger model's likelihood is never below that of a model it contains. Where a restricted search
ends higher than the free one, the free one has missed something; so it also starts from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.maximum_likelihood.score import Score
    from pyromoe.models import MixtureOfExperts

ABSENT = -30.0
"""The gate's logit of an expert that is left out: a share of 1e-13."""

ONE = "1 expert"
"""The simpler model in which all experts are the same."""


@dataclass(frozen=True)
class Nested:
    """A simpler model for each of R vectors of parameters of a larger one, (R, P).

    Attributes:
        names: of the simpler models, R of them.
        free: which parameters are not held at a number, (R, P).
        held: those numbers, not a number where any will do, (R, P).
        group: parameters of one group are equal, (R, P).
    """

    names: list[str]
    free: Tensor
    held: Tensor
    group: Tensor

    def of(self, which: Sequence[int] | Tensor) -> Nested:
        """Return the simpler models of some of the vectors."""
        at = torch.as_tensor(which, dtype=torch.long)
        names = [self.names[i] for i in at.tolist()]
        return Nested(names, self.free[at], self.held[at], self.group[at])

    def enter(self, values: Tensor) -> Tensor:
        """Return the nearest parameters of the simpler models, (R, P)."""
        kept = self.free | self.held.isnan()
        return torch.where(kept, self._mean(values), self.held)

    def project(self, gradient: Tensor) -> Tensor:
        """Return the part of a gradient, (R, P), that stays in the simpler models."""
        return torch.where(self.free, self._mean(gradient), 0.0)

    def leave(self, values: Tensor, fresh: Tensor) -> Tensor:
        """Return the parameters with those that were held at their first values, (R, P)."""
        return torch.where(self.free, values, fresh)

    def _mean(self, values: Tensor) -> Tensor:
        sums, count = (
            torch.zeros_like(values).scatter_add(1, self.group, each)
            for each in (values, torch.ones_like(values))
        )
        return (sums / count.clamp_min(1)).gather(1, self.group)


def nested_in(model: MixtureOfExperts, guide: WeightedGuide, score: Score) -> Nested | None:
    """Return the simpler models that a model contains, as far as they are known."""
    if not {*model.experts.priors.values()} <= {"normal", "laplace"}:
        return None  # weights are no parameters of their own there, that could be held
    places, size, k = places_of(guide, score), score.values.shape[1], model.num_experts
    own = [p for n, p in places.items() if not n.startswith("gate.") and p.shape[:1] == (k,)]
    found = []
    for restriction in model.likelihood.restrictions():
        held = {places[f"likelihood.{n}"]: value for n, value in restriction.held.items()}
        last = places[f"experts.weight_{model.experts.depth - 1}"]
        held |= {last[..., output]: 0.0 for output in restriction.constant}
        equal = [places[f"likelihood.{n}"] for n in restriction.equal]
        found.append(_nested(restriction.name, size, held, equal))
    if model.likelihood.varied:  # experts that cannot be the same
        k = 1
    if k > 1:
        gate = {p: 0.0 for n, p in places.items() if n.startswith("gate.")}
        found.append(_nested(ONE, size, gate, own))
    # Under a prior, a gate that leaves an expert out is no simpler model, but an unlikely one.
    if (
        k > 2
        and isinstance(model.gate, Networks)
        and not any("gate" in n for n in guide.weights.names)
    ):
        weight, bias = (
            places[f"gate.{name}_{model.gate.depth - 1}"] for name in ("weight", "bias")
        )
        # The first logit is held too: what is added to all of them changes nothing, and the
        # others could all fall to the last one's.
        held = {weight[..., [0, -1]]: 0.0, bias[..., 0]: 0.0, bias[..., -1]: ABSENT}
        held |= {each[-1]: math.nan for each in own}
        found.append(_nested(f"{k - 1} experts", size, held, []))
    if not found:
        return None
    parts = zip(*((each.free, each.held, each.group) for each in found), strict=True)
    return Nested([n for each in found for n in each.names], *map(torch.cat, parts))


def places_of(guide: WeightedGuide, score: Score) -> dict[str, Tensor]:
    """Return where each parameter of the model lies in a vector, by its name in the model."""
    points = {f"guide.weights.point_{i}": name for i, name in enumerate(guide.weights.names)}
    places, first = dict[str, Tensor](), 0
    for name, parameter in score.parameters.items():
        numbers = torch.arange(first, first + parameter.numel())
        places[points.get(name, name.removeprefix("model."))] = numbers.view_as(parameter)
        first += parameter.numel()
    return places


def _nested(name: str, size: int, held: dict[Tensor, float], equal: list[Tensor]) -> Nested:
    free, group = torch.ones(1, size, dtype=torch.bool), torch.arange(size)[None].clone()
    values = torch.zeros(1, size, dtype=torch.float64)
    for places, value in held.items():
        free[:, places.flatten()] = False
        values[:, places.flatten()] = value
    for places in equal:
        group[:, places] = places[:1].expand_as(places)
    return Nested([name], free, values, group)
