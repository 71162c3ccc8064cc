"""The form of a call: what a graph depends on, without the values of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Call:
    """A form, with the arguments of the first call that had it as an example.

    Attributes:
        args: of the model.
        names: of the options that change.
        stacked: whether tensors have a slice for each member.
        key: equal for calls of one form.
    """

    args: tuple[Any, ...]
    names: tuple[str, ...]
    stacked: bool
    key: object

    def of(self, r: int) -> list[Any]:
        """Return the arguments of a member."""
        return [a[r] if self.stacked and torch.is_tensor(a) else a for a in self.args]

    def filled(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Return the arguments with other tensors."""
        given = iter(tensors)
        return [next(given) if torch.is_tensor(a) else a for a in self.args]


def tensors_in(args: Sequence[Any]) -> list[Tensor]:
    """Return the tensors among arguments."""
    return [a for a in args if torch.is_tensor(a)]


def form(argument: Any) -> object:
    """Return what a graph depends on: shape and type of a tensor, anything else itself."""
    return (argument.shape, argument.dtype) if torch.is_tensor(argument) else argument
