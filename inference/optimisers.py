"""Optimisers as functions of tensors, so that their step can be part of a graph.

Each is a pair: the first moments, and a function from values, gradients, moments and learning rate
to new values and moments. They follow `torch.optim`, whose own step changes tensors in place and
reads numbers out of them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BETAS, SMALLEST, DECAY = (0.9, 0.999), 1e-8, 0.01
"""The defaults of `torch.optim.Adam` and `AdamW`."""


def start_adam(values: list[Tensor]) -> dict[str, Any]:
    """Return moments of 0 and a count of 0."""
    zeros = [torch.zeros_like(v) for v in values]
    squares = [torch.zeros_like(v) for v in values]
    return {"mean": zeros, "square": squares, "count": torch.zeros((), dtype=torch.float64)}


def adam(
    values: list[Tensor],
    gradients: list[Tensor],
    moments: dict[str, Any],
    rate: Tensor,
    decay: float = 0.0,
) -> tuple[list[Tensor], dict[str, Any]]:
    """Return values and moments after a step: Adam, with AdamW's decay (Kingma and Ba, 2015)."""
    count = moments["count"] + 1
    first, second = BETAS
    size = rate / (1 - first**count)
    root = (1 - second**count).sqrt()
    mean = [torch.lerp(m, g, 1 - first) for m, g in zip(moments["mean"], gradients, strict=True)]
    square = [
        second * v + (1 - second) * g * g for v, g in zip(moments["square"], gradients, strict=True)
    ]
    updated = []
    for value, m, v in zip(values, mean, square, strict=True):
        kept = value * (1 - rate * decay) if decay else value
        updated.append(kept - size * (m / (v.sqrt() / root + SMALLEST)))
    return updated, {"mean": mean, "square": square, "count": count}


def start_sgd(values: list[Tensor]) -> None:
    """Return nothing: there are no moments."""


def sgd(
    values: list[Tensor], gradients: list[Tensor], moments: None, rate: Tensor
) -> tuple[list[Tensor], None]:
    """Return values after a step along the gradients."""
    return [v - rate * g for v, g in zip(values, gradients, strict=True)], None


OPTIMISERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "adam": (start_adam, adam),
    "adamw": (start_adam, partial(adam, decay=DECAY)),
    "sgd": (start_sgd, sgd),
}
