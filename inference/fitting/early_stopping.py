"""Early stopping: where each restart predicts the data kept back best.

After each epoch log p(y | x) of them is computed exactly, z summed out. A restart that has found
nothing better for `patience` epochs takes no more steps; at the end all go back to their best.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.distributed.shards import Shards
from pyromoe.inference.fitting.evaluation import Evaluation
from pyromoe.inference.fitting.probabilities import log_jacobian, to_tensors
from pyromoe.models.tables.groups import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.inference.steps.step import Step
    from pyromoe.models.data.divide import Data, Part


class EarlyStopping:
    """Watches the data kept back, and holds the best parameters of every restart.

    Args:
        plan: with the patience.
        data: some of which were kept back.
        restarts: what is found is noted in them.
        take: their step.
        shards: into how many parts the rows are divided.
    """

    def __init__(
        self,
        plan: Plan,
        data: Data,
        restarts: Sequence[Restart],
        take: Step,
        shards: Shards = Shards(),  # noqa: B008  # frozen
    ) -> None:
        settings, kept = plan.spec.fit.early_stopping, data.kept
        assert settings is not None
        assert kept is not None
        self.patience, self.restarts, self.take = settings.patience, restarts, take
        x, y = to_tensors(kept, plan.spec)
        weight = restarts[0].model.weight(x)
        self.log_jacobian = float((log_jacobian(data.encoding, y) * weight).sum())
        self.x, self.y = x.to(take.values.device), y.to(take.values.device)
        self.evaluation = Evaluation(take.members, shards)
        self.best = take.values.detach().clone()  # (P,) or (R, P)
        self.now = [math.nan] * len(restarts)

    def check(self, epoch: int) -> None:
        """Note what is best, and which restarts have waited too long."""
        totals, _ = self.evaluation(self.take.values, self.x, self.y)
        self.now = [(total + self.log_jacobian) / len(self.x) for total in totals]
        rows = [values.reshape(len(self.now), -1) for values in (self.best, self.take.values)]
        for restart, value, best, found in zip(self.restarts, self.now, *rows, strict=True):
            if not restart.going:
                continue
            before = -math.inf if restart.validation is None else restart.validation
            if math.isfinite(value) and value > before:
                restart.validation, restart.best_epoch = value, epoch
                best.copy_(found)
            elif epoch - (restart.best_epoch or 0) >= self.patience:
                restart.stopped_at = epoch

    def row(self, r: int) -> dict[str, float | None]:
        """Return what the history says of the last epoch of a restart."""
        return {"validation_log_likelihood": self.now[r] if math.isfinite(self.now[r]) else None}

    def restore(self) -> None:
        """Go back to the best parameters of every restart."""
        with torch.no_grad():
            self.take.values.copy_(self.best)
        for restart in self.restarts:
            if restart.validation is None and not restart.failure:
                restart.failure = "log p(y | x) of the rows kept back was never finite"


def what_stopped(best: Restart, kept: Part | None) -> dict[str, Any]:
    """Return what `metrics.json` says of the best restart and the data kept back, if any were."""
    if kept is None or best.validation is None:
        return {}
    found = {
        "n": int((kept.rows != NOTHING).sum()),
        "log_likelihood": best.validation * len(kept.rows),
        "epoch": best.best_epoch,
        "stopped_at": best.stopped_at,
    }
    return {"early_stopping": found}
