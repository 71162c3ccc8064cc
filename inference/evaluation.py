"""The exact log-likelihood of the training rows, of several members in one graph if possible."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyromoe.inference import graph as graphs
from pyromoe.inference.members import shaped
from pyromoe.inference.probabilities import CHUNK, log_likelihood
from pyromoe.models.trace import parameters_passed_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.members import Member
    from pyromoe.models import MixtureOfExperts


class Exact(nn.Module):
    """A model and its guide as a function of rows: log p(y | x), (N,), z summed out."""

    def __init__(self, model: MixtureOfExperts, guide: WeightedGuide) -> None:
        super().__init__()
        self.model, self.guide = model, guide

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(y | x), (N,), on the encoded scale, as often as each datum counts."""
        each = log_likelihood(self.model, self.guide.weights.values(), x, y)
        return each * self.model.weight(x)


class Evaluation:
    """Evaluates the members of a step.

    Args:
        members: models of one form with a `WeightedGuide` each.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.graph: graphs.Function | None = None
        self.tried = False

    def __call__(self, values: Tensor, x: Tensor, y: Tensor) -> list[float]:
        """Return log p(y | x), summed over the rows, of every member, in nats.

        Args:
            values: the parameters, (R, P).
            x: the rows, (N, D), always the same.
            y: their responses, (N,).
        """
        if self.graph is None and len(self.members) > 1 and len(x) <= CHUNK and not self.tried:
            self.tried = True
            with suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
                self.graph = self._captured(values, x, y)
        if self.graph is None:
            each = (Exact(m.model, m.guide) for m in self.members)
            return [float(exact(x, y).double().sum()) for exact in each]
        with torch.no_grad():
            found: list[float] = self.graph(values, x, y)[0].tolist()
        return found

    def _captured(self, values: Tensor, x: Tensor, y: Tensor) -> graphs.Function:
        """Return the evaluation of all members as one graph."""
        member = self.members[0]
        exact, parameters = Exact(member.model, member.guide), list(member.parameters.values())
        names = {id(p): name for name, p in exact.named_parameters()}

        def evaluate(row: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
            parts = zip(parameters, shaped(row, parameters), strict=True)
            swapped = {names[id(p)]: part for p, part in parts if id(p) in names}
            with parameters_passed_in():
                return [functional_call(exact, swapped, (x, y)).double().sum()]

        with torch.no_grad(), pyro.validation_enabled(False):
            graph = graphs.capture(evaluate, [values[0], x, y])
            return graphs.capture(graphs.side_by_side(graph, [False, True, True]), [values, x, y])
