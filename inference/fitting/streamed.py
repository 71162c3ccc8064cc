"""The rows of an epoch, a batch at a time, of a table that is not held in memory.

The order of an epoch follows from the seed, the number of the epoch and the shard alone: blocks in
an order by chance, and the rows that follow each other in it shuffled within windows of half the
buffer. One window is fitted to while the next one is read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.inference.distributed.device import device_of
from pyromoe.inference.fitting.batches import Batch, Batches
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.models.data.divide import Part
from pyromoe.models.data.row_parts import TRAIN
from pyromoe.models.data.stream import changed
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from torch import Tensor

    from pyromoe.inference.distributed.shards import Shards
    from pyromoe.models import Spec
    from pyromoe.models.data.divide import Data
    from pyromoe.models.data.stream import Chosen, Segment, Stream
    from pyromoe.models.tables.columns import IntArray

ORDER = 1002
"""Beside the seed, what the order of an epoch follows from."""
Window = tuple["Tensor", "Tensor"]


@dataclass
class Epoch:
    """The number of the epoch that comes next, which a checkpoint holds as a generator's state."""

    number: int = 0

    def get_state(self) -> Tensor:
        """Return it, (1,)."""
        return torch.tensor([self.number])

    def set_state(self, state: Tensor) -> None:
        """Go back to it, (1,)."""
        self.number = int(state)


class StreamedBatches:
    """Batches of the training rows of some shards; restarts side by side share them.

    Args:
        stream: the rows.
        size: rows in a batch, of all shards together.
        mine: the shards of this process.
        spec: the specification, with seed and precision.

    Attributes:
        number: how many batches make an epoch; the last may be shorter than the others.
        orders: the number of the epoch.
        began: its state at the beginning of this epoch.
    """

    stacked = False
    """Whether each restart has rows of its own."""

    def __init__(self, stream: Stream, size: int, mine: range, spec: Spec) -> None:
        self.stream, self.mine, self.spec = stream, mine, spec
        self.device = device_of(spec)
        number = len(stream.shards)
        self.size = max(1, size // number)  # of each shard's part of a batch
        self.window = max(1, stream.buffer // 2 // number // self.size) * self.size
        self.training = [sum(segment.training for segment in shard) for shard in stream.shards]
        self.number = -(-max(self.training) // self.size)
        self.orders, self.began = [Epoch()], list[torch.Tensor]()
        bare, encoding = stream.blocks.bare(), stream.encoding
        part = Part(encoding.design(bare), encoding.response(bare), np.arange(0))
        self.empty = to_tensors(part, spec)

    def left(self, taken: int) -> Iterator[Batch]:
        """Yield the batches of an epoch of which some were taken before the fit was stopped."""
        (epoch,) = self.orders
        if taken:
            epoch.set_state(self.began[0])
        self.began = [epoch.get_state()]
        now, epoch.number = epoch.number, epoch.number + 1
        with ThreadPoolExecutor(1) as pool:
            shards = [_Shard(self, shard, now, taken, pool) for shard in self.mine]
            for number in range(taken, self.number):
                begin = number * self.size
                rows = sum(min(max(n - begin, 0), self.size) for n in self.training)
                pieces = [shard.take() for shard in shards]
                yield Batch([(x.to(self.device), y.to(self.device)) for x, y in pieces], rows)
            for shard in shards:
                shard.end()

    def windows(self, shard: int, epoch: int, first: int) -> Iterator[Window]:
        """Yield the training rows of a shard in the order of an epoch, from a window on."""
        key = [self.spec.seed, ORDER, shard, epoch]
        segments = self.stream.shards[shard]
        order = [segments[i] for i in np.random.default_rng([*key, 0]).permutation(len(segments))]
        total, place = self.training[shard], first * self.window
        window = self._filled(total - place, [*key, first + 1])
        for chosen in self._from(order, place):
            taken = 0
            while taken < len(chosen.x):
                if not window.room:
                    raise changed(self.stream.blocks)
                taken += window.add(chosen, taken)
                if window.room:
                    continue
                yield window.x, window.y
                place, first = place + len(window.x), first + 1
                window = self._filled(total - place, [*key, first + 1])
        if window.room:
            raise changed(self.stream.blocks)

    def _filled(self, rows: int, key: Sequence[int]) -> _Filled:
        x, y = (like.new_empty(min(self.window, rows), *like.shape[1:]) for like in self.empty)
        return _Filled(x, y, np.random.default_rng(key).permutation(len(x)))

    def _from(self, order: Sequence[Segment], place: int) -> Iterator[Chosen]:
        """Yield the training rows of segments, but for so many of the first."""
        for segment in order:
            if place >= segment.training:
                place -= segment.training
                continue
            for chosen in self.stream.read(segment, TRAIN):
                skipped = min(place, len(chosen.x))
                place -= skipped
                if skipped < len(chosen.x):
                    yield type(chosen)(chosen.x[skipped:], chosen.y[skipped:])


def batches_of(
    data: Data,
    rows: tuple[Tensor, Tensor],
    size: int,
    orders: Sequence[torch.Generator],
    shards: Shards,
    spec: Spec,
) -> Batches | StreamedBatches:
    """Return the batches of data in memory, the rows x and y, or of a stream."""
    if data.stream is None:
        return Batches(*rows, size, orders, shards)
    if len(data.stream.shards) != shards.number:
        what = f"{len(data.stream.shards)} shards of the rows, and {shards.number} of a batch"
        raise InputError(what, field="fit.shards", remedy="set it where the data are read too")
    return StreamedBatches(data.stream, size, shards.mine, spec)


class _Filled:
    """A window that is being filled, its rows at places by chance."""

    def __init__(self, x: Tensor, y: Tensor, places: IntArray) -> None:
        self.x, self.y, self.places = x, y, places

    @property
    def room(self) -> int:
        """For how many rows there is room left."""
        return len(self.places)

    def add(self, chosen: Chosen, taken: int) -> int:
        """Take what there is room for after so many rows; return how many these are."""
        number = min(self.room, len(chosen.x) - taken)
        places, self.places = self.places[:number], self.places[number:]
        self.x.numpy()[places] = chosen.x[taken : taken + number]
        self.y.numpy()[places] = chosen.y[taken : taken + number]
        return number


class _Shard:
    """What one shard gives to the batches; its next window is read meanwhile."""

    def __init__(
        self, batches: StreamedBatches, shard: int, epoch: int, taken: int, pool: ThreadPoolExecutor
    ) -> None:
        self.size, self.empty, self.pool = batches.size, batches.empty, pool
        rows = batches.training[shard]
        first = min(taken * batches.size, max(rows - 1, 0)) // batches.window
        self.skipped = taken - first * batches.window // batches.size
        self.windows = batches.windows(shard, epoch, first)
        self.ahead: Future[Window | None] | None = pool.submit(next, self.windows, None)
        self.rest: list[Window] = []

    def take(self) -> Window:
        """Return the next rows; none where there are no more."""
        if not self.rest and self.ahead is not None:
            window = self.ahead.result()
            self.ahead = window and self.pool.submit(next, self.windows, None)
            x, y = window or self.empty
            self.rest = [*zip(x.split(self.size), y.split(self.size), strict=True)]
            self.rest = self.rest[self.skipped :][::-1]
            self.skipped = 0
        return self.rest.pop() if self.rest else self.empty

    def end(self) -> None:
        """See that nothing is left."""
        if self.ahead is not None:
            self.ahead.result()
