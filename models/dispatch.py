r"""Linear maps of chosen experts only.

    output_r = x_r W_{z_r},    rows sorted by z

The rows of one expert stand together, and torch's grouped product multiplies each group by its own
weights. It is exact: no capacity, no row dropped. On the CPU it takes float32 alone, in rows of
16 bytes; other numbers are multiplied group by group.
"""

from __future__ import annotations

import torch
from torch import Tensor, library
from torch.nn import functional

ALIGNED = 4
"""Numbers of float32 in 16 bytes."""


@library.custom_op("pyromoe::grouped_linear", mutates_args=())
def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Return x_r W_k, (R, P), for the rows r of each group k.

    Args:
        x: rows, those of one expert together, (R, D).
        weight: W of every expert, (K, D, P).
        ends: where the group of each expert ends, (K,), int32.
    """
    if not _is_fast(x, weight):
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


class Dispatch:
    """Rows sorted by the expert chosen for them, and the way back.

    Args:
        z: the chosen experts, (R,).
        number: K, how many experts there are.
    """

    def __init__(self, z: Tensor, number: int) -> None:
        self.z, self.order = z.sort(stable=True)
        experts = torch.arange(number, device=z.device)
        self.ends = torch.searchsorted(self.z, experts, right=True).to(torch.int32)

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
