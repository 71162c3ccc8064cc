r"""Multinomial logistic regression.

    log p(z = k | x) = w_k . x + b_k - log sum_j exp(w_j . x + b_j)

Jordan and Jacobs (1994).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.mlp import Mlp

if TYPE_CHECKING:
    import torch

    from pyromoe.models.gates.gate import Coefficient


class Linear(Mlp):
    """Slopes and an intercept for each expert.

    Args:
        inputs: D.
        num_experts: K.
        generator: where the first values are drawn from.

    >>> import torch
    >>> from pyromoe.models.gates import Linear
    >>> gate = Linear(inputs=2, num_experts=3)
    >>> [(name, tuple(values.shape)) for name, _, values in gate.coefficients()]
    [('gate_slope', (3, 2)), ('gate_intercept', (3,))]
    """

    def __init__(
        self, inputs: int, num_experts: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(inputs, num_experts, generator, hidden=())

    def coefficients(self) -> list[Coefficient]:
        """Return slopes, (K, D), and intercepts, (K,), in log odds."""
        ((slope, intercept),) = self.layers()
        return [
            ("gate_slope", ("expert", "gate_predictor"), slope[0].T),
            ("gate_intercept", ("expert",), intercept[0, 0]),
        ]
