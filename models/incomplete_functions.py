r"""Incomplete gamma and beta functions and Owen's T, of tensors: what torch has not, by SciPy.

    P(a, x) = 1 / Gamma(a) int_0^x t^(a - 1) exp(-t) dt,    Q = 1 - P
    I_x(a, b) = 1 / B(a, b) int_0^x t^(a - 1) (1 - t)^(b - 1) dt

They have no gradients; NaN gives NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scipy import special  # type: ignore[import-untyped]  # no stubs

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def lower_gamma(a: Tensor, x: Tensor) -> Tensor:
    """Return P(a, x), for x >= 0."""
    return _applied(special.gammainc, a, x)


def upper_gamma(a: Tensor, x: Tensor) -> Tensor:
    """Return Q(a, x), for x >= 0."""
    return _applied(special.gammaincc, a, x)


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Tensor:
    """Return I_x(a, b); rest is 1 - x, with all the digits that x near 1 has lost."""
    small = torch.finfo(x.dtype).tiny
    a, b = a.clamp_min(small), b.clamp_min(small)
    near_one = _applied(special.betaincc, b, a, rest)
    return torch.where(x < 0.5, _applied(special.betainc, a, b, x), near_one)


def owens_t(h: Tensor, a: Tensor) -> Tensor:
    """Return the probability of 0 < Y < a X, X > h, for two independent standard normals."""
    return _applied(special.owens_t, h, a)


def _applied(function: Callable[..., Any], *arguments: Tensor) -> Tensor:
    given = torch.broadcast_tensors(*(t.detach() for t in arguments))
    return torch.as_tensor(function(*(t.numpy() for t in given)), dtype=given[0].dtype)
