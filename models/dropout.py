r"""Dropout: hidden units left out at random while a network is trained.

    h' = m h / (1 - p),    m ~ Bernoulli(1 - p)

A mask of each hidden layer is drawn once a step, from noise that is given, for every network, row
and unit: all evaluations in the step see the same. Networks leave nothing out where no masks are
in force, or where they are not in training (`module.eval()`). Srivastava et al. (2014).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


class Masks:
    """The masks of one step, each drawn when it is first asked for.

    Args:
        normal: returns standard normal numbers of the shape and type of a tensor.
    """

    def __init__(self, normal: Callable[[Tensor], Tensor]) -> None:
        self.normal = normal
        self.known: dict[tuple[int, int], Tensor] = {}

    def of(self, network: object, layer: int, like: Tensor, dropout: float) -> Tensor:
        """Return m / (1 - p), of the shape of `like`, for a layer of a network."""
        key = (id(network), layer)
        if key not in self.known:
            # Any noise has normal numbers: they are above this with probability 1 - p.
            kept = self.normal(like.detach()) > NormalDist().inv_cdf(dropout)
            self.known[key] = kept.to(like.dtype) / (1 - dropout)
        return self.known[key]


_IN_FORCE: ContextVar[Masks | None] = ContextVar("masks_in_force", default=None)


@contextmanager
def dropping(masks: Masks) -> Iterator[None]:
    """Let networks with dropout take their masks from here for a while."""
    token = _IN_FORCE.set(masks)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def masks_in_force() -> Masks | None:
    """Return the masks that are in force, if any are."""
    return _IN_FORCE.get()
