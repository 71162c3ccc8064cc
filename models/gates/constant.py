r"""The same probabilities at every x.

    p(z = k | x) = exp(b_k) / sum_j exp(b_j)

The plain mixture of regressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.linear import Linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Constant(Linear):
    """An intercept for each expert; predictors are ignored.

    >>> import torch
    >>> from pyromoe.models.gates import Constant
    >>> gate = Constant(inputs=2, num_experts=3)
    >>> gate(torch.zeros(5, 2)).softmax(-1).shape  # (N, K)
    torch.Size([5, 3])
    """

    def __init__(
        self, inputs: int, num_experts: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(0, num_experts, generator)

    def forward(self, x: Tensor, layers: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Return the intercepts, (N, K)."""
        return super().forward(x[:, :0], layers)
