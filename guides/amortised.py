r"""q(z | x, y) from a recognition network.

    q(z = k | x, y) \propto p(z = k | x) exp(c_k(x, y))

The network c stands for the experts' log-likelihoods: were it equal to them, q would be the
exact posterior. The gate's logits enter as an input (no gradient), so q starts at the gate and
an expert that the gate excludes stays excluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from pyromoe.guides.prior import PriorGuide
from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts
    from pyromoe.models.trace import Weights


class AmortisedGuide(PriorGuide):
    """A recognition network for z.

    Args:
        model: the mixture; it is shared, not owned.
        hidden: widths of the hidden layers.
        generator: where the first values of the weights are drawn from.

    >>> import torch
    >>> from pyromoe.guides import AmortisedGuide
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> guide = AmortisedGuide(model, hidden=[16])
    >>> q = guide.logits(x, y, None, {}).softmax(-1)  # (N, K)
    >>> torch.allclose(q, model.gate_logits(x).softmax(-1))  # it starts at the gate
    True
    """

    objective = "elbo"

    def __init__(
        self,
        model: MixtureOfExperts,
        hidden: Sequence[int] = (32,),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(model)
        self.network = Networks(
            1, [model.num_features, *hidden, model.num_experts], "tanh", generator
        )
        for name, parameter in self.network.named_parameters():
            if name.endswith(str(self.network.depth - 1)):
                nn.init.zeros_(parameter)

    def logits(self, x: Tensor, y: Tensor | None, size: int | None, weights: Weights) -> Tensor:
        """Return log q(z | x, y), (N, K), up to a constant; the gate's where y is None."""
        gate = super().logits(x, y, size, weights).detach()
        if y is None:
            return gate
        correction: Tensor = self.network(self.model[0].features(x, y))[0]
        return gate + correction
