"""Derivatives of a vector, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return the derivatives of a vector, (Q, P), by as many passes as the shorter side has."""
    values = at.detach().clone().requires_grad_()
    found = function(values)
    if len(found) <= len(values):
        rows = [_row(entry, values) for entry in found.unbind()]
        return torch.stack(rows)
    # The product with a vector is linear in it: its derivatives are columns.
    by = torch.zeros_like(found, requires_grad=True)
    (products,) = torch.autograd.grad(found, values, by, create_graph=True)
    columns = [_row(entry, by) for entry in products.unbind()]
    return torch.stack(columns, -1)


def _row(entry: Tensor, values: Tensor) -> Tensor:
    if not entry.requires_grad:
        return torch.zeros_like(values)
    (row,) = torch.autograd.grad(entry, values, retain_graph=True, allow_unused=True)
    return torch.zeros_like(values) if row is None else row
