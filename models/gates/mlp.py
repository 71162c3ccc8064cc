r"""A softmax of the outputs of a network.

    log p(z = k | x) = h_k(x) - log sum_j exp h_j(x)

Jacobs, Jordan, Nowlan and Hinton (1991).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.gate import Gate
from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor


class Mlp(Networks, Gate):
    """A network of the predictors, with an output for each expert.

    Args:
        inputs: D.
        num_experts: K.
        generator: where the first values are drawn from.
        hidden: widths of the hidden layers.
        activation: see `pyromoe.models.networks.ACTIVATIONS`.
        dropout: see `pyromoe.models.dropout`.

    >>> import torch
    >>> from pyromoe.models.gates import Mlp
    >>> gate = Mlp(inputs=2, num_experts=3, hidden=[8])
    >>> gate(torch.zeros(5, 2)).shape  # (N, K)
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        hidden: Sequence[int] = (32,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        sizes = [inputs, *hidden, num_experts]
        super().__init__(1, sizes, activation, generator, dropout=dropout)
        self.redundant = [inputs, *hidden][-1] + 1  # what is added to all outputs cancels

    def forward(self, x: Tensor, layers: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Return the outputs, (N, K)."""
        return super().forward(x, layers)[0]
