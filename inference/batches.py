"""The rows of an epoch, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


class Batches:
    """Rows in an order of its own for each restart, or all of them at once.

    Args:
        x: the rows, (N, D).
        y: their responses, (N,).
        size: rows in a batch, at most N.
        orders: where each restart's order comes from.

    Attributes:
        number: how many batches make an epoch; the last may be shorter than the others.
        began: the states of the orders at the beginning of this epoch.
    """

    def __init__(self, x: Tensor, y: Tensor, size: int, orders: Sequence[torch.Generator]) -> None:
        self.x, self.y, self.size, self.orders = x, y, size, orders
        self.number = -(-len(x) // size)
        self.began: list[Tensor] = []

    @property
    def stacked(self) -> bool:
        """Whether each restart has rows of its own, (R, size, D)."""
        return len(self.orders) > 1 and self.size < len(self.x)

    def left(self, taken: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch of which some were taken before the fit was stopped."""
        if self.size == len(self.x):
            yield from [(self.x, self.y)][taken:]
            return
        if taken:
            for generator, state in zip(self.orders, self.began, strict=True):
                generator.set_state(state)
        self.began = [generator.get_state() for generator in self.orders]
        each = [torch.randperm(len(self.x), generator=generator) for generator in self.orders]
        order = torch.stack(each) if len(each) > 1 else each[0]
        for rows in order.split(self.size, -1)[taken:]:
            yield self.x[rows], self.y[rows]
