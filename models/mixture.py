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
from pyromoe.models.categorical import Categorical
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
        extras: what the columns of x after the D predictors are, in order: values of the rows that
            experts and gate do not see. "offset" is added to the experts' first output; others
            are what the likelihood asks for, "trials" for instance.
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
        extras: Sequence[str] = (),
        mix: Mix = "log_likelihoods",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        both = range(num_predictors)
        self.num_experts, self.mix = num_experts, mix
        self.num_predictors = num_predictors
        self.extras = _places(likelihood, extras, num_predictors)
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
        return self._parameters_at(self.experts(_columns(x, self.expert_columns)), x)

    def forward(self, x: Tensor, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Return y, observed or drawn.

        Args:
            x: predictors, (N, D), and the extras after them.
            y: response, (N,), drawn from the model where it is None.
            size: the number of rows of the whole data set, when x is a minibatch of it; the
                plate then scales the batch up.
        """
        logits = self.gate_logits(x)
        layers = self.experts.layers()  # sites of their own, outside of the plate
        with pyro.plate("data", size or len(x), subsample=x if size else None, dim=-1):
            z = pyro.sample("z", Categorical(logits), infer={"enumerate": "parallel"})
            drawn: Tensor = pyro.sample("y", self._response(x, z, layers), obs=y)
        return drawn

    @pyro_method
    def components(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return log p(z = k | x), (N, K), and the experts' parameters, (K, N, ...), at x."""
        return self.gate_logits(x).log_softmax(-1), self.expert_parameters(x)

    @property
    def num_features(self) -> int:
        """The width of `features`."""
        return self.num_predictors + ("offset" in self.extras) + self.likelihood.encoded

    def features(self, x: Tensor, y: Tensor, size: int | None = None) -> Tensor:
        """Return each datum as the input of a network, (N, F): predictors, offset, response."""
        extras = self._extras(x)
        offset = [extras["offset"][:, None]] if "offset" in extras else []
        encoded = self.likelihood.encode(y, extras)
        return torch.cat([x[:, : self.num_predictors], *offset, encoded.to(x.dtype)], -1)

    def _extras(self, x: Tensor) -> dict[str, Tensor]:
        """Return what belongs to the rows beside predictors and response, (N,), by name."""
        return {name: x[:, place] for name, place in self.extras.items()}

    def _parameters_at(
        self, outputs: Tensor, x: Tensor, z: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the likelihood's parameters, (..., N, ...), from outputs, (..., N, P), at x."""
        extras = self._extras(x)
        if "offset" in extras:
            moved = outputs[..., :1] + extras["offset"][:, None]
            outputs = torch.cat([moved, outputs[..., 1:]], -1)
        parameters: dict[str, Tensor] = self.likelihood.parameters_of(outputs, z, extras)
        return parameters

    def _response(
        self, x: Tensor, z: Tensor, layers: list[tuple[Tensor, Tensor]]
    ) -> dist.TorchDistribution:
        """Return p(y | z, x), batch shape (S, N)."""
        seen = _columns(x, self.expert_columns)
        if self._few(x, z):
            outputs = self.experts.of_chosen(seen, z, layers)
            return self.likelihood.distribution(**self._parameters_at(outputs, x, z))
        parameters = self._parameters_at(self.experts(seen, layers), x)
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


def _places(likelihood: Likelihood, extras: Sequence[str], first: int) -> dict[str, int]:
    """Return the column of each extra, or refuse what the likelihood cannot use or lacks."""
    known = {*likelihood.required, *(["offset"] if likelihood.takes_offset else [])}
    for name in sorted({*extras} ^ {*likelihood.required}):
        if name not in known:
            raise ValueError(f"family {likelihood.family} can do nothing with {name!r} in extras")
        if name not in extras:
            raise ValueError(f"family {likelihood.family} needs {name!r} in extras")
    return {name: first + i for i, name in enumerate(extras)}
