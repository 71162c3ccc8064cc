"""What takes its steps together: models and guides of one form, each with parameters of its own."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch.func import functional_call
from torch.utils import _pytree as pytree

from pyromoe.guides import Seeded
from pyromoe.guides.noise import FromRaw, Given, Recorded
from pyromoe.inference.steps.call import tensors_in
from pyromoe.models import InputError
from pyromoe.models.trace import parameters_passed_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from pyromoe.guides.noise import Recipe
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.files.checkpoints import Saved
    from pyromoe.inference.steps.call import Call
    from pyromoe.models.trace import Program


@dataclasses.dataclass
class Member:
    """A model and its guide, with a treatment, noise and state of their own."""

    elbo: Treatment_ELBO
    model: Program
    guide: Program

    def __post_init__(self) -> None:
        self.module = self.elbo(self.model, self.guide)
        self.parameters = dict(self.module.named_parameters())

    @property
    def source(self) -> torch.Generator:
        """Where its noise comes from.

        Raises:
            TypeError: for noise that has no generator.
        """
        if not isinstance(self.elbo.noise, Seeded):
            raise TypeError("its noise has no generator whose state could be saved")
        return self.elbo.noise.generator

    def begin(self, args: Sequence[Any]) -> tuple[list[Tensor], Any]:
        """Run model and guide once as they are: mistakes show, and the first state is made."""
        with validated(self.parameters.values()):
            self.elbo.prepare(self.model, self.guide, *args)
            state, own = self.elbo.state, self.elbo.noise
            device = next((p.device for p in self.parameters.values()), torch.device("cpu"))
            self.elbo.noise = Seeded(0, device)
            try:
                self.elbo.loss(self.model, self.guide, *args)
            finally:
                self.elbo.state, self.elbo.noise = state, own
        return to_leaves(state)

    def recipe(self, args: Sequence[Any]) -> Recipe:
        """Return what a step asks of raw noise; the member's own noise is left alone.

        Raises:
            TypeError: for noise that is not made from raw numbers.
        """
        if not isinstance(self.elbo.noise, FromRaw):
            raise TypeError("its noise is not made from raw numbers")
        state, own = self.elbo.state, self.elbo.noise
        self.elbo.noise = Recorded()
        try:
            self.elbo.loss(self.model, self.guide, *args)
            return self.elbo.noise.recipe
        finally:
            self.elbo.state, self.elbo.noise = state, own

    def gradient(
        self,
        values: Tensor,
        state: Any,
        noise: Sequence[Tensor] | None,
        args: Sequence[Any],
        options: Mapping[str, Tensor],
        divide_by: float,
    ) -> tuple[Tensor, Tensor, Any]:
        """Return the loss, its gradient, (P,), and the treatment's next state.

        Args:
            values: the parameters, (P,).
            state: of the treatment.
            noise: raw numbers in the order of the recipe; the member's own noise where it is None.
            args: of the model.
            options: of the treatment's config.
            divide_by: the loss is divided by it.
        """
        own, plain = self.elbo.noise, self.elbo.config
        parameters = list(self.parameters.values())
        leaves = [v.detach().requires_grad_() for v in shaped(values, parameters)]
        self.elbo.config = _with_values(plain, options)
        self.elbo.noise = own if noise is None else Given(noise)
        self.elbo.state = state
        try:
            swapped = dict(zip(self.parameters, leaves, strict=True))
            with torch.enable_grad(), parameters_passed_in():
                loss = functional_call(self.module, swapped, tuple(args)) / divide_by
                found = torch.autograd.grad(loss, leaves, allow_unused=True)
            advanced = self.elbo.state
        finally:
            self.elbo.config, self.elbo.noise, self.elbo.state = plain, own, state
        each = [torch.zeros_like(v) if g is None else g for g, v in zip(found, leaves, strict=True)]
        return loss.detach(), torch.cat([g.reshape(-1) for g in each]), advanced

    def function(
        self, call: Call, structure: Any, draws: int | None, divide_by: float
    ) -> Callable[..., list[Tensor]]:
        """Return the gradient as a function of tensors alone.

        It takes the parameters, (P,), the leaves of the state, as many tensors of raw noise as
        there are draws (None: noise is the member's own), the tensors among the model's arguments
        and the options; it returns loss, gradient and the leaves of the next state.
        """
        leaves = 0 if structure is None else structure.num_leaves
        counts = [1, leaves, draws or 0, len(tensors_in(call.args)), len(call.names)]
        ends = [*accumulate(counts, initial=0)]

        def gradient(*given: Tensor) -> list[Tensor]:
            values, held, noise, tensors, options = (given[a:b] for a, b in pairwise(ends))
            loss, found, state = self.gradient(
                values[0],
                to_state(held, structure),
                None if draws is None else noise,
                call.filled(tensors),
                dict(zip(call.names, options, strict=True)),
                divide_by,
            )
            return [loss, found, *to_leaves(state)[0]]

        return gradient


def validated(parameters: Iterable[Tensor]) -> AbstractContextManager[None]:
    """Let Pyro look for mistakes of a program, unless parameters are not finite: those are none."""
    finite = all(bool(p.isfinite().all()) for p in parameters)
    return nullcontext() if finite else pyro.validation_enabled(False)


def flat(members: Sequence[Member]) -> Tensor:
    """Return all parameters as a vector, (P,), or a matrix, (R, P), and make the modules' views.

    Raises:
        InputError: where there are none, or they are of several types or devices.
    """
    each = [list(m.parameters.values()) for m in members]
    kinds = {(p.dtype, p.device) for parameters in each for p in parameters}
    if len(kinds) != 1:
        found = "parameters of several types or devices" if kinds else "no parameters"
        remedy = "give them one, e.g. by model.to(torch.float64)" if kinds else "add a PyroParam"
        raise InputError(f"model and guide have {found}", remedy=remedy)
    rows = [torch.cat([p.detach().reshape(-1) for p in parameters]) for parameters in each]
    values = torch.stack(rows)
    for row, parameters in zip(values, each, strict=True):
        for parameter, value in zip(parameters, shaped(row, parameters), strict=True):
            parameter.data = value
    return values if len(rows) > 1 else values[0]


def take_up(members: Sequence[Member], saved: Saved | None, state: list[Tensor]) -> list[Tensor]:
    """Return the leaves of the treatments' states, as they were saved if they were.

    The noise of the members goes on from where it was.
    """
    if saved is None:
        return state
    for r, member in enumerate(members):
        member.source.set_state(saved.like(f"noise_{r}", member.source.get_state()))
    return [saved.like(f"state_{i}", leaf) for i, leaf in enumerate(state)]


def shaped(values: Tensor, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """Yield the parameters as views of their vector, (P,)."""
    parts = values.split([p.numel() for p in parameters])
    return (part.view(p.shape) for part, p in zip(parts, parameters, strict=True))


def to_leaves(state: Any) -> tuple[list[Tensor], Any]:
    """Return the tensors of a treatment's state, and its structure; there may be none."""
    if state is None:
        return [], None
    # A step may name what it learned in another order.
    return pytree.tree_flatten(dict(sorted(state.items())) if isinstance(state, dict) else state)


def to_state(leaves: Sequence[Tensor], structure: Any) -> Any:
    """Return the state made of these tensors."""
    return None if structure is None else pytree.tree_unflatten(leaves, structure)


def _with_values(config: Any, values: Mapping[str, Tensor]) -> Any:
    """Return a config with tensors in the place of numbers, which were checked before."""
    if not values:
        return config
    changed = copy.copy(config)
    for field in dataclasses.fields(config):
        if field.name in values:
            object.__setattr__(changed, field.name, values[field.name])
    return changed
