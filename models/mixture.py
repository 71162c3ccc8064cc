r"""The Pyro program of a mixture of experts.

z_n ~ Categorical(softmax(gate(x_n))),    y_n | z_n ~ likelihood(expert_{z_n}(x_n))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method

from pyromoe.models.blend import Blend, Mix, select
from pyromoe.models.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pyromoe.models.likelihoods import Likelihood


SAVING = 12
"""Chosen experts alone are evaluated where they are at most this part of all pairs."""


class MixtureOfExperts(PyroModule):
    """A mixture of K experts; the latent site is "z", the observed one "y", the plate "data".

    An ordinary Pyro program: Pyro's own ELBOs, `Predictive` and `render_model` take it as it is.

    Args:
        num_predictors: D.
        likelihood: the family of the response.
        num_experts: K.
        expert_hidden: widths of the experts' hidden layers; linear experts where it is empty.
        gate_hidden: the same for the gate.
        activation: of experts and gate; see `pyromoe.models.networks.ACTIVATIONS`.
        expert_columns: which of the D predictors the experts see; all where it is None.
        gate_columns: the same for the gate; an empty list makes a constant gate.
        mix: what the likelihood is when z lies inside the simplex; see `pyromoe.models.blend`.
        generator: where the first values of the weights are drawn from.
    """

    def __init__(
        self,
        num_predictors: int,
        likelihood: Likelihood,
        num_experts: int = 4,
        *,
        expert_hidden: Sequence[int] = (),
        gate_hidden: Sequence[int] = (),
        activation: str | tuple[str, str] = "relu",
        expert_columns: Sequence[int] | None = None,
        gate_columns: Sequence[int] | None = None,
        mix: Mix = "log_likelihoods",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        both = range(num_predictors)
        self.num_experts, self.mix = num_experts, mix
        self.num_predictors = num_predictors
        self.expert_columns = list(both if expert_columns is None else expert_columns)
        self.gate_columns = list(both if gate_columns is None else gate_columns)
        of_experts, of_gate = (activation,) * 2 if isinstance(activation, str) else activation
        sizes = [len(self.expert_columns), *expert_hidden, likelihood.outputs]
        self.experts = Networks(num_experts, sizes, of_experts, generator)
        sizes = [len(self.gate_columns), *gate_hidden, num_experts]
        self.gate = Networks(1, sizes, of_gate, generator)
        self.likelihood = likelihood

    def gate_logits(self, x: Tensor) -> Tensor:
        """Return the unnormalised log p(z = k | x), (N, K), at x, (N, D)."""
        logits: Tensor = self.gate(_columns(x, self.gate_columns))[0]
        return logits

    def expert_parameters(self, x: Tensor) -> dict[str, Tensor]:
        """Return the likelihood's parameters under each expert, (K, N, ...), at x, (N, D)."""
        outputs = self.experts(_columns(x, self.expert_columns))
        parameters: dict[str, Tensor] = self.likelihood.parameters_of(outputs)
        return parameters

    def forward(self, x: Tensor, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Return y, observed or drawn.

        Args:
            x: predictors, (N, D).
            y: response, (N,), drawn from the model where it is None.
            size: the number of rows of the whole data set, when x is a minibatch of it; the
                plate then scales the batch up.
        """
        logits = self.gate_logits(x)
        layers = self.experts.layers()  # sites of their own, outside of the plate
        with pyro.plate("data", size or len(x), subsample=x if size else None, dim=-1):
            prior = dist.Categorical(logits=logits)
            z = pyro.sample("z", prior, infer={"enumerate": "parallel"})
            drawn: Tensor = pyro.sample("y", self._response(x, z, layers), obs=y)
        return drawn

    @pyro_method
    def components(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return log p(z = k | x), (N, K), and the experts' parameters, (K, N, ...), at x."""
        return self.gate_logits(x).log_softmax(-1), self.expert_parameters(x)

    def features(self, x: Tensor, y: Tensor, size: int | None = None) -> Tensor:
        """Return each datum as the input of a network, (N, D + E)."""
        return torch.cat([x, self.likelihood.encode(y).to(x.dtype)], -1)

    def _response(
        self, x: Tensor, z: Tensor, layers: list[tuple[Tensor, Tensor]]
    ) -> dist.TorchDistribution:
        """Return p(y | z, x), batch shape (S, N)."""
        x = _columns(x, self.expert_columns)
        if self._few(x, z):
            outputs = self.experts.of_chosen(x, z, layers)
            return self.likelihood.distribution(**self.likelihood.parameters_of(outputs, z))
        parameters = self.likelihood.parameters_of(self.experts(x, layers))
        if z.is_floating_point() and self.mix != "parameters":
            return Blend(self.likelihood.distribution(**parameters), z, self.mix)
        chosen = {name: select(z, value) for name, value in parameters.items()}
        return self.likelihood.distribution(**chosen)

    def _few(self, x: Tensor, z: Tensor) -> bool:
        """Whether so few pairs of datum and expert are chosen that sorting them pays."""
        each_has_its_own = not z.is_floating_point() and z.dim() > 0 and z.shape[-1] == len(x)
        return each_has_its_own and SAVING * z.numel() <= self.num_experts * len(x)


def _columns(x: Tensor, columns: list[int]) -> Tensor:
    """Return some columns of x, and x itself where they are all of them."""
    return x if columns == list(range(x.shape[1])) else x[:, columns]
