"""Simpler models inside a model, as restrictions of its parameters.

A larger model's likelihood is never below that of a model it contains. Where a restricted search
ends higher than the free one, the free one has missed something; so it also starts from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from pyromoe.inference.score import Score
    from pyromoe.models import MixtureOfExperts

ABSENT = -30.0
"""The gate's logit of an expert that is left out: a share of 1e-13."""


@dataclass(frozen=True)
class Nested:
    """A simpler model among the parameters of a larger one, (P,).

    Attributes:
        name: of the simpler model.
        free: which parameters are not held at a number, (P,).
        held: those numbers, (P,).
        group: parameters of one group are equal, (P,).
    """

    name: str
    free: Tensor
    held: Tensor
    group: Tensor

    def enter(self, values: Tensor) -> Tensor:
        """Return the nearest parameters of the simpler model, (R, P)."""
        return torch.where(self.free, self._mean(values), self.held)

    def project(self, gradient: Tensor) -> Tensor:
        """Return the part of a gradient, (R, P), that stays in the simpler model."""
        return torch.where(self.free, self._mean(gradient), 0.0)

    def leave(self, values: Tensor, fresh: Tensor) -> Tensor:
        """Return the parameters with those that were held at their first values, (R, P)."""
        return torch.where(self.free, values, fresh)

    def _mean(self, values: Tensor) -> Tensor:
        sums = torch.zeros_like(values).index_add_(1, self.group, values)
        count = torch.bincount(self.group, minlength=len(self.group)).clamp_min(1)
        return (sums / count)[:, self.group]


def nested_in(model: MixtureOfExperts, score: Score) -> list[Nested]:
    """Return the simpler models that a model contains, as far as they are known."""
    places, first = dict[str, Tensor](), 0
    for name, parameter in score.parameters.items():
        last = first + parameter.numel()
        places[name.removeprefix("model.")] = torch.arange(first, last).view(parameter.shape)
        first = last
    found = []
    for restriction in model.likelihood.restrictions():
        held = {places[f"likelihood.{n}"]: value for n, value in restriction.held.items()}
        last = f"experts.weight_{model.experts.depth - 1}"
        if restriction.constant and last not in places:
            continue  # a prior has made it a latent site
        held |= {places[last][..., output]: 0.0 for output in restriction.constant}
        equal = [places[f"likelihood.{n}"] for n in restriction.equal]
        found.append(_nested(restriction.name, first, held, equal))
    return found + _without_one(model, places, first)


def _without_one(model: MixtureOfExperts, places: dict[str, Tensor], size: int) -> list[Nested]:
    """Return the model of one expert less, where the gate is a network without priors."""
    k = model.num_experts
    names = ()
    if isinstance(model.gate, Networks):
        names = (f"gate.weight_{model.gate.depth - 1}", f"gate.bias_{model.gate.depth - 1}")
    if k == 1 or not all(n in places and places[n].shape[-1] == k for n in names) or not names:
        return []
    held = {places[names[0]][..., -1]: 0.0, places[names[1]][..., -1]: ABSENT}
    return [_nested(f"{k - 1} experts", size, held, [])]


def _nested(name: str, size: int, held: dict[Tensor, float], equal: list[Tensor]) -> Nested:
    free, values, group = torch.ones(size, dtype=torch.bool), torch.zeros(size), torch.arange(size)
    values = values.double()
    for places, value in held.items():
        free[places.flatten()] = False
        values[places.flatten()] = value
    for places in equal:
        group[places] = places[:1].expand_as(places)
    return Nested(name, free, values, group)
