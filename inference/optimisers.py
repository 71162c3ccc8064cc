"""Optimisers as functions of one flat vector of parameters, so that they can be part of a graph.

They follow `torch.optim`, whose own step reads numbers out of tensors. What depends on the number
of the step alone is a factor, computed outside of the graph: in it, it would be computed anew for
every parameter.

A step is refused where a number that it needs or makes is not finite, or too large for its square
to be one: parameters, moments and state stay as they were. Adam would keep the square of such a
gradient, and stand still for good.
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
LARGEST = 1e19
"""A norm above it has no square in single precision."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A way to take a step.

    Attributes:
        moments: how many vectors like the parameters it keeps.
        sizes: its factors, from the number of the step, 1 for the first, and the learning rate.
        rule: changes values and moments, given the gradient, the factors, how much of the step is
            taken, and 1 where it is, 0 where it is refused and nothing may change.
        decoupled: whether weights decay beside the gradient, not as a part of it.
        weight_decay: how fast.
    """

    moments: int
    sizes: Callable[[int, float], tuple[float, ...]]
    rule: Callable[[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor], Tensor, Tensor], None]
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
        scale: Tensor,
        fine: Tensor,
    ) -> None:
        """Change values and moments.

        Args:
            values: the parameters, (P,) or (R, P).
            gradient: of the loss in them.
            moments: of gradients before.
            factors: scalars.
            scale: how much of the step is taken, (1,) or (R, 1).
            fine: 1 where it is taken, 0 where nothing is to change, (1,) or (R, 1).
        """
        if self.decoupled:
            *factors, kept = factors
            values.mul_(torch.where(fine > 0, kept, 1.0))
        elif self.weight_decay:
            gradient = gradient.add(values, alpha=self.weight_decay)
        # Zeros where it is refused; both operations leave the bits of other numbers alone.
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0) * fine
        self.rule(values, gradient, moments, factors, scale * fine, fine)

    def with_gradient(self, gradient: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
        """Return the whole step: of factors, scale, moments, and what the gradient takes.

        It changes values and moments, and returns the loss, which steps were fine, (1,) or (R, 1),
        and the next state.
        """

        def step(factors: Tensor, scale: Tensor, *given: Tensor) -> list[Tensor]:
            moments, rest = given[: self.moments], given[self.moments :]
            loss, found, *state = gradient(*rest)
            values, *before = rest[: 1 + len(state)]
            with torch.no_grad():
                fine = is_fine(loss, [found, values, *moments, *state]).to(values.dtype)
                kept = [_kept(*pair, fine) for pair in zip(state, before, strict=True)]
                self.update(values, found, moments, factors.unbind(), scale, fine)
            return [loss, fine, *kept]

        return step


def is_fine(loss: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Return which losses, (R,), and tensors, (R, ...), have no number near overflow, (R, 1).

    Without the dimension R it is (1,).
    """
    shape = (*loss.shape, -1)
    norms = (torch.linalg.vector_norm(t.reshape(shape), dim=-1, keepdim=True) for t in tensors)
    return sum(norms, loss.abs()[..., None]) <= LARGEST


def _kept(state: Tensor, before: Tensor, fine: Tensor) -> Tensor:
    """Return a leaf of the next state, or as it was where the step is refused."""
    pair = (t.reshape(*fine.shape[:-1], -1) for t in (state, before))
    return torch.where(fine > 0, *pair).reshape(state.shape)


def _adam_factors(number: int, rate: float) -> tuple[float, ...]:
    return rate / (1 - FIRST**number), math.sqrt(1 - SECOND**number)


def adam(
    values: Tensor,
    gradient: Tensor,
    moments: Sequence[Tensor],
    factors: Sequence[Tensor],
    part: Tensor,
    fine: Tensor,
) -> None:
    """Take a step of Adam (Kingma and Ba, 2015)."""
    mean, square = moments
    size, root = factors
    mean.lerp_(gradient, (1 - FIRST) * fine)
    square.mul_(torch.where(fine > 0, SECOND * fine, 1.0))
    square.addcmul_(gradient, gradient, value=1 - SECOND)
    values.sub_(size * part * (mean / (square.sqrt() / root + SMALLEST)))


def sgd(
    values: Tensor,
    gradient: Tensor,
    moments: Sequence[Tensor],
    factors: Sequence[Tensor],
    part: Tensor,
    fine: Tensor,
) -> None:
    """Take a step along the gradient."""
    values.sub_(factors[0] * part * gradient)


OPTIMISERS = {
    "adam": Optimiser(2, _adam_factors, adam),
    # Loshchilov and Hutter (2019).
    "adamw": Optimiser(2, _adam_factors, adam, decoupled=True, weight_decay=DECAY),
    "sgd": Optimiser(0, lambda number, rate: (rate,), sgd),
}


def as_optimiser(optimiser: str | Optimiser) -> Optimiser:
    """Return an optimiser by its name, or as it is."""
    return OPTIMISERS[optimiser] if isinstance(optimiser, str) else optimiser
