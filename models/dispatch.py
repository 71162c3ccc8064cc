r"""Linear maps of chosen experts only.

    output_r = x_r W_{z_r},    rows sorted by z

The rows of one expert stand together, and torch's grouped product multiplies each group by its own
weights. It is exact: no capacity, no row dropped. On the CPU it takes float32 alone, in rows of
16 bytes; other numbers are multiplied group by group, on a GPU in one product of groups that are
filled up to the largest, where that is not much more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, library
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNED = 4
"""Numbers of float32 in 16 bytes."""
GRIDS = ("cuda",)
"""Devices on which many small products take longer than a large one with gaps."""
SPARE = 8
"""A grid has at most so many times the places that are needed."""


@library.custom_op("pyromoe::grouped_linear", mutates_args=())
def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Return x_r W_k, (R, P), for the rows r of each group k.

    Args:
        x: rows, those of one expert together, (R, D).
        weight: W of every expert, (K, D, P).
        ends: where the group of each expert ends, (K,), int32.
    """
    if not _is_fast(x, weight):
        if grid := _grid(x, ends):
            return torch.bmm(grid.filled(x), weight)[grid.places]
        return torch.cat([rows @ w for rows, w in zip(_groups(x, ends), weight, strict=True)])
    rows, outputs = len(x), weight.shape[-1]
    product = functional.grouped_mm(
        _padded(x, 0, 1), _padded(weight, 1, 2), offs=_until(ends, rows)
    )
    return product[:rows, :outputs].contiguous()


@library.custom_op("pyromoe::grouped_linear_backward", mutates_args=())
def grouped_linear_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients in x, (R, D), and in the weights, (K, D, P)."""
    in_x = grouped_linear(gradient, weight.mT.contiguous(), ends)
    if not _is_fast(x, weight):
        if grid := _grid(x, ends):
            return in_x, torch.bmm(grid.filled(x).mT, grid.filled(gradient))
        pairs = zip(_groups(x, ends), _groups(gradient, ends), strict=True)
        return in_x, torch.stack([rows.T @ g for rows, g in pairs])
    left, right = _padded(x, 0, 1).T.contiguous(), _padded(gradient, 0, 1)
    in_weight = functional.grouped_mm(left, right, offs=_until(ends, len(x)))
    return in_x, in_weight[:, : x.shape[1], : gradient.shape[1]].contiguous()


@grouped_linear.register_fake
def _(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(len(x), weight.shape[-1])


@grouped_linear_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: object, output: object) -> None:
    ctx.save_for_backward(*inputs)  # type: ignore[misc]


def _backward(
    ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
) -> tuple[Tensor, Tensor, None]:
    in_x, in_weight = grouped_linear_backward(gradient.contiguous(), *ctx.saved_tensors)  # type: ignore[attr-defined]
    return in_x, in_weight, None


grouped_linear.register_autograd(_backward, setup_context=_keep)


def _of_members(in_dims: Sequence[int | None], *tensors: Tensor) -> tuple[tuple[Tensor, ...], int]:
    """Return arguments of R members as those of one with R times as many experts and rows."""
    number = next(t.shape[d] for t, d in zip(tensors, in_dims, strict=True) if d is not None)
    moved = [
        t.expand(number, *t.shape) if d is None else t.movedim(d, 0)
        for t, d in zip(tensors, in_dims, strict=True)
    ]
    *rows, ends = moved
    offsets = rows[0].shape[1] * torch.arange(number, device=ends.device, dtype=ends.dtype)
    return (*(r.flatten(0, 1) for r in rows), (ends + offsets[:, None]).flatten()), number


def _forward_of_members(
    info: object, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, ends: Tensor
) -> tuple[Tensor, int]:
    given, number = _of_members(in_dims, x, weight, ends)
    return grouped_linear(*given).unflatten(0, (number, -1)), 0


def _backward_of_members(
    info: object,
    in_dims: tuple[int | None, ...],
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    ends: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    given, number = _of_members(in_dims, gradient, x, weight, ends)
    in_x, in_weight = grouped_linear_backward(*given)
    return (in_x.unflatten(0, (number, -1)), in_weight.unflatten(0, (number, -1))), (0, 0)


grouped_linear.register_vmap(_forward_of_members)
grouped_linear_backward.register_vmap(_backward_of_members)


class Dispatch:
    """Rows sorted by the expert chosen for them, and the way back.

    Args:
        z: the chosen experts, (R,).
        number: K, how many experts there are.
    """

    def __init__(self, z: Tensor, number: int) -> None:
        self.z, self.order = z.sort(stable=True)
        counts = z.new_zeros(number).scatter_add(0, z, torch.ones_like(z))
        self.ends = counts.cumsum(0).to(torch.int32)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return x_r W_z + b_z, (R, P), for sorted rows, (R, D).

        Args:
            x: sorted rows.
            weight: (K, D, P).
            bias: (K, 1, P).
        """
        product: Tensor = grouped_linear(x, weight, self.ends)
        return product + bias[:, 0].index_select(0, self.z)

    def back(self, sorted_rows: Tensor) -> Tensor:
        """Return sorted rows, (R, ...), in the order in which z was given."""
        return torch.empty_like(sorted_rows).index_copy(0, self.order, sorted_rows)


def _is_fast(x: Tensor, weight: Tensor) -> bool:
    taken = x.dtype == torch.float32 and x.device.type == "cpu"
    return taken and len(x) > 0 and 0 not in weight.shape


@dataclass(frozen=True, slots=True)
class _Grid:
    """Groups as rows of a grid of K by the size of the largest."""

    number: int
    most: int
    places: tuple[Tensor, Tensor]

    def filled(self, x: Tensor) -> Tensor:
        """Return rows, (R, D), at their places, (K, M, D), zeros elsewhere."""
        found = x.new_zeros(self.number, self.most, x.shape[1])
        found[self.places] = x
        return found


def _grid(x: Tensor, ends: Tensor) -> _Grid | None:
    """Return where rows lie in a grid; None where groups one by one are better."""
    if x.device.type not in GRIDS or not len(x):
        return None
    sizes = ends.diff(prepend=ends.new_zeros(1))
    most = int(sizes.max())
    if most * len(ends) > SPARE * len(x):
        return None
    row = torch.arange(len(x), device=x.device)
    z = torch.searchsorted(ends, row, right=True, out_int32=False)
    return _Grid(len(ends), most, (z, row - (ends - sizes)[z]))


def _groups(x: Tensor, ends: Tensor) -> list[Tensor]:
    sizes = ends.diff(prepend=ends.new_zeros(1))
    return list(x.split(sizes.tolist()))


def _until(ends: Tensor, rows: int) -> Tensor:
    """Return the ends with the rows of padding, which are 0, in the last group."""
    added = torch.zeros_like(ends)
    added[-1] = -rows % ALIGNED
    return ends + added


def _padded(x: Tensor, *dimensions: int) -> Tensor:
    """Return x with zeros up to a multiple of 16 bytes in the given dimensions."""
    missing = [-x.shape[d] % ALIGNED if d in dimensions else 0 for d in range(x.dim())]
    if not any(missing):
        return x.contiguous()
    return functional.pad(x, [n for m in reversed(missing) for n in (0, m)])
