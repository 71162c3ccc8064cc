r"""What maximum likelihood maximises, as functions of the parameters of several restarts at once.

    score(theta)       = sum_n log sum_k p(y_n, z_n = k | x_n, theta) + log p(theta)
    expected(theta, r) = sum_n sum_k r_nk log p(y_n, z_n = k | x_n, theta) + log p(theta)

where p(theta) is that of the logarithms of scales for guides that need the mode of these.
At r = p(z | y, x, theta) both have the same gradient (Fisher's identity; Dempster, Laird and Rubin,
1977), so that one captured graph serves EM and what comes after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pyromoe.inference.fitting.joint import Joint
from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.members import shaped, validated
from pyromoe.models.trace import parameters_passed_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.guides import WeightedGuide
    from pyromoe.models import MixtureOfExperts

FEW = 8
"""The last restarts are evaluated by a graph for so many times fewer."""


class Found(NamedTuple):
    """What is known at some parameters, for R restarts, in nats on the encoded scale.

    Attributes:
        value: the score, or the expectation, (R,).
        gradient: in the parameters, (R, P).
        likelihood: log p(y | x) without the prior, (R,).
        joint: log p(y, z = k | x), (R, K, N).
        log_gate: log p(z = k | x), (R, N, K).
    """

    value: Tensor
    gradient: Tensor
    likelihood: Tensor
    joint: Tensor
    log_gate: Tensor

    @property
    def responsibilities(self) -> Tensor:
        """p(z = k | y, x), (R, K, N)."""
        return self.joint.softmax(1)


class Score:
    """The score of models of one form on some rows.

    Args:
        members: a model and its guide for each restart, with parameters of their own.
        x: the rows, (N, D), with their extras.
        y: their responses, (N,).
        together: how many restarts are evaluated at a time.

    Attributes:
        parameters: of the first, by name, in their order in a vector.
        units: from points of a search to parameters, (P, P); None where they are the same. See
            `pyromoe.inference.maximum_likelihood.units`.
        captured: whether it runs as a graph, as far as is known.
        values: the parameters that the members had, (R, P).
        shape: (K, N), N the number of data: of rows, or of groups that share a z.
    """

    def __init__(
        self,
        members: Sequence[tuple[MixtureOfExperts, WeightedGuide]],
        x: Tensor,
        y: Tensor,
        together: int,
    ) -> None:
        self.joints = [Joint(*member) for member in members]
        self.x, self.y, self.together = x, y, together
        self.parameters = dict(self.joints[0].named_parameters())
        each = [parameters_to_vector(joint.parameters()).detach() for joint in self.joints]
        self.values = torch.stack(each)
        with torch.no_grad(), validated(self.values):  # mistakes in the model show here, in Python
            self.shape = self.joints[0](x, y)[0].shape
        self.units: Tensor | None = None
        self.captured = True
        self._one: graphs.Function | None = None
        self._graphs: dict[int, graphs.Function] = {}

    def __call__(self, values: Tensor, r: Tensor | None = None) -> Found:
        """Return the score at points, (R, P), or its expectation under r, (R, K, N)."""
        values = self.at(values)
        chosen = torch.tensor(r is not None)
        given = values.new_zeros(len(values), *self.shape) if r is None else r
        pairs = zip(values.split(self.together), given.split(self.together), strict=True)
        with torch.no_grad():
            found = [self._of_some(*pair, chosen) for pair in pairs]
        whole = Found(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        if self.units is None:
            return whole
        return whole._replace(gradient=whole.gradient @ self.units)

    def at(self, points: Tensor) -> Tensor:
        """Return the parameters at points of a search, (..., P)."""
        return points if self.units is None else points @ self.units.T

    def hand_over(self, model: MixtureOfExperts, guide: WeightedGuide, point: Tensor) -> None:
        """Give a model and its guide the parameters at a point, (P,)."""
        vector_to_parameters(self.at(point).clone(), Joint(model, guide).parameters())

    def _of_some(self, values: Tensor, r: Tensor, chosen: Tensor) -> list[Tensor]:
        """Return what is known of as many restarts as a graph takes, or of fewer."""
        number = len(values)
        few = max(1, self.together // FEW)
        missing = (few if number <= few else self.together) - number
        if missing:
            values = torch.cat([values, values[:1].expand(missing, -1)])
            r = torch.cat([r, r[:1].expand(missing, -1, -1)])
        given = [values, r, chosen, self.x, self.y]
        if graph := self._graph(given):
            return [found[:number] for found in graph(*given)]
        each = [self._of_one(values[i], r[i], *given[2:]) for i in range(number)]
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    def _graph(self, given: list[Tensor]) -> graphs.Function | None:
        """Return the graph for so many restarts, or None where there can be none."""
        size = len(given[0])
        if self.captured and size not in self._graphs:
            try:
                with pyro.validation_enabled(False):
                    first = [given[0][0], given[1][0], *given[2:]]
                    self._one = self._one or graphs.capture(self._of_one, first)
                    many = graphs.side_by_side(self._one, [False, False, True, True, True])
                    self._graphs[size] = graphs.capture(many, given)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):
                self.captured = False
        return self._graphs.get(size)

    def _of_one(self, *given: Tensor) -> list[Tensor]:
        values, r, chosen, x, y = given
        leaf = values.detach().requires_grad_()
        with torch.enable_grad(), parameters_passed_in():
            parts = shaped(leaf, list(self.parameters.values()))
            swapped = dict(zip(self.parameters, parts, strict=True))
            joint, log_gate, scale, prior = functional_call(self.joints[0], swapped, (x, y))
            weights = torch.where(chosen, r, joint.detach().softmax(0)) * scale
            expected = torch.where(weights > 0, weights * joint, 0.0).sum() + prior
            (gradient,) = torch.autograd.grad(expected, leaf)
        likelihood = (joint.logsumexp(0) * scale).sum()
        value = torch.where(chosen, expected, likelihood + prior)
        return [each.detach() for each in (value, gradient, likelihood, joint, log_gate)]
