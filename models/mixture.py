r"""The Pyro program of a mixture of experts.

    z_n ~ Categorical(softmax(gate(x_n))),    y_n | z_n ~ likelihood(expert_{z_n}(x_n))

A datum n is a row, or a group of M rows that share one z:

    p(y_n | z_n) = prod_m p(y_nm | z_n, x_nm),    gate at x_n1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method

from pyromoe.models.blend import Blend, Mix, select
from pyromoe.models.categorical import Categorical
from pyromoe.models.gates import Linear
from pyromoe.models.likelihoods.observed import Observed, is_observed
from pyromoe.models.networks import Networks
from pyromoe.models.softmax import log_softmax
from pyromoe.models.trace import weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pyromoe.models.gates import Gate
    from pyromoe.models.gates.gate import Coefficient
    from pyromoe.models.likelihoods import Likelihood

Found = TypeVar("Found")

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
        gate: makes the gate from the number of its predictors, K and the generator: a class of
            `pyromoe.models.gates`, its options given by `functools.partial`.
        activation: of the experts; see `pyromoe.models.networks.ACTIVATIONS`.
        expert_dropout: with which probability a hidden unit is left out by a `Treatment_ELBO` while
            the model is in training; see `pyromoe.models.dropout`.
        expert_columns: which of the D predictors the experts see; all where it is None.
        gate_columns: the same for the gate; an empty list makes a constant gate.
        expert_shared: those of the experts' columns whose coefficients all experts share.
        shared_intercept: whether all experts share their intercept too; both for linear experts.
        extras: what the columns of x after the D predictors are, in order: values of the rows that
            experts and gate do not see. "offset" is added to the experts' linear predictors;
            "weight" is how often a datum counts; others are what the likelihood asks for,
            "trials" for instance.
        incomplete: whether responses may be missing, NaN, or -1 where they are codes of classes;
            groups of unequal size are filled up so.
        mix: what the likelihood is when z lies inside the simplex; see `pyromoe.models.blend`.
        bank: makes the experts: `Networks`, or `DividedNetworks` over several processes.
        generator: where the first values of the weights are drawn from.

    >>> import torch
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> x = torch.zeros(5, 2)  # (N, D)
    >>> model(x).shape, model.gate_logits(x).shape  # y, (N,), and (N, K)
    (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        num_predictors: int,
        likelihood: Likelihood,
        num_experts: int = 4,
        *,
        expert_hidden: Sequence[int] = (),
        gate: Callable[[int, int, torch.Generator | None], Gate] = Linear,
        activation: str = "relu",
        expert_dropout: float = 0.0,
        expert_columns: Sequence[int] | None = None,
        gate_columns: Sequence[int] | None = None,
        expert_shared: Sequence[int] = (),
        shared_intercept: bool = False,
        extras: Sequence[str] = (),
        incomplete: bool = False,
        mix: Mix = "log_likelihoods",
        bank: Callable[..., Networks] = Networks,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_experts, self.num_predictors = num_experts, num_predictors
        self.mix, self.incomplete = mix, incomplete
        self.extras = _places(likelihood, extras, num_predictors)
        seen = range(num_predictors) if expert_columns is None else expert_columns
        self.expert_columns = [*(c for c in seen if c not in expert_shared), *expert_shared]
        self.gate_columns = list(range(num_predictors) if gate_columns is None else gate_columns)
        sizes = [len(self.expert_columns), *expert_hidden, likelihood.outputs]
        self.experts = bank(
            *(num_experts, sizes, activation, generator),
            shared=len(expert_shared),
            shared_intercept=shared_intercept,
            dropout=expert_dropout,
        )
        self.gate = gate(len(self.gate_columns), num_experts, generator)
        self.likelihood = likelihood
        moved = torch.zeros(likelihood.outputs)
        moved[list(likelihood.offset_places)] = 1.0
        self.register_buffer("takes_offset", moved, persistent=False)

    def gate_logits(self, x: Tensor) -> Tensor:
        """Return the unnormalised log p(z = k | x), (N, K), at x, (N, D) or (N, M, D)."""
        logits: Tensor = self.gate(self.gate_sees(x))
        return logits

    def gate_sees(self, x: Tensor) -> Tensor:
        """Return the predictors of the gate, (N, D), at x, (N, D) or (N, M, D)."""
        return _columns(_first(x), self.gate_columns)

    def expert_parameters(self, x: Tensor) -> dict[str, Tensor]:
        """Return the likelihood's parameters under each expert, (K, N, ...), at x, (N, D).

        Where x is (N, M, D), they are (K, N, M, ...).
        """
        return self._parameters_at(self.experts(self._seen(x)), x)

    def weight(self, x: Tensor) -> Tensor | float:
        """Return how often each datum counts, (N,), or 1, at x, (N, D)."""
        return _first(x)[:, self.extras["weight"]] if "weight" in self.extras else 1.0

    def forward(self, x: Tensor, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Return y, observed or drawn.

        Args:
            x: predictors, (N, D), and the extras after them; (N, M, D) for groups of M rows.
            y: response, (N,), drawn from the model where it is None; (N, M) for groups, and with
                one more dimension, R, where there are several responses.
            size: the number of rows of the whole data set, when x is a minibatch of it; the
                plate then scales the batch up.
        """
        logits = self.gate_logits(x)
        of_gate = self.gate.log_factor(self.gate_sees(x), size or len(x), self.weight(x))
        if of_gate is not None:
            pyro.factor("gate_factor", of_gate)
        layers = self.experts.layers()  # sites of their own, outside of the plate
        self.likelihood.draw_own()
        data = pyro.plate("data", size or len(x), subsample=x if size else None, dim=-1)
        with data, weighted(self.weight(x)):
            z = pyro.sample("z", Categorical(logits), infer={"enumerate": "parallel"})
            drawn: Tensor = pyro.sample("y", self._response(x, z, layers), obs=y)
        return drawn

    @pyro_method
    def components(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return log p(z = k | x), (N, K), and the experts' parameters, (K, N, ...), at x."""
        return log_softmax(self.gate_logits(x)), self.expert_parameters(x)

    @pyro_method
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight, (K, in, out), and bias, (K, 1, out), of every layer of the experts."""
        return self.experts.layers()

    @pyro_method
    def given(self, function: Callable[[], Found]) -> Found:
        """Return what a function finds; latent weights are sites while it runs."""
        return function()

    @pyro_method
    def gate_coefficients(self) -> list[Coefficient]:
        """Return the parameters of the gate that have a meaning of their own, for a reader."""
        return self.gate.coefficients()

    @property
    def redundant(self) -> int:
        """How many parameters more there are than p(y | x) can tell apart."""
        shared, number = self.experts.shared, self.num_experts
        own, width = number if self.experts.own_intercepts else 1, self.experts.width
        of_output = number * (width - shared) + shared + own
        outputs: int = self.likelihood.redundant * of_output
        unused: int = self.likelihood.unused * (width - shared + self.experts.own_intercepts)
        return outputs + unused + int(self.gate.redundant)

    @property
    def num_features(self) -> int:
        """The width of `features`."""
        return self.num_predictors + ("offset" in self.extras) + self.likelihood.encoded

    def features(self, x: Tensor, y: Tensor, size: int | None = None) -> Tensor:
        """Return each datum as the input of a network, (N, F): predictors, offset, response.

        At x, (N, D), and y, (N,); of a group of rows, (N, M, D) and (N, M), it is the mean over the
        rows that are there.
        """
        rows, responses = (x, y) if x.dim() == 2 else (x.flatten(0, 1), y.flatten(0, 1))
        extras = self._extras(rows)
        offset = [extras["offset"][:, None]] if "offset" in extras else []
        whole = self.likelihood.filled(responses) if self.incomplete else responses
        encoded = self.likelihood.encode(whole, extras).to(x.dtype)
        found = torch.cat([rows[:, : self.num_predictors], *offset, encoded], -1)
        if x.dim() == 2:
            return found
        there = is_observed(y).reshape(*x.shape[:2], -1).any(-1).to(x.dtype)[..., None]
        mean: Tensor = (found.unflatten(0, x.shape[:2]) * there).sum(1)
        return mean / there.sum(1).clamp_min(1)

    def _extras(self, rows: Tensor) -> dict[str, Tensor]:
        """Return what belongs to rows beside predictors and response, (N,), by name."""
        return {name: rows[:, place] for name, place in self.extras.items()}

    def _seen(self, x: Tensor) -> Tensor:
        """Return what the experts see of each row, (N, D), or (N M, D) for groups."""
        return _columns(x if x.dim() == 2 else x.flatten(0, 1), self.expert_columns)

    def _parameters_at(
        self, outputs: Tensor, x: Tensor, z: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the likelihood's parameters, (..., N, ...), from outputs, (..., N, P), at x."""
        extras = self._extras(x if x.dim() == 2 else x.flatten(0, 1))
        if "offset" in extras:
            outputs = outputs + extras["offset"][:, None] * self.takes_offset.to(x.dtype)
        parameters: dict[str, Tensor] = self.likelihood.parameters_of(outputs, z, extras)
        if x.dim() == 2:
            return parameters
        rows, leading = x.shape[:2], outputs.dim() - 2
        return {name: value.unflatten(leading, rows) for name, value in parameters.items()}

    def _response(
        self, x: Tensor, z: Tensor, layers: list[tuple[Tensor, Tensor]]
    ) -> dist.TorchDistribution:
        """Return p(y | z, x), batch shape (S, N)."""
        if self._few(x, z):
            of_rows = z if x.dim() == 2 else z.repeat_interleave(x.shape[1], -1)
            outputs = self.experts.of_chosen(self._seen(x), of_rows, layers)
            return self._distribution(x, self._parameters_at(outputs, x, of_rows))
        parameters = self._parameters_at(self.experts(self._seen(x), layers), x)
        if z.is_floating_point() and self.mix != "parameters":
            return Blend(self._distribution(x, parameters), z, self.mix)
        chosen = {name: select(z, value) for name, value in parameters.items()}
        return self._distribution(x, chosen)

    def _distribution(self, x: Tensor, parameters: dict[str, Tensor]) -> dist.TorchDistribution:
        """Return the law of each datum's response, be it a row or a group of rows."""
        law: dist.TorchDistribution = self.likelihood.distribution(**parameters)
        if self.incomplete and not law.event_dim:
            law = Observed(law, self.likelihood.anywhere)
        return law if x.dim() == 2 else law.to_event(1)

    def _few(self, x: Tensor, z: Tensor) -> bool:
        """Whether so few pairs of datum and expert are chosen that sorting them pays."""
        each_has_its_own = not z.is_floating_point() and z.dim() > 0 and z.shape[-1] == len(x)
        return each_has_its_own and SAVING * z.numel() <= self.num_experts * len(x)


def _first(x: Tensor) -> Tensor:
    """Return each datum's row, or the first of its group, (N, D)."""
    return x if x.dim() == 2 else x[:, 0]


def _columns(x: Tensor, columns: list[int]) -> Tensor:
    """Return some columns of x, and x itself where they are all of them."""
    return x if columns == list(range(x.shape[1])) else x[:, columns]


def _places(likelihood: Likelihood, extras: Sequence[str], first: int) -> dict[str, int]:
    """Return the column of each extra, or refuse what the likelihood cannot use or lacks."""
    known = {*likelihood.required, "weight", *(["offset"] if likelihood.offset_places else [])}
    for name in sorted({*extras} ^ {*likelihood.required}):
        if name not in known:
            raise ValueError(f"family {likelihood.family} can do nothing with {name!r} in extras")
        if name not in extras:
            raise ValueError(f"family {likelihood.family} needs {name!r} in extras")
    return {name: first + i for i, name in enumerate(extras)}
