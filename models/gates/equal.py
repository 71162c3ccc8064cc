r"""All experts alike.

    p(z = k | x) = 1 / K

Nothing is learned: the mixture of experts is an average of K predictors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.gate import Gate

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Equal(Gate):
    """The same probability for every expert.

    >>> import torch
    >>> from pyromoe.models.gates import Equal
    >>> gate = Equal(inputs=2, num_experts=4)
    >>> gate(torch.zeros(1, 2)).softmax(-1)  # (N, K)
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def __init__(
        self, inputs: int, num_experts: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros, (N, K)."""
        return x.new_zeros(len(x), self.num_experts)
