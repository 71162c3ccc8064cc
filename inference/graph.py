r"""One step of stochastic variational inference as one function of tensors, captured and replayed.

    parameters, moments, state  <-  step(parameters, moments, state, noise, batch, settings)

Trace, objective, gradient, optimiser and the treatment's state are all inside; chance comes in as
raw numbers drawn before. Run as it is (`eager`), Pyro's handlers cost two or three milliseconds a
step. Captured once (`captured`), the tensor operations that it made are replayed without Python's
part; compiled (`compiled`), they are fused by torch's inductor. The first two give the same bits,
the third the same numbers to rounding.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import pyro
import torch
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from pyromoe.guides import Seeded
from pyromoe.guides.noise import FromRaw, Given, Recorded
from pyromoe.inference.optimisers import OPTIMISERS
from pyromoe.models import InputError
from pyromoe.models.trace import parameters_passed_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.fx import GraphModule

    from pyromoe.guides.noise import Recipe
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.models.trace import Program

Mode = Literal["eager", "captured", "compiled"]


class Step:
    """A step that updates the parameters of a model and its guide.

    Works on any program and guide that `Treatment_ELBO` takes, their parameters in modules. Where
    a program cannot be captured (it looks at values in Python, say) the step runs eagerly, and
    `note` says why.

    Args:
        elbo: the treatment and its noise; its state advances with every step.
        model: the model.
        guide: its guide.
        optimiser: "adam", "adamw" or "sgd".
        mode: see above.
        divide_by: the loss is divided by this number, of data for instance.

    Attributes:
        mode: how steps are run now.
        note: why they are not run as was asked, or an empty text.
    """

    def __init__(
        self,
        elbo: Treatment_ELBO,
        model: Program,
        guide: Program,
        *,
        optimiser: str = "adam",
        mode: Mode = "captured",
        divide_by: float = 1.0,
    ) -> None:
        self.elbo, self.mode, self.note = elbo, mode, ""
        self.divide_by = divide_by
        self.module = elbo(model, guide)
        self.model, self.guide = model, guide
        self.start, self.update = OPTIMISERS[optimiser]
        self.parameters = dict(self.module.named_parameters())
        self.moments: Any = self.start([p.detach() for p in self.parameters.values()])
        self.seen = False
        self.graphs: dict[object, tuple[Recipe, Callable[..., Any]]] = {}

    def __call__(
        self, *args: Any, learning_rate: float = 0.01, options: Mapping[str, float] | None = None
    ) -> Tensor:
        """Take a step; return the loss before it, a scalar without a gradient.

        Args:
            *args: of the model; tensors may change from step to step, other arguments make another
                graph, as does another shape (a short last batch).
            learning_rate: of this step.
            options: of the treatment's config, those that change over the fit.
        """
        names = tuple(sorted(options or {}))
        numbers = [learning_rate, *((options or {})[n] for n in names)]
        knobs = [torch.tensor(v, dtype=torch.float64) for v in numbers]
        if not self.seen:
            self._look(args)
        tensors = [a for a in args if torch.is_tensor(a)]
        values = [p.detach() for p in self.parameters.values()]
        before = (values, self.moments, self.elbo.state)
        if self.mode != "eager":
            recipe, graph = self._graph(args, names, before, tensors, knobs)
        if self.mode == "eager":
            after = self._eagerly(args, names)(*before, self.elbo.noise, tensors, knobs)
        else:
            noise = self._draw(recipe)
            with torch.no_grad():
                after = graph(*before, noise, tensors, knobs)
        values, self.moments, self.elbo.state, loss = after
        for parameter, value in zip(self.parameters.values(), values, strict=True):
            parameter.data = value
        taken: Tensor = loss
        return taken

    def _eagerly(self, args: tuple[Any, ...], names: tuple[str, ...]) -> Callable[..., Any]:
        """Return the step as a function of tensors, and of the noise itself or its numbers."""
        plain = self.elbo.config

        def step(
            values: list[Tensor], moments: Any, state: Any, noise: Any, tensors: list[Tensor],
            knobs: list[Tensor],
        ) -> Any:  # fmt: skip
            own, given = self.elbo.noise, iter(tensors)
            filled = [next(given) if torch.is_tensor(a) else a for a in args]
            leaves = [v.detach().requires_grad_() for v in values]
            self.elbo.config = _with_values(plain, dict(zip(names, knobs[1:], strict=True)))
            self.elbo.noise = noise if isinstance(noise, FromRaw) or noise is own else Given(noise)
            self.elbo.state = state
            try:
                swapped = dict(zip(self.parameters, leaves, strict=True))
                with torch.enable_grad(), parameters_passed_in():
                    loss = functional_call(self.module, swapped, tuple(filled)) / self.divide_by
                    found = torch.autograd.grad(loss, leaves, allow_unused=True)
                advanced = self.elbo.state
            finally:
                self.elbo.config, self.elbo.noise = plain, own
            gradients = [
                torch.zeros_like(v) if g is None else g for g, v in zip(found, values, strict=True)
            ]
            with torch.no_grad():
                updated, moments = self.update(values, gradients, moments, knobs[0])
            return updated, moments, advanced, loss.detach()

        return step

    def _graph(
        self, args: tuple[Any, ...], names: tuple[str, ...], before: Any, tensors: Any, knobs: Any
    ) -> tuple[Recipe, Callable[..., Any]]:
        """Return the captured step for arguments of these shapes, and the noise that it takes."""
        key = (*(_shape(a) for a in args), names, self.elbo.config)
        if key not in self.graphs:
            step, state = self._eagerly(args, names), self.elbo.state
            try:
                recipe = self._recipe(args)
                noise = [Recorded().raw(*entry) for entry in recipe]
                with pyro.validation_enabled(False):
                    graph: Any = _lean(make_fx(step)(*before, noise, tensors, knobs))
                if self.mode == "compiled":
                    graph = self._compiled(graph, (*before, noise, tensors, knobs))
                self.graphs[key] = recipe, graph
            except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
                if isinstance(error, InputError):
                    raise
                self.mode, self.note = "eager", f"eager: it cannot be captured ({_first(error)})"
            finally:
                self.elbo.state = state
        return self.graphs.get(key, ([], _nothing))

    def _look(self, args: tuple[Any, ...]) -> None:
        """Run model and guide once as they are: mistakes show, and the first state is made."""
        self.elbo.prepare(self.model, self.guide, *args)
        state, own = self.elbo.state, self.elbo.noise
        self.elbo.noise = Seeded(0)
        try:
            self.elbo.loss(self.model, self.guide, *args)
        finally:
            self.elbo.state, self.elbo.noise = state, own
        self.seen = True

    def _compiled(self, graph: GraphModule, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """Return the graph compiled, or as it is where there is no compiler that takes it."""
        compiled: Callable[..., Any] = torch.compile(graph)
        try:
            with torch.no_grad():
                compiled(*arguments)
        except Exception as error:  # inductor raises what its compiler raises
            self.mode, self.note = "captured", f"captured: it cannot be compiled ({_first(error)})"
            return graph
        return compiled

    def _recipe(self, args: tuple[Any, ...]) -> Recipe:
        """Return what a step asks of raw noise; the step's own noise is left alone."""
        if not isinstance(self.elbo.noise, FromRaw):
            raise TypeError("its noise is not made from raw numbers")
        own, self.elbo.noise = self.elbo.noise, Recorded()
        try:
            self.elbo.loss(self.model, self.guide, *args)
            return self.elbo.noise.recipe
        finally:
            self.elbo.noise = own

    def _draw(self, recipe: Recipe) -> list[Tensor]:
        """Draw raw noise from the treatment's own source, as an eager step would."""
        source: Any = self.elbo.noise
        return [source.raw(*entry) for entry in recipe]


def _lean(graph: GraphModule) -> GraphModule:
    """Drop what only a gradient needs, and what nothing needs: the graph runs without gradients."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _with_values(config: Any, values: Mapping[str, Tensor]) -> Any:
    """Return a config with tensors in the place of numbers, which were checked before."""
    if not values:
        return config
    changed = copy.copy(config)
    for field in dataclasses.fields(config):
        if field.name in values:
            object.__setattr__(changed, field.name, values[field.name])
    return changed


def _first(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]


def _shape(argument: Any) -> object:
    return (argument.shape, argument.dtype) if torch.is_tensor(argument) else argument


def _nothing(*args: Any) -> Any:
    raise AssertionError("an eager step has no graph")
