"""Optimisers as functions of one flat vector of parameters, so that they can be part of a graph.

They follow `torch.optim`, whose own step reads numbers out of tensors. What depends on the number
of the step alone is a factor, computed outside of the graph: in it, it would be computed anew for
every parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from pyromoe.models.fit_settings import DECAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

FIRST, SECOND, SMALLEST = 0.9, 0.999, 1e-8
"""The defaults of `torch.optim.Adam` and `AdamW`."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A way to take a step.

    Attributes:
        moments: how many vectors like the parameters it keeps.
        sizes: its factors, from the number of the step, 1 for the first, and the learning rate.
        rule: changes values and moments, given the gradient and the factors as scalars.
        decoupled: whether weights decay beside the gradient, not as a part of it.
        weight_decay: how fast.
    """

    moments: int
    sizes: Callable[[int, float], tuple[float, ...]]
    rule: Callable[[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]], None]
    decoupled: bool = False
    weight_decay: float = 0.0

    def decaying(self, weight_decay: float) -> Optimiser:
        """Return the same with another weight decay."""
        return replace(self, weight_decay=weight_decay)

    def factors(self, number: int, rate: float) -> tuple[float, ...]:
        """Return the factors of a step, the last of them what decoupled decay leaves of values."""
        kept = (1 - rate * self.weight_decay,) if self.decoupled else ()
        return (*self.sizes(number, rate), *kept)

    def update(
        self,
        values: Tensor,
        gradient: Tensor,
        moments: Sequence[Tensor],
        factors: Sequence[Tensor],
    ) -> None:
        """Change values and moments, given the gradient and the factors as scalars."""
        if self.decoupled:
            *factors, kept = factors
            values.mul_(kept)
        elif self.weight_decay:
            gradient = gradient.add(values, alpha=self.weight_decay)
        self.rule(values, gradient, moments, factors)

    def with_gradient(self, gradient: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
        """Return the whole step: factors, moments, and what the gradient takes, values first.

        It changes values and moments, and returns what the gradient returns without the gradient.
        """

        def step(factors: Tensor, *given: Tensor) -> list[Tensor]:
            moments, rest = given[: self.moments], given[self.moments :]
            loss, found, *state = gradient(*rest)
            with torch.no_grad():
                self.update(rest[0], found, moments, factors.unbind())
            return [loss, *state]

        return step


def _adam_factors(number: int, rate: float) -> tuple[float, ...]:
    return rate / (1 - FIRST**number), math.sqrt(1 - SECOND**number)


def adam(
    values: Tensor, gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]
) -> None:
    """Take a step of Adam (Kingma and Ba, 2015)."""
    mean, square = moments
    size, root = factors
    mean.lerp_(gradient, 1 - FIRST)
    square.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
    values.sub_(size * (mean / (square.sqrt() / root + SMALLEST)))


def sgd(
    values: Tensor, gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]
) -> None:
    """Take a step along the gradient."""
    values.sub_(factors[0] * gradient)


OPTIMISERS = {
    "adam": Optimiser(2, _adam_factors, adam),
    # Loshchilov and Hutter (2019).
    "adamw": Optimiser(2, _adam_factors, adam, decoupled=True, weight_decay=DECAY),
    "sgd": Optimiser(0, lambda number, rate: (rate,), sgd),
}


def as_optimiser(optimiser: str | Optimiser) -> Optimiser:
    """Return an optimiser by its name, or as it is."""
    return OPTIMISERS[optimiser] if isinstance(optimiser, str) else optimiser
