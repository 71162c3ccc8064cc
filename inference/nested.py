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

    from pyromoe.inference.score import Score
    from pyromoe.models import MixtureOfExperts

ABSENT = -30.0
"""The gate's logit of an expert that is left out: a share of 1e-13."""


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


def nested_in(model: MixtureOfExperts, score: Score) -> Nested | None:
    """Return the simpler models that a model contains, as far as they are known."""
    places, first = dict[str, Tensor](), 0
    for name, parameter in score.parameters.items():
        places[name.removeprefix("model.")] = torch.arange(parameter.numel()).view_as(parameter)
        places[name.removeprefix("model.")] += first
        first += parameter.numel()
    found = []
    for restriction in model.likelihood.restrictions():
        held = {places[f"likelihood.{n}"]: value for n, value in restriction.held.items()}
        last = f"experts.weight_{model.experts.depth - 1}"
        if restriction.constant and last not in places:
            continue  # a prior has made it a latent site
        held |= {places[last][..., output]: 0.0 for output in restriction.constant}
        equal = [places[f"likelihood.{n}"] for n in restriction.equal]
        found.append(_nested(restriction.name, first, held, equal))
    found += _without_one(model, places, first)
    if not found:
        return None
    parts = zip(*((each.free, each.held, each.group) for each in found), strict=True)
    return Nested([n for each in found for n in each.names], *map(torch.cat, parts))


def _without_one(model: MixtureOfExperts, places: dict[str, Tensor], size: int) -> list[Nested]:
    """Return the model of one expert less, where the gate is a network without priors."""
    k, gate = model.num_experts, model.gate
    last = gate.depth - 1 if isinstance(gate, Networks) else 0
    weight, bias = (places.get(f"gate.{name}_{last}") for name in ("weight", "bias"))
    if k == 1 or weight is None or bias is None or bias.shape[-1] != k:
        return []
    # The gate's first logit is held too: what is added to all of them changes nothing, and the
    # others could all fall to the last one's.
    held = {weight[..., -1]: 0.0, bias[..., -1]: ABSENT, weight[..., 0]: 0.0, bias[..., 0]: 0.0}
    own = [p for n, p in places.items() if not n.startswith("gate.") and p.shape[0] == k]
    held |= {each[-1]: math.nan for each in own}
    return [_nested(f"{k - 1} expert{'s' if k > 2 else ''}", size, held, [])]


def _nested(name: str, size: int, held: dict[Tensor, float], equal: list[Tensor]) -> Nested:
    free, group = torch.ones(1, size, dtype=torch.bool), torch.arange(size)[None].clone()
    values = torch.zeros(1, size, dtype=torch.float64)
    for places, value in held.items():
        free[:, places.flatten()] = False
        values[:, places.flatten()] = value
    for places in equal:
        group[:, places] = places[:1].expand_as(places)
    return Nested([name], free, values, group)
