"""A step whose batch is divided into shards, which several processes may compute.

What the shards find is added up, weighted by their rows; the optimiser's part is then done in every
process. Each shard has noise of its own, seeded by the number of the step, and is a batch of its
own for a treatment that looks at its batch as a whole. What treatments learn is averaged too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.distributed.shards import Shards, key
from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.call import tensors_in
from pyromoe.inference.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.steps.call import Call
    from pyromoe.models.trace import Program

    Gradients = Callable[[Sequence[Tensor], list[Tensor]], list[Tensor]]


class ShardedStep(Step):
    """A step over the shards of a batch; the same bits for any number of processes.

    Args:
        elbo: see `Step`, as all else; its noise must have a generator.
        model: the model.
        guide: its guide.
        shards: into how many parts a batch is divided, and which are this process's.
        **options: of `Step`. The mode "auto" is "captured" here: what processes measure differs.

    Raises:
        TypeError: for noise without a generator.

    >>> import torch
    >>> from pyromoe.guides import AmortisedGuide
    >>> from pyromoe.inference import Shards, ShardedStep, Treatment_ELBO
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> guide, x, y = AmortisedGuide(model), torch.randn(20, 2), torch.randn(20)
    >>> step = ShardedStep(Treatment_ELBO("leave_one_out"), model, guide, shards=Shards(4))
    >>> step(x, y, 20).shape  # of rows, (N, D), (N,), and their number
    torch.Size([])
    """

    def __init__(
        self,
        elbo: Treatment_ELBO,
        model: Program,
        guide: Program,
        *,
        shards: Shards,
        **options: Any,
    ) -> None:
        super().__init__(elbo, model, guide, **options)
        self.mode = "captured" if self.mode == "auto" else self.mode
        self.shards = shards
        self.seeds = [member.source.initial_seed() for member in self.members]
        self.asks = self.asked = False  # to stop: this process, and any before the last step
        self.gradients: dict[object, Gradients] = {}

    def __call__(
        self,
        *args: Any,
        learning_rate: float = 0.01,
        options: Mapping[str, float] | None = None,
        stacked: bool = False,
    ) -> Tensor:
        """Take a step; see `Step`. Rows are the first dimension of tensors, or that after R."""
        dim = int(stacked)
        rows = tensors_in(args)[0].shape[dim]
        each = [self.shards.of(a, dim) if torch.is_tensor(a) else a for a in args]
        pieces = [
            tuple(a[i] if isinstance(a, tuple) else a for a in each)
            for i in range(len(self.shards.mine))
        ]
        return self.over(
            pieces, rows, learning_rate=learning_rate, options=options, stacked=stacked
        )

    def over(
        self,
        pieces: Sequence[tuple[Any, ...]],
        rows: int,
        *,
        learning_rate: float = 0.01,
        options: Mapping[str, float] | None = None,
        stacked: bool = False,
    ) -> Tensor:
        """Take a step, its batch given as this process's shards of it; return the loss, see `Step`.

        It is a scalar, or (R,).

        Args:
            pieces: the arguments of the model for each shard of this process, which may have no
                rows.
            rows: of the whole batch.
            learning_rate: of this step.
            options: of the treatment's config, those that change over the fit.
            stacked: see `Step`.
        """
        options = options or {}
        counts = [tensors_in(piece)[0].shape[int(stacked)] for piece in pieces]
        calls = [
            self._call(piece, options, stacked) if count else None
            for piece, count in zip(pieces, counts, strict=True)
        ]
        self.taken += 1
        knobs = self._knobs(learning_rate, options)
        own = []
        for s, piece, call, count in zip(self.shards.mine, pieces, calls, counts, strict=True):
            found = None
            if call is not None:
                self._seed(s)
                found = self._of_shard(call, knobs)(tensors_in(piece), knobs)
            own.append(self._weighted(found, count / rows))
        loss, gradient, *state, asked = self._split(self.shards.total(own))
        self.asked = bool(asked)
        return self._stepped(knobs, loss, gradient, state)

    def _seed(self, shard: int) -> None:
        """Begin the noise of a shard."""
        for member, seed in zip(self.members, self.seeds, strict=True):
            member.source.manual_seed(key(seed, self.taken, shard))

    def _stepped(
        self, knobs: list[Tensor], loss: Tensor, gradient: Tensor, state: Sequence[Tensor]
    ) -> Tensor:
        """Do the optimiser's part of a step; return the loss."""
        with torch.no_grad():
            step = self.optimiser.with_gradient(lambda values, *found: list(found))
            given = [*self.moments, self.values, loss, gradient, *state]
            loss, fine, *after = step(knobs[0], self.scale, *given)
            return self._taken(knobs[0], loss, self._fine(fine), *after)

    def _fine(self, fine: Tensor) -> Tensor:
        """Return whether each member may take the step, (1,) or (R, 1); all processes know it."""
        return fine

    def agreed(self, *, stops: bool) -> bool:
        """Return whether any process was asked to stop before the last step, so that all do."""
        self.asks = stops
        return self.asked

    def _begin(self, call: Call) -> None:
        """Look at every member; treatments learn from the same beginning in every process."""
        super()._begin(call)
        self.state = [self.shards.processes.of_first(leaf) for leaf in self.state or []]

    def _of_shard(self, call: Call, knobs: list[Tensor]) -> Gradients:
        """Return the function that finds loss, gradient and next state of a shard of this form."""
        found = (self.mode, call.key)
        if found not in self.gradients:
            eager = self.mode == "eager" or self.note.startswith("eager")
            made = None if eager else self._gradient_as_graph(call, knobs)
            self.gradients[found] = made or self._gradient_in_python(call)
        return self.gradients[found]

    def _gradient_as_graph(self, call: Call, knobs: list[Tensor]) -> Gradients | None:
        with self._capturing():
            gradient, given, recipe = self._to_capture(call, knobs)
            run = self._made(self.mode, call, graphs.capture(gradient, given), given)

            def replay(tensors: Sequence[Tensor], knobs: list[Tensor]) -> list[Tensor]:
                with torch.no_grad():
                    return run(*self._held(), *self._drawn(recipe), *tensors, *knobs[1:])

            return replay
        return None

    def _gradient_in_python(self, call: Call) -> Gradients:
        gradient = self._in_python(call)
        return lambda tensors, knobs: gradient(*self._held(), *tensors, *knobs[1:])

    def _weighted(self, found: Sequence[Tensor] | None, weight: float) -> Tensor:
        """Return what a shard found, weighted, as one vector; zeros of a shard without rows."""
        asks = self.values.new_full((1,), float(self.asks))
        if found is None:
            return torch.cat([self.values.new_zeros(sum(self._sizes()) - 1), asks])
        flat = torch.cat([tensor.to(self.values).reshape(-1) for tensor in found])
        return torch.cat([flat * weight, asks])

    def _split(self, total: Tensor) -> list[Tensor]:
        """Return loss, gradient, the leaves of the state and who asked, from one vector."""
        likes = [self.scale[..., 0] if self.scale.dim() > 1 else self.scale[0], *self._held()]
        parts = total.split(self._sizes())
        found = [part.reshape(like.shape).to(like) for part, like in zip(parts, likes)]  # noqa: B905
        return [*found, parts[-1]]

    def _sizes(self) -> list[int]:
        return [len(self.members), *(held.numel() for held in self._held()), 1]
