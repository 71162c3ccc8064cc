r"""A tree of softmaxes.

    log p(z | x) = sum over levels l of log p(branch_l | branches above it, x)

Each inner node has a softmax of its own over its branches, of constants, of linear functions or of
a network, and the experts are the leaves, from left to right. Jordan and Jacobs (1994).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyromoe.models.gates.gate import Gate
from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from pyromoe.models.gates.gate import Coefficient
    from pyromoe.models.priors import Kind


class Hierarchical(Gate):
    """A bank of networks for each level: one a node, with an output for each of its branches.

    Args:
        inputs: D; constants where it is 0.
        num_experts: K, the product of the levels.
        generator: where the first values are drawn from.
        levels: how many branches the nodes of each level have, from the root.
        hidden: widths of the networks' hidden layers.
        activation: see `pyromoe.models.networks.ACTIVATIONS`.
        dropout: see `pyromoe.models.dropout`.

    Raises:
        ValueError: for levels whose product is not K.

    >>> import torch
    >>> from pyromoe.models.gates import Hierarchical
    >>> gate = Hierarchical(inputs=2, num_experts=6, levels=[2, 3])
    >>> gate(torch.zeros(5, 2)).shape  # log p(z = k | x), (N, K)
    torch.Size([5, 6])
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        levels: Sequence[int],
        hidden: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if math.prod(levels) != num_experts:
            leaves = " x ".join(map(str, levels))
            raise ValueError(f"{leaves} leaves are not the {num_experts} experts")
        self.depth, nodes = len(levels), 1
        for i, branches in enumerate(levels):
            sizes = [inputs, *hidden, branches]
            bank = Networks(nodes, sizes, activation, generator, dropout=dropout)
            setattr(self, f"level_{i}", bank)
            self.redundant += nodes * (sizes[-2] + 1)
            nodes *= branches

    def forward(self, x: Tensor) -> Tensor:
        """Return log p(z = k | x), (N, K), normalised."""
        above = x.new_zeros(len(x), 1)
        for level in self._levels():
            branch = level(x).log_softmax(-1).movedim(0, 1)  # (N, nodes, branches)
            above = (above[..., None] + branch).flatten(1)
        return above

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make every weight a latent site; see `Networks.place_prior`."""
        starts: dict[str, Tensor] = {}
        for i, level in enumerate(self._levels()):
            of_level = level.place_prior(scale, kind)
            starts |= {f"level_{i}.{name}": value for name, value in of_level.items()}
        return starts

    def coefficients(self) -> list[Coefficient]:
        """Return slopes, (nodes, branches, D), and intercepts of each level, in log odds."""
        found: list[Coefficient] = []
        for i, level in enumerate(self._levels()):
            if level.depth == 1:
                ((slope, bias),) = level.layers()
                at = (f"node_{i}", f"branch_{i}")
                found.append((f"gate_slope_{i}", (*at, "gate_predictor"), slope.mT))
                found.append((f"gate_intercept_{i}", at, bias[:, 0]))
        return found

    def _levels(self) -> list[Networks]:
        return [getattr(self, f"level_{i}") for i in range(self.depth)]
