r"""One step of stochastic variational inference as one function of tensors.

    parameters, moments, state  <-  step(parameters, moments, state, noise, batch, settings)

Trace, objective, gradient, optimiser and the treatment's state are all inside; chance comes in as
raw numbers drawn before. Run as it is (`eager`), Pyro's handlers cost two or three milliseconds a
step. Captured once (`captured`), the tensor operations that it made are replayed without Python's
part; compiled (`compiled`), they are fused by torch's inductor. The first two give the same bits,
the third the same numbers to rounding.

All parameters lie in one flat vector, (P,), of which the modules hold views; those of several
members (the restarts of a fit) in one matrix, (R, P), and one graph serves them all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.call import Call, form, tensors_in
from pyromoe.inference.steps.optimisers import Optimiser, as_optimiser
from pyromoe.inference.steps.side_by_side import SideBySide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from pyromoe.guides.noise import Recipe
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.files.checkpoints import Saved
    from pyromoe.inference.steps.auto import Mode
    from pyromoe.models.trace import Program

    Run = Callable[[list[Tensor], list[Tensor]], Tensor]


class Step(SideBySide):
    """A step that updates the parameters of a model and its guide, or of several side by side.

    Works on any program and guide that `Treatment_ELBO` takes, their parameters in modules. Where
    a program cannot be captured (it looks at values in Python, say) the step runs eagerly, and
    `note` says why.

    Args:
        elbo: the treatment and its noise; its state advances with every step.
        model: the model.
        guide: its guide.
        optimiser: "adam", "adamw" or "sgd", or one of `OPTIMISERS` with another weight decay.
        mode: see above; "auto" chooses by the work ahead. It may be changed between steps.
        divide_by: the loss is divided by this number, of data for instance.
        beside: more members (elbo, model, guide) of the same form, which take their steps at the
            same time.

    Attributes:
        mode: how steps are run.
        note: why they are not run as was asked, or an empty text.
        ahead: how many steps are still to come, for "auto".
        taken: how many were taken.
        scale: how much of a step each member takes, (1,) or (R, 1); 1 unless it is changed.
        fine: whether each member took the last step, (1,) or (R, 1). Where the loss, or what would
            come out of the step, is not finite or near overflow, all stays as it was.

    >>> import torch
    >>> from pyromoe.guides import AmortisedGuide
    >>> from pyromoe.inference import Step, Treatment_ELBO
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> guide, x, y = AmortisedGuide(model), torch.randn(20, 2), torch.randn(20)
    >>> step = Step(Treatment_ELBO("gumbel_softmax", temperature=0.5), model, guide)
    >>> losses = [float(step(x, y, options={"lr": 0.01})) for _ in range(3)]
    >>> step.taken, step.note
    (3, '')
    """

    def __init__(
        self,
        elbo: Treatment_ELBO,
        model: Program,
        guide: Program,
        *,
        optimiser: str | Optimiser = "adam",
        mode: Mode = "captured",
        divide_by: float = 1.0,
        beside: Sequence[tuple[Treatment_ELBO, Program, Program]] = (),
    ) -> None:
        super().__init__([(elbo, model, guide), *beside], divide_by)
        self.mode, self.optimiser = mode, as_optimiser(optimiser)
        self.moments = [torch.zeros_like(self.values) for _ in range(self.optimiser.moments)]
        self.scale = torch.ones_like(self.values[..., :1])
        self.fine = self.scale > 0
        self.taken, self.ahead = 0, 0
        self.calls: dict[object, Call] = {}
        self.runs: dict[object, Run] = {}

    def __call__(
        self,
        *args: Any,
        learning_rate: float = 0.01,
        options: Mapping[str, float] | None = None,
        stacked: bool = False,
    ) -> Tensor:
        """Take a step; return the loss before it, a scalar, or (R,), without a gradient.

        Args:
            *args: of the model; tensors may change from step to step, other arguments make another
                graph, as does another shape (a short last batch).
            learning_rate: of this step.
            options: of the treatment's config, those that change over the fit.
            stacked: whether the tensors among the arguments have a leading dimension, a slice for
                each member; otherwise all members are given the same.
        """
        call = self._call(args, options or {}, stacked)
        self.taken += 1
        knobs, tensors = self._knobs(learning_rate, options or {}), tensors_in(args)
        if self.mode != "auto":
            return self._run(self.mode, call, knobs)(tensors, knobs)
        chosen = self.auto.mode(call.key, self.ahead)
        run, started = self._run(chosen, call, knobs), time.perf_counter()
        loss = run(tensors, knobs)
        self.auto.record(call.key, chosen, time.perf_counter() - started)
        return loss

    def ready(
        self, *args: Any, options: Mapping[str, float] | None = None, stacked: bool = False
    ) -> None:
        """Make the graph for such a call beforehand, without taking a step."""
        call = self._call(args, options or {}, stacked)
        if self.mode != "auto":
            self._run(self.mode, call, self._knobs(0.0, options or {}))

    @property
    def ran(self) -> str:
        """How steps were run: for metrics and messages."""
        return self.note or (self.auto.text if self.mode == "auto" else self.mode)

    def over(
        self,
        pieces: Sequence[tuple[Any, ...]],
        rows: int,
        *,
        learning_rate: float = 0.01,
        options: Mapping[str, float] | None = None,
        stacked: bool = False,
    ) -> Tensor:
        """Take a step, the arguments given as the one piece of a batch; return the loss, a scalar.

        It is (R,) of several members; see `ShardedStep.over`.
        """
        (piece,) = pieces
        return self(*piece, learning_rate=learning_rate, options=options, stacked=stacked)

    def agreed(self, *, stops: bool) -> bool:
        """Return whether to stop, from whether this process is asked to; see `ShardedStep`."""
        return stops

    def everywhere(self, fine: bool) -> bool:
        """Whether numbers are fine in every process that has some of them."""
        return fine

    def as_first(self, due: bool) -> bool:
        """Whether it is time to save: all processes that have something to save do it at once."""
        return due

    def gathered(self, saved: Saved) -> Saved:
        """Return a checkpoint as one process writes it, from what processes have of it."""
        return saved

    def scattered(self, saved: Saved) -> Saved:
        """Return what this process has of a checkpoint that was written by one."""
        return saved

    def hand_over(self) -> None:
        """Give modules numbers of their own in the place of views, and treatments their states."""
        for r, member in enumerate(self.members):
            for parameter in member.parameters.values():
                parameter.data = parameter.data.clone()
            if self.state is not None:
                self._give_state(r)

    def _call(self, args: tuple[Any, ...], options: Mapping[str, float], stacked: bool) -> Call:
        """Return the form of a call; before the first, look at the members."""
        names = tuple(options)
        key = (*map(form, args), names, stacked, self.members[0].elbo.config)
        if key not in self.calls:
            self.calls[key] = Call(args, names, stacked, key)
        if self.state is None:
            self._begin(self.calls[key])
        return self.calls[key]

    def _knobs(self, learning_rate: float, options: Mapping[str, float]) -> list[Tensor]:
        """Return what may change from step to step as tensors: first the optimiser's factors."""
        factors = self.optimiser.factors(max(1, self.taken), learning_rate)
        knobs = [self.values.new_tensor(factors)]
        return knobs + [self.values.new_tensor(v, dtype=torch.float64) for v in options.values()]

    def _run(self, mode: Mode, call: Call, knobs: list[Tensor]) -> Run:
        """Return the function that takes a step of this form."""
        key = (mode, call.key)
        if key not in self.runs:
            mode = "eager" if self.note.startswith("eager") else mode
            run = None if mode == "eager" else self._as_graph(mode, call, knobs)
            self.runs[key] = run or self._eagerly(call)
        return self.runs[key]

    def _eagerly(self, call: Call) -> Run:
        """Return the step in Python."""
        return self._replay(self.optimiser.with_gradient(self._in_python(call)), [])

    def _as_graph(self, mode: Mode, call: Call, knobs: list[Tensor]) -> Run | None:
        """Return the step as a graph, or None, and say why, where it cannot be captured."""
        with self._capturing():
            gradient, given, recipe = self._to_capture(call, knobs)
            given = [knobs[0], self.scale, *self.moments, *given]
            graph = graphs.capture(self.optimiser.with_gradient(gradient), given)
            self.auto.captured(call.key, graph, given)
            return self._replay(self._made(mode, call, graph, given), recipe)
        return None

    def _replay(self, step: graphs.Function, recipe: Recipe) -> Run:
        """Return the step by a function, its noise drawn from each member's own source."""

        def run(tensors: list[Tensor], knobs: list[Tensor]) -> Tensor:
            drawn = self._drawn(recipe)
            with torch.no_grad():
                given = [*self.moments, *self._held(), *drawn, *tensors, *knobs[1:]]
                return self._taken(knobs[0], *step(knobs[0], self.scale, *given))

        return run

    def _taken(self, factors: Tensor, loss: Tensor, fine: Tensor, *found: Tensor) -> Tensor:
        """Take over what a step found where it is fine; return the loss."""
        before, rule = [*self.moments, *self._held()[1:]], self.optimiser
        self.fine = fine
        after = rule.take(self.values, before, factors, fine, *found)
        self.moments, self.state = after[: rule.moments], after[rule.moments :]
        if self.state and len(self.members) == 1:
            self._give_state(0)
        return loss
