"""A step whose experts are divided over processes as well as its batch.

Every process evaluates its shards, one after the other, and asks the others for their experts'
outputs. Processes must ask equally often: one that has fewer shards with rows than another takes a
row in their place, which counts nothing. What is not divided gets its gradient as in `ShardedStep`;
that of a process's own experts comes with the rows of all.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pyro
import torch

from pyromoe.inference.distributed.sharded import ShardedStep
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.divided import divided_tensors
from pyromoe.inference.steps.call import tensors_in
from pyromoe.inference.steps.members import shaped
from pyromoe.inference.steps.optimisers import OPTIMISERS
from pyromoe.inference.steps.step import Step
from pyromoe.models.divided_networks import DividedNetworks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.distributed.shards import Shards
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.steps.call import Call
    from pyromoe.models import MixtureOfExperts
    from pyromoe.models.specs.fit_settings import Fit


class DividedStep(ShardedStep):
    """See `ShardedStep`; the same numbers to rounding for any number of processes.

    Steps are run eagerly: no graph holds what processes send to each other.

    Args:
        elbo: the treatment.
        model: with `DividedNetworks`.
        guide: of its weights, a point, and of z.
        shards: into how many parts a batch is divided, and which are this process's.
        spare: the model's arguments with a row that may stand where there is none.
        **options: of `Step`.
    """

    def __init__(
        self,
        elbo: Treatment_ELBO,
        model: MixtureOfExperts,
        guide: WeightedGuide,
        *,
        shards: Shards,
        spare: tuple[Any, ...],
        **options: Any,
    ) -> None:
        super().__init__(elbo, model, guide, shards=shards, **options)
        self.mode, self.note = "eager", "eager: experts are divided over processes"
        assert isinstance(model.experts, DividedNetworks)
        self.bank, self.spare = model.experts, spare
        self.parameters = list(self.members[0].parameters.values())
        own = divided_tensors(model, guide)
        self.divided = [id(p) in own for p in self.parameters]
        each = [torch.full((p.numel(),), id(p) in own) for p in self.parameters]
        self.own = torch.cat(each).to(self.values.device)  # (P,)
        self.most = -(-shards.number // shards.processes.size)  # shards of a process

    def over(
        self,
        pieces: Sequence[tuple[Any, ...]],
        rows: int,
        *,
        learning_rate: float = 0.01,
        options: Mapping[str, float] | None = None,
        stacked: bool = False,
    ) -> Tensor:
        """Take a step; see `ShardedStep`."""
        options, mine = options or {}, self.shards.mine
        counts = [len(tensors_in(piece)[0]) for piece in pieces]
        given = [p if n else self.spare for p, n in zip(pieces, counts, strict=True)]
        given += [self.spare] * (self.most - len(given))
        calls = [self._call(piece, options, stacked) for piece in given]
        self.taken += 1
        knobs = self._knobs(learning_rate, options)
        own, gradient = [], torch.zeros_like(self.values)
        for i, (piece, call) in enumerate(zip(given, calls, strict=True)):
            weight = counts[i] / rows if i < len(mine) else 0.0
            self._seed(mine.start + i)
            loss, found, *state = self._of_rows(call, piece, knobs, weight)
            gradient += found
            own.append(self._flat([loss, found[~self.own], *(leaf * weight for leaf in state)]))
        # What experts here have in common learns from the others' rows in every round.
        last = len(mine) - 1
        total = self.shards.total([*own[:last], sum(own[last + 1 :], own[last])])
        loss, common, *state = self._parts(total)
        gradient[~self.own] = common
        self.asked = bool(total[-1])
        return self._stepped(knobs, loss, gradient, state)

    def _fine(self, fine: Tensor) -> Tensor:
        return torch.full_like(fine, self.everywhere(bool(fine)))

    def everywhere(self, fine: bool) -> bool:
        """See `Step.everywhere`."""
        return all(bool(each) for each in self.shards.processes.gather(torch.tensor(fine)))

    def as_first(self, due: bool) -> bool:
        """See `Step.as_first`."""
        return bool(self.shards.processes.of_first(torch.tensor(due)))

    def gathered(self, saved: Saved) -> Saved:
        """See `Step.gathered`."""
        found = {n: self._whole(t) if self._like(n) else t for n, t in saved.tensors.items()}
        return Saved(found, saved.values, saved.source)

    def scattered(self, saved: Saved) -> Saved:
        """See `Step.scattered`."""
        found = {n: self._share(t) if self._like(n) else t for n, t in saved.tensors.items()}
        return Saved(found, saved.values, saved.source)

    def _of_rows(
        self, call: Call, piece: tuple[Any, ...], knobs: list[Tensor], weight: float
    ) -> list[Tensor]:
        """Return loss and gradient of some rows, weighted, and the next state.

        The loss is weighted before its gradient goes to the processes that hold the experts.
        """
        divide_by = self.divide_by / weight if weight else math.inf
        function = self.members[0].function(call, self.structure, None, divide_by)
        with pyro.validation_enabled(False):  # what is not finite is refused afterwards
            return function(*self._held(), *tensors_in(piece), *knobs[1:])

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what is to be added up as one vector, and whether this process asks to stop."""
        asks = self.values.new_full((1,), float(self.asks))
        return torch.cat([*(t.to(self.values).reshape(-1) for t in tensors), asks])

    def _parts(self, total: Tensor) -> list[Tensor]:
        """Return loss, gradient of what is not divided, and state from one vector."""
        likes = [self.scale[0], self.values[~self.own], *self._held()[1:]]
        parts = total[:-1].split([like.numel() for like in likes])
        pairs = zip(parts, likes, strict=True)
        return [part.reshape(like.shape).to(like) for part, like in pairs]

    def _like(self, name: str) -> bool:
        """Whether a tensor of a checkpoint has a number for each parameter, (P,)."""
        kept = [f"kept_{i}" for i in range(1 + len(self.moments))]
        return name in ("values", "best", *kept) or name.startswith("moment_")

    def _whole(self, vector: Tensor) -> Tensor:
        """Return a vector as of one process, in process 0, from what all have of it, (P,)."""
        parts = []
        for part, divided in zip(shaped(vector, self.parameters), self.divided, strict=True):
            found = self.bank.exchange.in_first(part, self.bank.all) if divided else part
            parts.append(part if found is None else found)
        return torch.cat([part.reshape(-1) for part in parts])

    def _share(self, whole: Tensor) -> Tensor:
        """Return what this process has of a vector as of one process."""
        held, each = self.bank.held, list[int]()
        for parameter, divided in zip(self.parameters, self.divided, strict=True):
            number = parameter.numel()
            each.append(number // len(held) * self.bank.all if divided else number)
        if whole.numel() != sum(each):
            return whole  # of another fit, which is said where its form is looked at
        parts = []
        for part, divided in zip(whole.split(each), self.divided, strict=True):
            rows = part.view(self.bank.all, -1)[held.start : held.stop] if divided else part
            parts.append(rows.reshape(-1))
        return torch.cat(parts)


def step_of(
    settings: Fit,
    members: Sequence[tuple[Treatment_ELBO, Any, Any]],
    shards: Shards,
    x: Tensor,
    y: Tensor,
    size: int,
) -> Step:
    """Return the step that a fit asks for.

    Args:
        settings: of the fit.
        members: the restarts, each an ELBO, a model and its guide.
        shards: into how many parts a batch is divided.
        x: rows in memory, (n, D).
        y: their responses, (n,).
        size: N, of all rows; losses are those of a row.
    """
    optimiser = OPTIMISERS[settings.optimiser or "adam"].decaying(settings.weight_decay)
    make: Callable[..., Step] = partial(ShardedStep, shards=shards) if shards.divided else Step
    if shards.experts:
        make = partial(DividedStep, shards=shards, spare=(x[:1], y[:1], size))
    beside, mode = members[1:], settings.mode
    return make(*members[0], optimiser=optimiser, mode=mode, divide_by=size, beside=beside)
