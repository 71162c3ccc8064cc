"""Exact log-likelihoods of rows and who has them, of several members in one graph if possible."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyromoe.inference.distributed.shards import Shards
from pyromoe.inference.fitting.probabilities import CHUNK, log_probabilities
from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.members import shaped
from pyromoe.models.divided_networks import DividedNetworks
from pyromoe.models.trace import parameters_passed_in, run_given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.steps.members import Member
    from pyromoe.models import MixtureOfExperts


class Exact(nn.Module):
    """A model and its guide as a function of rows, z summed out."""

    def __init__(self, model: MixtureOfExperts, guide: WeightedGuide) -> None:
        super().__init__()
        self.model, self.guide = model, guide

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(y | x), a scalar, and the mean responsibilities, (K,).

        The former on the encoded scale, each datum as often as it counts.
        """
        joint = log_probabilities(self.model, self.guide.weights.values(), x, y)
        each = joint.logsumexp(-1) * self.model.weight(x)
        return each.double().sum(), joint.softmax(-1).mean(0)


class Evaluation:
    """Evaluates the members of a step.

    Args:
        members: models of one form with a `WeightedGuide` each.
        shards: into how many parts the rows are divided, and which are this process's.
    """

    def __init__(
        self,
        members: Sequence[Member],
        shards: Shards = Shards(),  # noqa: B008  # frozen
    ) -> None:
        self.members, self.shards = members, shards
        self.graphs: dict[int, graphs.Function | None] = {}

    def __call__(self, values: Tensor, x: Tensor, y: Tensor) -> tuple[list[float], Tensor]:
        """Return log p(y | x) of every member, summed over the rows, in nats, and (R, K).

        The latter are the mean responsibilities of the experts.

        Args:
            values: the parameters, (R, P).
            x: the rows, (N, D), always the same.
            y: their responses, (N,).
        """
        if not self.shards.divided:
            totals, shares = self._of(values, x, y)
            return totals.tolist(), shares
        own = []
        for a, b in zip(self.shards.of(x), self.shards.of(y), strict=True):
            totals, shares = self._of(values, a, b)
            own.append(torch.cat([totals[:, None], shares.double() * len(a)], 1).flatten())
        for member in self.members if self.shards.experts else []:
            _wait(member.model, member.guide)
        each = self.shards.total(own).reshape(len(self.members), -1)
        return each[:, 0].tolist(), (each[:, 1:] / len(x)).to(values.dtype)

    def _of(self, values: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return totals, (R,), and mean responsibilities, (R, K), of some of the rows."""
        if not len(x):  # a shard of few rows may have none
            number = self.members[0].model.num_experts
            shares = values.new_zeros(len(self.members), number)
            return shares[:, 0].double(), shares
        if len(x) not in self.graphs:
            self.graphs[len(x)] = None
            if len(x) <= CHUNK and len(self.members) > 1:
                with suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
                    self.graphs[len(x)] = self._captured(values, x, y)
        with torch.no_grad(), pyro.validation_enabled(False):  # it is asked what is finite
            if graph := self.graphs[len(x)]:
                totals, shares = graph(values, x, y)
                return totals, shares
            found = [Exact(m.model, m.guide)(x, y) for m in self.members]
            totals, shares = (torch.stack(each) for each in zip(*found, strict=True))
            return totals, shares

    def _captured(self, values: Tensor, x: Tensor, y: Tensor) -> graphs.Function:
        """Return the evaluation of all members as one graph."""
        member = self.members[0]
        exact, parameters = Exact(member.model, member.guide), list(member.parameters.values())
        names = {id(p): name for name, p in exact.named_parameters()}

        def evaluate(row: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
            parts = zip(parameters, shaped(row, parameters), strict=True)
            swapped = {names[id(p)]: part for p, part in parts if id(p) in names}
            with parameters_passed_in():
                return list(functional_call(exact, swapped, (x, y)))

        with torch.no_grad(), pyro.validation_enabled(False):
            graph = graphs.capture(evaluate, [values[0], x, y])
            return graphs.capture(graphs.side_by_side(graph, [False, True, True]), [values, x, y])


def _wait(model: MixtureOfExperts, guide: WeightedGuide) -> None:
    """Let other processes ask for outputs of experts of this one, until none does any more."""
    assert isinstance(model.experts, DividedNetworks)
    with torch.no_grad():
        model.experts.wait(run_given(model.layers, guide.weights.values()))
