"""The processes of one fit, and what they tell each other.

Nothing that is sent is ever executed: tensors travel as they are, all else as JSON.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist

from pyromoe.inference.distributed.device import own_gpu
from pyromoe.inference.distributed.ending import once, over_before
from pyromoe.inference.distributed.meeting import Place, meet, within
from pyromoe.inference.distributed.watching import watched
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pyromoe.inference.distributed.meeting import Meeting

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another that is alive but does not come, in a long step perhaps."""

BEGUN = "begun"
LOOPBACK = Path("/sys/class/net/lo")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a fit; all of them call the same, in the same order.

    Attributes:
        rank: which it is, from 0.
        size: W, how many there are.
        launched: whether torchrun started them.
        meeting: what they share beside tensors; None for one that is alone.

    >>> import torch
    >>> from pyromoe.inference import Processes
    >>> alone = Processes()
    >>> alone.gather(torch.ones(2)), alone.said({"n": 3})  # what each of them gave
    ([tensor([1., 1.])], [{'n': 3}])
    """

    rank: int = 0
    size: int = 1
    launched: bool = False
    meeting: Meeting | None = None

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    @property
    def begun(self) -> bool:
        """Whether an attempt before this one, which was lost, began to write."""
        return self.meeting is not None and self.meeting.common.check([BEGUN])

    def begin(self) -> None:
        """Note for attempts after this one that this one begins to write."""
        if self.meeting is not None:
            self.meeting.common.set(BEGUN, "")

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors, (...), that every process gave, in their order, for one of (...)."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def exchange(self, parts: Tensor) -> Tensor:
        """Give part r of (W, ...) to process r; return what each gave this one, (W, ...)."""
        if self.size == 1:
            return parts
        found = torch.empty_like(parts)
        dist.all_to_all_single(found, parts.contiguous())
        return found

    def of_first(self, tensor: Tensor) -> Tensor:
        """Return what process 0 gave, (...), in all of them, for a tensor of its shape, (...)."""
        if self.size == 1:
            return tensor
        found = tensor.contiguous().clone()
        dist.broadcast(found, 0)
        return found

    def bytes_of_first(self, content: bytes | None) -> bytes | None:
        """Return what process 0 gave, None included."""
        if self.size == 1:
            return content
        length = -1 if content is None else len(content)
        length = int(self.of_first(torch.tensor(length)))
        if length < 0:
            return None
        given = torch.zeros(length, dtype=torch.uint8)
        if self.first and content:
            given = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return self.of_first(given).numpy().tobytes() if length else b""

    def gathered(self, content: bytes) -> list[bytes]:
        """Return what every process gave, of any length, in their order."""
        if self.size == 1:
            return [content]
        lengths = [int(n) for n in self.gather(torch.tensor(len(content)))]
        given = torch.zeros(max(1, *lengths), dtype=torch.uint8)
        if content:
            given[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        each = zip(self.gather(given), lengths, strict=True)
        return [found[:length].numpy().tobytes() for found, length in each]

    def said(self, value: Any) -> list[Any]:
        """Return what every process gave, of what JSON holds, in their order."""
        return [json.loads(each) for each in self.gathered(json.dumps(value).encode())]


ALONE = Processes()


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun started with this one, and leave them at the end.

    Without torchrun this process is alone. Tensors on the CPU go through gloo, those on a GPU
    through NCCL.

    >>> from pyromoe.inference import joined
    >>> with joined() as processes:
    ...     processes.size
    1
    """
    if not launched():
        yield ALONE
        return
    place = Place.told()
    common = place.store()
    over_before(common)
    if place.attempt and not place.kept:  # the store is new, and knows of no attempt before
        common.set(BEGUN, "")
    meeting = meet(common, place.rank, place.size)
    if place.local and LOOPBACK.exists():  # gloo would look up what this machine is called
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK.name)
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(own_gpu())
    with once(common, first=place.rank == 0), watched(meeting.store, place):
        dist.init_process_group(
            backend,
            store=within("group", meeting.store),
            rank=place.rank,
            world_size=place.size,
            timeout=PATIENCE,
        )
        yield Processes(place.rank, place.size, True, meeting)
    dist.destroy_process_group()


def agree(processes: Processes, what: str, error: InputError | None = None) -> None:
    """See that every process found the same, data for instance.

    Args:
        processes: which call this.
        what: what this one found, as a text.
        error: what went wrong here, if anything did.

    Raises:
        InputError: the first error of any of them, or naming one that found something else.
    """
    if processes.size == 1:
        if error is not None:
            raise error
        return
    each = processes.said({"found": what, "error": None if error is None else str(error)})
    for rank, one in enumerate(each):
        if one["error"] is not None:
            if error is not None and one["error"] == str(error):
                raise error
            raise InputError(f"process {rank}: {one['error']}")
    for rank, one in enumerate(each):
        if one["found"] != each[0]["found"]:
            remedy = "give every process the same spec and the same files"
            raise InputError(f"process {rank} has other data than process 0", remedy=remedy)
