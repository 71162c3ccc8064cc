"""Responses drawn from a fitted mixture, and responses on the scale of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.models.blend import select
from pyromoe.models.tables.groups import NOTHING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.guides import Seeded
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.trace import Weights


def predictive(
    fit: Fit, x: Tensor, draws: int, noise: Seeded, weights: Weights, number: int = 0
) -> NDArray[Any]:
    """Return draws of y, (S, N), on the original scale; classes as their codes.

    Args:
        fit: the fit, with its data.
        x: the rows it was fitted to, (N, D).
        draws: S.
        noise: from which z is drawn.
        weights: of the model.
        number: of the call; each draws a y of its own.
    """
    found = original(fit, simulated(fit, x, draws, noise, weights, fit.spec.seed + number))
    if found.dtype.kind == "f":
        found = found.astype(x.numpy().dtype)  # decoding is done in double precision
    if fit.data is None or fit.encoding.group is None:
        return found
    found = found.astype(np.result_type(found, np.float32))
    found[:, fit.data.train.rows == NOTHING] = np.nan
    return found


def simulated(
    fit: Fit, x: Tensor, draws: int, noise: Seeded, weights: Weights, seed: int
) -> Tensor:
    """Return draws of z and then y given x, (S, N), encoded.

    Args:
        fit: the fit.
        x: the rows, (N, D).
        draws: S.
        noise: from which z is drawn.
        weights: of the model.
        seed: of y.
    """
    gate, parameters = fit.components(x, weights)
    z = noise.categorical(gate.log(), draws)
    chosen = {name: select(z, value) for name, value in parameters.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        y: Tensor = fit.model.likelihood.distribution(**chosen).sample()
    return y


def original(fit: Fit, y: Tensor) -> NDArray[Any]:
    """Return responses, (..., N), on the original scale; classes as their codes."""
    targets, values = fit.encoding.targets, y.numpy()
    if len(targets) == 1:
        codes = bool(targets[0].labels) and not np.isnan(values).any()
        return values.astype(np.int16) if codes else _decoded(fit, values, 0)
    return np.stack([_decoded(fit, values[..., r], r) for r in range(len(targets))], -1)


def _decoded(fit: Fit, values: NDArray[Any], r: int) -> NDArray[Any]:
    """Return a response on its original scale; classes stay codes."""
    return values if fit.encoding.targets[r].labels else fit.encoding.decode(values, r)
