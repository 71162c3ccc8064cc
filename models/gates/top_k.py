r"""Only the largest few logits keep probability.

    h = linear in x,    log p(z = k | x) = h_k up to a constant for the a largest, -inf elsewhere

With two losses, stated as a factor of N times their mean over the rows:

    balance K sum_k f_k P_k,    f_k the share of the N a places that expert k has,
                                P_k the mean of softmax(h)_k
    z_loss mean (log sum_k exp h_k)^2

The first is least, `balance`, where all experts are used alike: without it an expert that is never
among the largest has no gradient to come back by. Shazeer et al. (2017); Lepikhin et al. (2021);
Fedus, Zoph and Shazeer (2022), equations 4 to 6; Zoph et al. (2022), equation 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyromoe.models.gates.linear import Linear


class TopK(Linear):
    """A linear gate that leaves each row some of the experts.

    Args:
        inputs: D.
        num_experts: K.
        generator: where the first values are drawn from.
        active: a, how many experts keep probability in each row; all where it is more than K.
        balance: the weight of the load-balance loss, nats a row.
        z_loss: the weight of the squared log-sum, nats a row.

    >>> import torch
    >>> from pyromoe.models.gates import TopK
    >>> gate = TopK(inputs=2, num_experts=4, active=2)
    >>> (gate(torch.zeros(5, 2)).softmax(-1) > 0).sum(-1)  # experts left to each row, (N,)
    tensor([2, 2, 2, 2, 2])
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        active: int = 2,
        balance: float = 0.01,
        z_loss: float = 0.001,
    ) -> None:
        super().__init__(inputs, num_experts, generator)
        self.active = min(active, num_experts)
        self.balance, self.z_loss = balance, z_loss

    def forward(self, x: Tensor, layers: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Return the a largest logits of every row, and -inf elsewhere, (N, K)."""
        h = super().forward(x, layers)
        return torch.where(self._kept(h), h, -torch.inf)

    def log_factor(self, x: Tensor, size: int, weight: Tensor | float = 1.0) -> Tensor | None:
        """Return minus N times the mean losses."""
        h = super().forward(x)
        times = (torch.ones_like(h[:, 0]) * weight)[:, None]  # (N, 1)
        total = times.sum()
        used = (times * self._kept(h)).sum(0) / (self.active * total)  # f, (K,)
        balance = h.shape[-1] * (used * (times * h.softmax(-1)).sum(0)).sum()
        z_loss = (times * h.logsumexp(-1, keepdim=True).square()).sum()
        return -size / len(x) * (self.balance * balance + self.z_loss * z_loss)

    def _kept(self, h: Tensor) -> Tensor:
        """Return which logits are among the largest, (N, K); of equal ones the first."""
        largest = h.topk(self.active, -1).indices  # (N, a)
        return (largest[..., None] == torch.arange(h.shape[-1], device=h.device)).any(-2)
