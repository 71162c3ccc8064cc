"""The smallest number at which something holds: bisection of the doubles themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

MANTISSA = 2**63 - 1
"""Every bit of a double but its sign."""


def smallest(holds: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Tensor:
    """Return the smallest double at which a condition holds that holds for all larger ones.

    No bracket is needed, and no tolerance: 64 halvings leave two neighbouring doubles, be the
    answer 1e-200, 1e200, or, of a condition on integers, an integer. Infinite where it never holds.

    Args:
        holds: of numbers of some shape, whether it does at each.
        shape: of the answer.
    """
    low, high = (
        _place(torch.full(shape, end, dtype=torch.float64)) for end in (-torch.inf, torch.inf)
    )
    for _ in range(64):
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # their sum may overflow
        does = holds(_double(middle))
        low, high = torch.where(does, low, middle), torch.where(does, middle, high)
    return _double(high) + 0.0  # not -0


def _place(value: Tensor) -> Tensor:
    """Return the place of doubles in their order, as integers."""
    return _flipped(value.view(torch.int64))


def _double(place: Tensor) -> Tensor:
    """Return the double at a place."""
    return _flipped(place).view(torch.float64)


def _flipped(bits: Tensor) -> Tensor:
    """Return the bits, those of a negative number but its sign turned: its size counts down."""
    return torch.where(bits < 0, bits ^ MANTISSA, bits)
