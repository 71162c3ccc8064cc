"""The rows of an epoch, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.distributed.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a step.

    Attributes:
        pieces: x and y of each of this process's shards: (m, D) and (m,), or (R, m, D) and (R, m)
            where each restart has rows of its own.
        rows: of the whole batch, of all shards.
    """

    pieces: list[tuple[Tensor, Tensor]]
    rows: int


class Batches:
    """Rows in an order of its own for each restart, or all of them at once.

    Args:
        x: the rows, (N, D).
        y: their responses, (N,).
        size: rows in a batch, at most N.
        orders: where each restart's order comes from.
        shards: into how many parts a batch is divided, and which are this process's.

    Attributes:
        number: how many batches make an epoch; the last may be shorter than the others.
        began: the states of the orders at the beginning of this epoch.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        size: int,
        orders: Sequence[torch.Generator],
        shards: Shards = Shards(),  # noqa: B008  # frozen
    ) -> None:
        self.x, self.y, self.size, self.orders, self.shards = x, y, size, orders, shards
        self.number = -(-len(x) // size)
        self.began: list[Tensor] = []

    @property
    def stacked(self) -> bool:
        """Whether each restart has rows of its own, (R, size, D)."""
        return len(self.orders) > 1 and self.size < len(self.x)

    def left(self, taken: int) -> Iterator[Batch]:
        """Yield the batches of an epoch of which some were taken before the fit was stopped."""
        if self.size == len(self.x):
            pieces = zip(self.shards.of(self.x), self.shards.of(self.y), strict=True)
            yield from [Batch(list(pieces), len(self.x))][taken:]
            return
        if taken:
            for generator, state in zip(self.orders, self.began, strict=True):
                generator.set_state(state)
        self.began = [generator.get_state() for generator in self.orders]
        each = [torch.randperm(len(self.x), generator=generator) for generator in self.orders]
        order = torch.stack(each) if len(each) > 1 else each[0]
        for rows in order.split(self.size, -1)[taken:]:
            own = self.shards.of(rows, -1)
            yield Batch([(self.x[part], self.y[part]) for part in own], rows.shape[-1])
