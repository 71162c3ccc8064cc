"""Optimisers as functions of one flat vector of parameters, so that they can be part of a graph.

They follow `torch.optim`, whose own step reads numbers out of tensors. What depends on the number
of the step alone is a factor, computed outside of the graph: in it, it would be computed anew for
every parameter.

What a step would do is known before it is done, and with it whether it is fine; what is not fine
is left undone. Adam would keep the square of one gradient that is too large, and stand still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from pyromoe.models.specs.fit_settings import DECAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

FIRST, SECOND, SMALLEST = 0.9, 0.999, 1e-8
"""The defaults of `torch.optim.Adam` and `AdamW`."""
LARGEST = 1e18
"""A gradient whose norm is larger has no square in single precision, and in none a meaning."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A way to take a step.

    Attributes:
        moments: how many vectors like the parameters it keeps.
        sizes: its factors, from the number of the step, 1 for the first, and the learning rate.
        rule: gives what is subtracted from the values, and the next moments, from the gradient, the
            moments and the factors, the first of them times how much of the step is taken.
        decoupled: whether weights decay beside the gradient, not as a part of it.
        weight_decay: how fast.
    """

    moments: int
    sizes: Callable[[int, float], tuple[float, ...]]
    rule: Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], list[Tensor]]
    decoupled: bool = False
    weight_decay: float = 0.0

    def decaying(self, weight_decay: float) -> Optimiser:
        """Return the same with another weight decay."""
        return replace(self, weight_decay=weight_decay)

    def factors(self, number: int, rate: float) -> tuple[float, ...]:
        """Return the factors of a step, the last of them what decoupled decay leaves of values."""
        kept = (1 - rate * self.weight_decay,) if self.decoupled else ()
        return (*self.sizes(number, rate), *kept)

    def move(
        self,
        values: Tensor,
        gradient: Tensor,
        moments: Sequence[Tensor],
        factors: Sequence[Tensor],
        scale: Tensor | float = 1.0,
    ) -> list[Tensor]:
        """Return what a step subtracts from the values, and the next moments.

        Args:
            values: the parameters, (P,) or (R, P).
            gradient: of the loss in them.
            moments: what is kept of gradients before.
            factors: scalars.
            scale: how much of the step is taken, (1,) or (R, 1).
        """
        if self.weight_decay and not self.decoupled:
            gradient = gradient.add(values, alpha=self.weight_decay)
        size, *others = factors[:-1] if self.decoupled else factors
        return self.rule(gradient, moments, [size * scale, *others])

    def take(
        self,
        values: Tensor,
        before: Sequence[Tensor],
        factors: Tensor,
        fine: Tensor,
        move: Tensor,
        *after: Tensor,
    ) -> list[Tensor]:
        """Change values by a step, and return what is held after it; where it is fine.

        Args:
            values: the parameters, (P,) or (R, P).
            before: what else is held, moments and leaves of states.
            factors: of the step, (F,).
            fine: where it is, (1,) or (R, 1); elsewhere all stays as it was.
            move: what is subtracted.
            *after: what else would be held after it.
        """
        if bool(fine.all() if fine.numel() > 1 else fine):
            self._apply(values, move, factors)
            return list(after)
        values.copy_(_where(fine, self._apply(values.clone(), move, factors), values))
        return [_where(fine, *pair) for pair in zip(after, before, strict=True)]

    def _apply(self, values: Tensor, move: Tensor, factors: Tensor) -> Tensor:
        return (values.mul_(factors[-1]) if self.decoupled else values).sub_(move)

    def with_gradient(self, gradient: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
        """Return the whole step: of factors, scale, moments, and what the gradient takes.

        It returns the loss, whether the step is fine, (1,) or (R, 1), what is subtracted from the
        values, the next moments and the leaves of the next state.
        """

        def step(factors: Tensor, scale: Tensor, *given: Tensor) -> list[Tensor]:
            moments, rest = given[: self.moments], given[self.moments :]
            loss, found, *state = gradient(*rest)
            with torch.no_grad():
                move, *after = self.move(rest[0], found, moments, factors.unbind(), scale)
                # The mean holds the gradient: where it is bounded, so are square and values.
                fine = is_fine(loss, [*(after[:1] or [found]), *state])
            return [loss, fine, move, *after, *state]

        return step


def is_fine(loss: Tensor, tensors: Sequence[Tensor], squares: Sequence[Tensor] = ()) -> Tensor:
    """Return whether a loss, (R,), and tensors, (R, ...), are finite and of bearable size, (R, 1).

    Without the dimension R it is (1,). Of squares the root counts.
    """

    def norm(tensor: Tensor) -> Tensor:
        each = tensor.reshape(*loss.shape, -1)
        found: Tensor = torch.linalg.vector_norm(each, dim=-1, keepdim=True)
        return found

    size = loss.abs()[..., None]
    for part in [*map(norm, tensors), *(norm(square).sqrt() for square in squares)]:
        size = size + part
    return size < LARGEST


def _where(fine: Tensor, after: Tensor, before: Tensor) -> Tensor:
    shape = (*fine.shape[:-1], -1)
    chosen = torch.where(fine, after.reshape(shape), before.reshape(shape))
    return chosen.reshape(after.shape)


def _adam_factors(number: int, rate: float) -> tuple[float, ...]:
    return rate / (1 - FIRST**number), math.sqrt(1 - SECOND**number)


def adam(gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Return a step of Adam (Kingma and Ba, 2015)."""
    size, root = factors
    mean = moments[0].lerp(gradient, 1 - FIRST)
    square = (moments[1] * SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
    return [size * (mean / (square.sqrt() / root + SMALLEST)), mean, square]


def sgd(gradient: Tensor, moments: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Return a step along the gradient."""
    return [factors[0] * gradient]


OPTIMISERS = {
    "adam": Optimiser(2, _adam_factors, adam),
    # Loshchilov and Hutter (2019).
    "adamw": Optimiser(2, _adam_factors, adam, decoupled=True, weight_decay=DECAY),
    "sgd": Optimiser(0, lambda number, rate: (rate,), sgd),
}


def as_optimiser(optimiser: str | Optimiser) -> Optimiser:
    """Return an optimiser by its name, or as it is."""
    return OPTIMISERS[optimiser] if isinstance(optimiser, str) else optimiser
