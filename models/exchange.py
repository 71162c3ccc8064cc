"""Rows that processes send to each other, with gradients that go back the same way.

All processes call the same functions in the same order, each with rows of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pyro.distributions import Independent
from torch import distributed as dist
from torch.autograd import Function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class _Exchange(Function):
    """Rows to other processes; the gradient is the exchange of its rows, back to where they were.

    Written here because torch's own are deprecated, or have no second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup
    ) -> Tensor:
        ctx.back = received, sent, group
        there = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(there, rows.contiguous(), received, sent, group=group)
        return there

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Exchange.apply(*gradients, *ctx.back), None, None, None  # type: ignore[no-untyped-call]


class _Total(Function):
    """The sum over processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Total.apply(*gradients, ctx.group), None  # type: ignore[no-untyped-call]


class Exchange:
    """What the processes of a group send to each other, as seen from one of them.

    Args:
        group: of `torch.distributed`; all processes where it is None.

    Attributes:
        rank: the number of this one.
        size: W, how many there are.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group: Any = dist.group.WORLD if group is None else group
        self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)

    def share(self, number: int, rank: int | None = None) -> range:
        """Return which of so many things a process holds; this one where the rank is None."""
        rank = self.rank if rank is None else rank
        return range(rank * number // self.size, (rank + 1) * number // self.size)

    def rows(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Return the rows that other processes sent to this one, in the order of the processes.

        Args:
            rows: to be sent, (R, ...), those to one process together.
            sent: how many go to each process, (W,).
            received: how many come from each, (W,).
        """
        found: Tensor = _Exchange.apply(rows, [*sent], [*received], self.group)  # type: ignore[no-untyped-call]
        return found

    def told(self, numbers: Tensor) -> list[list[int]]:
        """Return the whole numbers, (M,), that each process tells, (W, M)."""
        found = [torch.empty_like(numbers) for _ in range(self.size)]
        dist.all_gather(found, numbers, group=self.group)
        each: list[list[int]] = torch.stack(found).tolist()
        return each

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over processes; a gradient of each reaches the values of all."""
        found: Tensor = _Total.apply(value, self.group)  # type: ignore[no-untyped-call]
        return found

    def in_first(self, part: Tensor, number: int) -> Tensor | None:
        """Return the parts of all processes, (K, ...), in process 0; None in the others.

        Args:
            part: what `share` gives to this process, (k, ...).
            number: K.
        """
        others = [0] * (self.size - 1)
        receives = [len(self.share(number, rank)) for rank in range(self.size)]
        came = receives if self.rank == 0 else [0] * self.size
        with torch.no_grad():
            found = self.rows(part, [len(part), *others], came)
        return found if self.rank == 0 else None


class Divided(Independent):
    """The law of values of which each process holds a part.

    Its log density is that of all values, in every process: losses of several processes whose
    weights add up to 1 then count the prior once.

    Args:
        law: of this process's part, its batch shape that of the values.
        exchange: of the processes that hold the parts.
    """

    def __init__(self, law: Any, exchange: Exchange) -> None:
        super().__init__(law, len(law.batch_shape))
        self.exchange = exchange

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of the values of all processes, a scalar, in nats."""
        return self.exchange.total(super().log_prob(value))  # type: ignore[no-untyped-call]

    def expand(self, batch_shape: Any, _instance: object = None) -> Divided:
        """Return itself: a site of weights stands in no plate."""
        if tuple(batch_shape):
            raise NotImplementedError("weights that processes divide stand in no plate")
        return self
