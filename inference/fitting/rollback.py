"""What becomes of a restart whose numbers are not finite: back, and on with smaller steps.

A step that is not fine changes nothing. Its restart goes back to where it last was fine, and takes
steps of half the size from there; after `TRIES` times it is left behind, with what is wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.fitting.events import silent
from pyromoe.inference.steps.optimisers import LARGEST, is_fine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.inference.steps.step import Step

TRIES = 3
"""How often a restart may go back."""


class Rollback:
    """Watches the restarts of a step, and takes them back.

    Args:
        take: their step.
        restarts: how often each went back, and what is wrong with it, is noted in them.
        diagnose: returns what is wrong with a restart, from what was seen of it.
        log: told when one goes back, and when one is left behind.

    Attributes:
        kept: values, moments and leaves of the state where each restart was fine, (R, ...); the
            leaves are missing until the first exact log-likelihood.
    """

    def __init__(
        self,
        take: Step,
        restarts: Sequence[Restart],
        diagnose: Callable[[Restart, str], str],
        log: Log = silent,
    ) -> None:
        self.take, self.restarts, self.diagnose, self.log = take, restarts, diagnose, log
        self.kept = [tensor.clone() for tensor in self._now()]

    def check(self, losses: list[float]) -> list[float]:
        """Return the losses of the last step, NaN where it was left undone."""
        if bool(self.take.fine.all()):
            return losses
        for r, fine in enumerate(self.take.fine.reshape(-1).tolist()):
            if not fine:
                large = not abs(losses[r]) < LARGEST
                what = f"the loss is {losses[r]:.3g}" if large else "the gradient is too large"
                self._back(r, f"{what} at step {self.take.taken}")
                losses[r] = math.nan
        return losses

    def keep(self, r: int, log_likelihood: float) -> bool:
        """Note where a restart is, or go back where its numbers are not finite.

        Args:
            r: its place.
            log_likelihood: exact, nats a datum.
        """
        now = self._now()
        if len(self.kept) < len(now):
            self.kept += [tensor.clone() for tensor in now[len(self.kept) :]]
        rows, moments = self._of(now, r), len(self.take.moments)
        squares = rows[2 : 1 + moments]
        others = [*rows[: min(2, 1 + moments)], *rows[1 + moments :]]
        fine = is_fine(rows[0].new_tensor(log_likelihood), others, squares)
        if self.take.everywhere(bool(fine)):
            for kept, row in zip(self._of(self.kept, r), rows, strict=True):
                kept.copy_(row)
            return True
        what = "parameters are not finite, or too large,"
        if not abs(log_likelihood) < LARGEST:
            what = f"log p(y | x) is {log_likelihood:.3g} nats a datum"
        self._back(r, f"{what} after step {self.take.taken}")
        return False

    def end(self) -> None:
        """Note what is wrong with restarts that never were fine."""
        for restart in self.restarts:
            if restart.log_likelihood is None and not restart.failure:
                restart.failure = self.diagnose(restart, "no step could be taken")

    def _back(self, r: int, what: str) -> None:
        """Take a restart back, or note what is wrong with it."""
        restart = self.restarts[r]
        if not restart.going:
            return
        if restart.retries == TRIES:
            restart.failure = self.diagnose(restart, what)
            self.log("alarm", restart=restart.seed, step=self.take.taken, what=restart.failure)
            return
        restart.retries += 1
        self.log("retry", restart=restart.seed, step=self.take.taken, why=what)
        self.take.scale.reshape(-1)[r] /= 2
        with torch.no_grad():
            for row, kept in zip(self._of(self._now(), r), self._of(self.kept, r), strict=False):
                row.copy_(kept)

    def _now(self) -> list[Tensor]:
        """Return values, moments and the leaves of the state, where there are any yet."""
        return [self.take.values, *self.take.moments, *(self.take.state or [])]

    def _of(self, tensors: Sequence[Tensor], r: int) -> list[Tensor]:
        """Return what belongs to one restart."""
        return [t[r] for t in tensors] if len(self.restarts) > 1 else list(tensors)
