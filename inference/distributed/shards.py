r"""A batch in a fixed number of parts, so that the bits do not depend on the processes.

    gradient = sum_s w_s g_s,    w_s = rows of shard s / rows of the batch,    s = 0..S-1

Each shard's gradient is one computation of one shape, whoever makes it, and the sum has the form of
a binary tree over s. A process adds the shards that it has as far as the tree joins them; what is
left is exchanged so that each process adds up its part of the vector, and tells all the others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.distributed.processes import ALONE, Processes
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    Node = tuple[int, int]

USUAL = 8
"""Shards of a batch where several processes may divide it."""
SMALL = 2**15
"""Vectors up to so many numbers go to all processes at once: fewer messages, if more numbers."""


@dataclass(frozen=True, slots=True)
class Shards:
    """Logical shards of a batch, and those that this process computes.

    Attributes:
        number: S.
        processes: who divides them.
        experts: whether they divide the experts too.

    >>> import torch
    >>> from pyromoe.inference import Shards
    >>> shards = Shards(4)
    >>> [len(part) for part in shards.of(torch.zeros(10, 3))]  # rows, (N, D)
    [3, 3, 2, 2]
    >>> shards.total([torch.ones(2)] * 4)
    tensor([4., 4.])
    """

    number: int = 1
    processes: Processes = ALONE
    experts: bool = False

    def __post_init__(self) -> None:
        if self.number < self.processes.size:
            several = "s" * (self.number > 1)
            what = f"{self.number} shard{several} for {self.processes.size} processes"
            raise InputError(what, field="fit.shards", remedy="set it to a multiple of these")

    @property
    def mine(self) -> range:
        """The shards of this process."""
        return self._of(self.processes.rank)

    @property
    def divided(self) -> bool:
        """Whether there is anything to divide."""
        return self.number > 1

    def of(self, tensor: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        """Return this process's parts, (M, ...), of rows, (N, ...); of few rows some are empty."""
        parts = tensor.tensor_split(self.number, dim)
        return parts[self.mine.start : self.mine.stop]

    def total(self, own: Sequence[Tensor]) -> Tensor:
        """Return the sum over all shards, (P,), in every process, the bits the same with any W.

        Args:
            own: a vector, (P,), for each shard of this process.
        """
        known = {(s, s + 1): vector for s, vector in zip(self.mine, own, strict=True)}
        if self.processes.size == 1:
            return _sum(0, self.number, known)
        nodes = [list(_nodes(0, self.number, self._of(r))) for r in range(self.processes.size)]
        sums = [_sum(*node, known) for node in nodes[self.processes.rank]]
        most = max(map(len, nodes))
        sums += [torch.zeros_like(sums[0])] * (most - len(sums))
        return self._exchanged(torch.stack(sums), nodes)

    def _exchanged(self, sums: Tensor, nodes: list[list[Node]]) -> Tensor:
        """Return the total of sums, (n, P), of which every process has its own."""
        size, length = self.processes.size, sums.shape[1]
        if length <= SMALL:
            return _sum(0, self.number, _named(nodes, self.processes.gather(sums)))
        # Each process adds up a part of the vector: two times P numbers sent, with any W.
        padded = torch.nn.functional.pad(sums, (0, -length % size))
        parts = padded.unflatten(1, (size, -1)).transpose(0, 1)  # (W, n, P / W)
        part = _sum(0, self.number, _named(nodes, list(self.processes.exchange(parts))))
        return torch.cat(self.processes.gather(part))[:length]

    def _of(self, rank: int) -> range:
        size = self.processes.size
        return range(rank * self.number // size, (rank + 1) * self.number // size)


def usual(processes: Processes) -> int:
    """Return how many shards there are where a spec does not say: one, if a process is alone."""
    return max(USUAL, processes.size) if processes.launched else 1


def key(base: int, step: int, shard: int) -> int:
    """Return the seed of the noise of one shard in one step: nobody need know what came before."""
    digest = hashlib.blake2b(f"{base} {step} {shard}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _nodes(low: int, high: int, mine: range) -> Iterator[Node]:
    """Yield the largest parts of the tree over low..high that lie in a range."""
    if mine.start <= low and high <= mine.stop:
        yield low, high
    elif low < mine.stop and mine.start < high:
        middle = (low + high) // 2
        yield from _nodes(low, middle, mine)
        yield from _nodes(middle, high, mine)


def _named(nodes: list[list[Node]], each: Sequence[Tensor]) -> dict[Node, Tensor]:
    """Return the sums by their places in the tree, from those that each process has, (n, P)."""
    pairs = zip(nodes, each, strict=True)
    return {node: sums[i] for names, sums in pairs for i, node in enumerate(names)}


def _sum(low: int, high: int, known: Mapping[Node, Tensor]) -> Tensor:
    """Return the sum over low..high, in the order of the tree."""
    if (low, high) in known:
        return known[low, high]
    middle = (low + high) // 2
    return _sum(low, middle, known) + _sum(middle, high, known)
