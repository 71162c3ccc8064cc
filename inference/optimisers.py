"""Optimisers as functions of one flat vector of parameters, so that they can be part of a graph.

They follow `torch.optim`, whose own step reads numbers out of tensors. What depends on the number
of the step alone is a factor, computed outside of the graph: in it, it would be computed anew for
every parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

FIRST, SECOND, SMALLEST, DECAY = 0.9, 0.999, 1e-8, 0.01
"""The defaults of `torch.optim.Adam` and `AdamW`."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A way to take a step.

    Attributes:
        moments: how many vectors like the parameters it keeps.
        factors: from the number of the step, 1 for the first, and the learning rate.
        update: changes values and moments, given the gradient and the factors as scalars.
    """

    moments: int
    factors: Callable[[int, float], tuple[float, ...]]
    update: Callable[[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]], None]

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


def _adamw_factors(number: int, rate: float) -> tuple[float, ...]:
    return (*_adam_factors(number, rate), 1 - rate * DECAY)


def adam(
    values: Tensor, gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]
) -> None:
    """Take a step of Adam (Kingma and Ba, 2015), or of AdamW (Loshchilov and Hutter, 2019)."""
    mean, square = moments
    size, root = factors[:2]
    mean.lerp_(gradient, 1 - FIRST)
    square.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
    for kept in factors[2:]:
        values.mul_(kept)
    values.sub_(size * (mean / (square.sqrt() / root + SMALLEST)))


def sgd(
    values: Tensor, gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]
) -> None:
    """Take a step along the gradient."""
    values.sub_(factors[0] * gradient)


OPTIMISERS = {
    "adam": Optimiser(2, _adam_factors, adam),
    "adamw": Optimiser(2, _adamw_factors, adam),
    "sgd": Optimiser(0, lambda number, rate: (rate,), sgd),
}
