r"""Standard errors of the parameters of a fit of maximum likelihood.

    information    I = -d^2/dv^2 (log p(y | x) + log prior),    cov v = I^-1
    sandwich       cov v = I^-1 (sum_n s_n s_n') I^-1,    s_n = d/dv log p(y_n | x_n)
                   and of what the row adds to the gate's terms, log p(x_n) for instance
    natural units  cov f(v) = J cov v J',    J = df/dv

The information is the observed one (Efron and Hinkley, 1978); the sandwich holds where the model is
not the truth (Huber, 1967; White, 1982). A direction without information, along which a hard gate
diverges for instance, has an infinite standard error; those in which nothing natural changes, as
when all logits move together, are left out.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyromoe.inference.fitting.derivatives import jacobian
from pyromoe.inference.fitting.natural import Named, Natural
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.steps.members import shaped
from pyromoe.models import log_joint
from pyromoe.models.errors import InputError
from pyromoe.models.trace import parameters_passed_in, run_given

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models import LogJoint

Method = Literal["information", "sandwich"]
NOTHING = 1e-10
"""A direction with less than this part of the largest information has none."""
GAIN = 1e-2
"""A maximum is not there yet where more is to be gained by a step of Newton's method, nats."""
MOVES = 1e-6
"""A parameter that moves less along a direction of length 1 does not depend on it."""


def standard_errors(fit: Fit, method: Method = "information") -> Named:
    """Return the standard error of every parameter in natural units, see `natural`.

    Args:
        fit: with its data, at a maximum.
        method: how the covariance is estimated.

    Raises:
        InputError: where the information has a negative direction: this is not a maximum.
    """
    surface = Surface(fit)
    at = surface.values()
    slope, information = _slope_and_information(surface, at)
    size, directions = torch.linalg.eigh(information)
    known = size > NOTHING * float(size[-1])
    # Twice what a step of Newton's method would gain, nats.
    left = float(((slope @ directions)[known].square() / size[known]).sum())
    if float(size[0]) < -1e-6 * float(size[-1]) or left > GAIN:
        what = "the parameters are not at a maximum of the likelihood, and have no standard errors"
        raise InputError(what, remedy="fit with fit.optimiser: lbfgs, or ask for errors: none")
    root = directions[:, known] / size[known].sqrt()
    covariance = root @ root.T
    if method == "sandwich":
        scores = jacobian(surface.terms, at)
        covariance = covariance @ (scores.T @ scores) @ covariance
    named = surface.parameters_at(at)
    slopes = jacobian(lambda v: _flat(surface.parameters_at(v)), at).nan_to_num()
    error = ((slopes @ covariance) * slopes).sum(-1).clamp_min(0).sqrt()
    moved = (slopes @ directions[:, ~known]).norm(dim=-1) > MOVES
    error = torch.where(moved, torch.inf, error)
    parts = error.split([value.numel() for _, value in named.values()])
    return {
        name: (dims, part.reshape(value.shape))
        for (name, (dims, value)), part in zip(named.items(), parts, strict=True)
    }


class Surface(nn.Module):
    """Functions of a fit's parameters as one flat vector, (P,), in float64."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        if fit.data is None:
            raise ValueError("a fit without its data has no standard errors")
        self.natural = Natural(copy.deepcopy(fit.model), copy.deepcopy(fit.guide), fit.encoding)
        self.natural.double()
        self.x, y = to_tensors(fit.data.whole("a standard error"), fit.spec)
        self.x, self.y = self.x.double(), y.double() if y.is_floating_point() else y
        weights = self.natural.guide.weights
        of = {f"model.{n}": p for n, p in self.natural.model.named_parameters()}
        self.named = of | {f"guide.weights.{n}": p for n, p in weights.named_parameters()}

    def forward(self, what: Callable[[], Any]) -> Any:
        """Return a function's value at whatever the parameters are for the moment."""
        return what()

    def values(self) -> Tensor:
        """Return the parameters, (P,)."""
        return torch.cat([p.detach().reshape(-1) for p in self.named.values()])

    def each(self, values: Tensor) -> Tensor:
        """Return log p(y_n | x_n) times its weight, (N,), nats."""
        found: Tensor = self._at(values, self._each)
        return found

    def terms(self, values: Tensor) -> Tensor:
        """Return all that each row adds to what is maximised, (N,), nats."""
        found: Tensor = self._at(values, self._terms)
        return found

    def prior(self, values: Tensor) -> Tensor:
        """Return the log prior and the gate's terms, nats."""
        found: Tensor = self._at(values, self._prior)
        return found

    def parameters_at(self, values: Tensor) -> Named:
        """Return the parameters in natural units."""
        found: Named = self._at(values, self.natural)
        return found

    def _joint(self) -> LogJoint:
        weights = self.natural.guide.weights.values()
        return log_joint(self.natural.model, self.x, self.y, weights=weights)

    def _each(self) -> Tensor:
        each: Tensor = self._joint().enumerate().logsumexp(0)
        return each * self.natural.model.weight(self.x)

    def _terms(self) -> Tensor:
        model, weights = self.natural.model, self.natural.guide.weights.values()
        of_gate = run_given(
            model.given, weights, lambda: model.gate.log_terms(model.gate_sees(self.x))
        )
        each = self._each()
        return each if of_gate is None else each + of_gate * model.weight(self.x)

    def _prior(self) -> Tensor:
        return torch.as_tensor(self._joint().log_prior_of_weights)

    def _at(self, values: Tensor, what: Callable[[], Any]) -> Any:
        pieces = shaped(values, list(self.named.values()))
        swapped = {f"natural.{n}": v for n, v in zip(self.named, pieces, strict=True)}
        with parameters_passed_in():
            return functional_call(self, swapped, (what,))


def _flat(named: Named) -> Tensor:
    return torch.cat([value.reshape(-1) for _, value in named.values()])


def _slope_and_information(surface: Surface, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of log p(y | x) + log prior, (P,), and minus its derivatives, (P, P)."""

    def slope(values: Tensor) -> Tensor:
        total = surface.each(values).sum() + surface.prior(values)
        (gradient,) = torch.autograd.grad(total, values, create_graph=True)
        return gradient

    return slope(at.clone().requires_grad_()).detach(), -jacobian(slope, at)
