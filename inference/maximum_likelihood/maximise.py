"""Quasi-Newton maximisation until the gradient vanishes, of one function or of several at once.

Several vectors go side by side, see `bfgs`. Vectors too long for an approximate inverse Hessian are
left to SciPy's L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995), one by one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.maximum_likelihood.bfgs import Batch, Search

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.maximum_likelihood.bfgs import Function, Watch

LARGEST = 2**22
"""Numbers in all approximate inverse Hessians; where there would be more, L-BFGS."""
MEMORY = 20
"""Of L-BFGS, in pairs."""
PARTS = ("values", "value", "gradient", "iterations")


def maximise(
    function: Function,
    values: Tensor,
    *,
    tolerance: float,
    iterations: int | Tensor,
    inverse: Tensor | None = None,
    watch: Watch = lambda search: True,
) -> Search:
    """Raise a function from each of some vectors; no value is ever lower than it was.

    Args:
        function: what is maximised; not finite where it is not defined.
        values: where to start, (R, P).
        tolerance: a vector is done when its gradient's Euclidean norm is at most this.
        iterations: for each vector at most, one number or (R,).
        inverse: what an earlier search learned of the curvature, (R, P, P).
        watch: called after every call of the function; False ends the search.

    Returns:
        The last point of every vector.
    """
    number, size = values.shape
    which, most = torch.arange(number), torch.as_tensor(iterations).expand(number)
    if number * size * size <= LARGEST:
        return Batch(function, values, inverse).run(tolerance, most, watch)
    room = max(1, LARGEST // size**2)
    parts = []
    for members in which.split(room):

        def of_part(point: Tensor, of: Tensor, members: Tensor = members) -> tuple[Tensor, Tensor]:
            return function(point, members[of])

        if size * size > LARGEST:
            parts.append(_alone(of_part, values[members], tolerance, int(most[members]), watch))
        else:
            batch = Batch(of_part, values[members], None)
            parts.append(batch.run(tolerance, most[members], watch))
    together = (torch.cat([getattr(p, name) for p in parts]) for name in PARTS)
    point, value, gradient, taken = together
    return Search(point, value, gradient, None, taken, sum(p.calls for p in parts))


def _alone(
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
