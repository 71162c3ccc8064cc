"""The gradient of several members side by side, as a function in Python or as a graph."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro
import torch

from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.auto import Auto
from pyromoe.inference.steps.call import tensors_in
from pyromoe.inference.steps.members import Member, flat, take_up, to_state
from pyromoe.inference.steps.replay import replayed
from pyromoe.models import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from torch.fx import GraphModule

    from pyromoe.guides.noise import Recipe
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.files.checkpoints import Saved
    from pyromoe.inference.steps.auto import Mode
    from pyromoe.inference.steps.call import Call
    from pyromoe.models.trace import Program


class SideBySide:
    """Members of one form, their parameters in one vector, and what their treatments have learned.

    Args:
        members: ELBO, model and guide of each.
        divide_by: the loss is divided by this number.

    Attributes:
        values: the parameters, (P,), or (R, P) of several members.
        state: the leaves of the treatments' states; None before the first call.
        before: what is to be taken up at the first call.
        note: why steps are not run as was asked, or an empty text.
        auto: what is known of the graphs.
    """

    def __init__(
        self, members: Sequence[tuple[Treatment_ELBO, Program, Program]], divide_by: float
    ) -> None:
        self.members = [Member(*each) for each in members]
        self.divide_by, self.note = divide_by, ""
        self.values = flat(self.members)
        self.state: list[Tensor] | None = None
        self.before: Saved | None = None
        self.auto = Auto("captured" if len(self.members) > 1 else "eager")

    def _begin(self, call: Call) -> None:
        """Look at every member, and take over the treatments' states."""
        leaves = []
        for r, member in enumerate(self.members):
            found, self.structure = member.begin(call.of(r))
            leaves.append(found)
        stacked = [torch.stack(each) for each in zip(*leaves, strict=True)]
        self.state = stacked if len(self.members) > 1 else leaves[0]
        self.state = take_up(self.members, self.before, self.state)

    def _give_state(self, r: int) -> None:
        assert self.state is not None
        leaves = [leaf[r] for leaf in self.state] if len(self.members) > 1 else self.state
        self.members[r].elbo.state = to_state(leaves, self.structure)

    def _in_python(self, call: Call) -> graphs.Function:
        """Return the gradient in Python, member by member."""
        gradients = [self._gradient(member, call) for member in self.members]
        one_by_one = graphs.one_by_one(gradients, self._shared(call, 0))

        def gradient(*given: Tensor) -> list[Tensor]:
            with pyro.validation_enabled(False):  # what is not finite is refused afterwards
                return one_by_one(*given)

        return gradient

    @contextmanager
    def _capturing(self) -> Iterator[None]:
        """Go on without a graph, and say why, where a program cannot be captured."""
        try:
            with pyro.validation_enabled(False):
                yield
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            if isinstance(error, InputError):
                raise
            self.note = f"eager: it cannot be captured ({graphs.reason(error)})"

    def _to_capture(
        self, call: Call, knobs: list[Tensor]
    ) -> tuple[graphs.Function, list[Tensor], Recipe]:
        """Return the gradient of all members, what it is given, and how its noise is drawn."""
        first, many = call.of(0), len(self.members) > 1
        recipe = self.members[0].recipe(first)
        noise = [like.new_full(shape, 0.5) for _, shape, like in recipe]
        gradient = self._gradient(self.members[0], call, len(noise))
        if many:
            held = [h[0] for h in self._held()]
            one = graphs.capture(gradient, [*held, *noise, *tensors_in(first), *knobs[1:]])
            gradient = graphs.side_by_side(one, self._shared(call, len(noise)))
            noise = [torch.stack([n] * len(self.members)) for n in noise]
        return gradient, [*self._held(), *noise, *tensors_in(call.args), *knobs[1:]], recipe

    def _made(
        self, mode: Mode, call: Call, graph: GraphModule, given: list[Tensor]
    ) -> graphs.Function:
        """Return a graph as it is run."""
        return self._compiled(call, graph, given) if mode == "compiled" else replayed(graph)

    def _compiled(self, call: Call, graph: GraphModule, given: list[Tensor]) -> graphs.Function:
        """Return the graph compiled, or as it is where there is no compiler that takes it."""
        started = time.perf_counter()
        try:
            compiled = graphs.compiled(graph, given)
            self.auto.compiled(call.key, time.perf_counter() - started)
            return compiled
        except Exception as error:  # inductor raises what its compiler raises
            self.note = f"captured: it cannot be compiled ({graphs.reason(error)})"
            return replayed(graph)

    def _drawn(self, recipe: Recipe) -> list[Tensor]:
        """Return the raw noise of a step, (...), or of all members, (R, ...)."""
        sources: list[Any] = [m.elbo for m in self.members]
        noise = [[s.noise.raw(*entry) for entry in recipe] for s in sources]
        return noise[0] if len(noise) == 1 else [*map(torch.stack, zip(*noise, strict=True))]

    def _gradient(self, member: Member, call: Call, draws: int | None = None) -> graphs.Function:
        return member.function(call, self.structure, draws, self.divide_by)

    def _held(self) -> list[Tensor]:
        """Return values and states."""
        assert self.state is not None
        return [self.values, *self.state]

    def _shared(self, call: Call, draws: int) -> list[bool]:
        """Return which arguments of a gradient are the same for all members."""
        own, tensors = len(self._held()) + draws, len(tensors_in(call.args))
        return [*[False] * own, *[not call.stacked] * tensors, *[True] * len(call.names)]
