"""Where a maximisation is, and SciPy's L-BFGS-B for vectors too long for a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """From points, (M, P), of the vectors m, (M,), to values, (M,), and gradients, (M, P)."""
    Watch = Callable[["Search"], bool]

MEMORY = 20
"""Of L-BFGS, in pairs."""


@dataclass
class Search:
    """Where a maximisation is, and what it has learned of the curvature.

    Attributes:
        values: the vectors, (R, P).
        value: of the function, (R,).
        gradient: (R, P).
        inverse: minus the approximate inverse Hessian, (R, P, P); None where it is not kept.
        iterations: for each vector, (R,).
        calls: of the function.
    """

    values: Tensor
    value: Tensor
    gradient: Tensor
    inverse: Tensor | None
    iterations: Tensor
    calls: int = 1

    @property
    def norm(self) -> Tensor:
        """The Euclidean norm of the gradient, (R,)."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient, dim=-1)
        return norm


def alone(
    function: Function, values: Tensor, tolerance: float, iterations: int, watch: Watch
) -> Search:
    """Return the same from SciPy, for one vector, (1, P)."""
    # Imported here: it takes a while, and few need it.
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    only = torch.zeros(1, dtype=torch.long)
    at = Search(values, *function(values, only), None, torch.zeros(1, dtype=torch.long))

    def negated(vector: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        value, gradient = function(torch.from_numpy(vector.copy())[None], only)
        at.calls += 1
        if value > at.value:
            at.values, at.value, at.gradient = (
                torch.from_numpy(vector.copy())[None],
                value,
                gradient,
            )
        finite = value.isfinite().item()
        return (-value.item() if finite else math.inf), -gradient[0].numpy()

    def after(vector: NDArray[Any]) -> None:
        at.iterations = at.iterations + 1
        if at.norm.item() <= tolerance or not watch(at):
            raise StopIteration

    if at.norm.item() > tolerance:
        options: dict[str, float] = {
            "maxiter": iterations,
            "maxfun": 10 * iterations,
            "maxcor": MEMORY,
        }
        options |= {"ftol": 0.0, "gtol": 0.0}
        start = values[0].numpy().copy()
        minimize(negated, start, jac=True, method="L-BFGS-B", callback=after, options=options)
    return at
