"""The entries that integers z choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

FEW = 256
"""Up to so many comparisons a datum are faster than an index, whose gradient is a slow scatter."""


def pick(values: Tensor, z: Tensor) -> Tensor:
    """Return the chosen entry of every row, (S, N, ...).

    Args:
        values: one for each row and choice, (N, K, ...).
        z: which, (S, N) or (S, 1); S may be any number of dimensions.
    """
    rows, number = values.shape[:2]
    if z.numel() * number > FEW * rows:
        return values[torch.arange(rows, device=z.device), z]
    chosen = z[..., None] == torch.arange(number, device=z.device)  # (S, N, K)
    within = values.dim() - 2
    chosen = chosen.reshape(chosen.shape + (1,) * within)
    return torch.where(chosen, values, 0.0).sum(-1 - within)
