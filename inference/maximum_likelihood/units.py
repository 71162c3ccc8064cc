r"""Predictors in their own units, searched as if they had mean 0 and spread 1.

    W x + b = V (x - mean) / sd + c,    W = V / sd,    b = c - V mean / sd

A search for V and c in the place of the first layers' W and b does not depend on the units of the
predictors, nor do the first values. The prior is still that of W and b.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts

STANDARD = 0.1
"""Means and spreads this near to 0 and 1 are left as they are."""


def units(model: MixtureOfExperts, places: dict[str, Tensor], x: Tensor) -> Tensor | None:
    """Return the matrix, (P, P), from what is searched to the parameters; None for the same.

    Args:
        model: whose first layers see columns of x.
        places: where each parameter lies in a vector, by its name in the model.
        x: the rows, (N, D), with their extras.
    """
    if not x.shape[1]:
        return None
    mean, sd = x.mean(0), x.std(0, correction=0)
    sd = torch.where(sd > 0, sd, 1.0)
    matrix = torch.eye(sum(place.numel() for place in places.values()), dtype=x.dtype)
    changed = False
    for part, columns in (("experts", model.expert_columns), ("gate", model.gate_columns)):
        weight, bias = (places.get(f"{part}.{name}_0") for name in ("weight", "bias"))
        m, s = mean[columns], sd[columns]
        near = torch.cat([m.abs(), (s - 1).abs()]) <= STANDARD
        if weight is None or bias is None or weight.shape[-2:-1] != m.shape or near.all():
            continue
        changed = True
        for d in range(len(m)):
            matrix[weight[:, d], weight[:, d]] = 1 / s[d]
            matrix[bias[:, 0], weight[:, d]] = -m[d] / s[d]
    return matrix if changed else None
