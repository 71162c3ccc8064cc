"""Draws of y for rows, weights and z drawn with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit


def draw(fit: Fit, x: Tensor, num_samples: int, seed: int) -> NDArray[Any]:
    """Draw y from p(y | x), (S, N), as it is encoded.

    Torch's own generator stays as it is.

    Args:
        fit: of one response a row.
        x: the rows, (N, D).
        num_samples: S.
        seed: of the draws.
    """
    of_weights = fit.weight_draws()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chosen = torch.randint(len(of_weights), (num_samples,)).tolist()
        known = {w: fit.components(x, of_weights[w]) for w in set(chosen)}
        return np.stack([_given(fit, *known[w]) for w in chosen])


def _given(fit: Fit, gate: Tensor, parameters: dict[str, Tensor]) -> NDArray[Any]:
    law = fit.model.likelihood.distribution(**parameters)
    z = torch.multinomial(gate, 1).T
    drawn: NDArray[Any] = law.sample().gather(0, z)[0].numpy()
    return drawn
