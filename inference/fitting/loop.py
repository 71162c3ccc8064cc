"""The steps of a fit, from one start or from several side by side."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.distributed.device import CPU, device_of
from pyromoe.inference.distributed.shards import Shards
from pyromoe.inference.fitting.clock import Clock
from pyromoe.inference.fitting.collapse import Collapse
from pyromoe.inference.fitting.diagnosis import diagnose
from pyromoe.inference.fitting.divided import diagnosed
from pyromoe.inference.fitting.divided_step import step_of
from pyromoe.inference.fitting.early_stopping import EarlyStopping
from pyromoe.inference.fitting.evaluation import Evaluation
from pyromoe.inference.fitting.events import silent
from pyromoe.inference.fitting.probabilities import effective_experts, log_jacobian, to_tensors
from pyromoe.inference.fitting.pulse import Pulse
from pyromoe.inference.fitting.restarts import on_cpu
from pyromoe.inference.fitting.rollback import Rollback
from pyromoe.inference.fitting.streamed import batches_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.fitting.batches import Batch
    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models.data.divide import Data

EXACT = 50
"""How often the exact log-likelihood of the training rows is written into the history."""
ROWS = 1000
"""Rows of the history of a restart at most: what is kept does not grow with the steps."""


class NumericalError(ArithmeticError):
    """A number that is not finite where the fit cannot go on without it."""


class Loop:
    """The steps of some restarts; those that break down are left behind.

    Args:
        plan: what is fitted, and how.
        data: the rows.
        starts: the restarts, each with its ELBO and the source of the order of its rows.
        budget: for each restart.
        report: called with the share that is done and what is being done.
        log: told of every row of the history, and of what else happens.
        shards: into how many parts a batch is divided, and which are this process's.
        save: called after every step, and after the last with True; None to save nothing.
    """

    def __init__(
        self,
        plan: Plan,
        data: Data,
        starts: Sequence[tuple[Restart, Treatment_ELBO, torch.Generator]],
        budget: Budget,
        report: Callable[[float, str], None],
        log: Log = silent,
        shards: Shards = Shards(),  # noqa: B008  # frozen
        save: Callable[[Loop, bool], None] | None = None,
    ) -> None:
        self.plan, self.data, self.log, self.save = plan, data, log, save
        self.report = Pulse(report)
        self.restarts = [restart for restart, _, _ in starts]
        x, y = to_tensors(data.train, plan.spec)
        weight = self.restarts[0].model.weight(x)
        self.log_jacobian = float((log_jacobian(data.encoding, y) * weight).sum())
        device = device_of(plan.spec)
        self.x, self.y = x.to(device), y.to(device)
        settings, n = plan.spec.fit, data.size
        self.rows = n
        size = n if settings.batch_size == "full" else min(settings.batch_size, n)
        orders = [order for _, _, order in starts]
        self.batches = batches_of(data, (self.x, self.y), size, orders, shards, plan.spec)
        evaluations = plan.treatment.evaluations(plan.config, plan.spec.experts.number)
        number = self.batches.number
        total = budget.steps(number, evaluations * n / number)
        self.clock = Clock(total, budget.amount * len(starts), shards.processes)
        members = [(elbo, restart.model, restart.guide) for restart, elbo, _ in starts]
        self.take = step_of(plan.spec.fit, members, shards, self.x, self.y, n)
        self.evaluation = Evaluation(self.take.members, shards)
        self.collapse = Collapse(plan.spec, self.restarts, log)
        self.on_cpu = partial(on_cpu, plan, data)
        find = diagnosed if shards.experts else self._diagnose
        self.rollback = Rollback(self.take, self.restarts, find, log)
        watches = data.kept is not None and settings.early_stopping is not None
        self.watch = (
            EarlyStopping(plan, data, self.restarts, self.take, shards) if watches else None
        )
        self.rate, self.options = settings.learning_rate, dict[str, float]()
        self.epoch, self.written = 0, -1.0
        self.losses: list[list[float]] = []  # of the steps of this epoch
        self.bucket = -1

    def done(self) -> float:
        """Return the share of the budget that is used up."""
        return self.clock.done(self.take.taken)

    def run(self) -> None:
        """Take steps until the budget is used up or no restart is left that goes on."""
        ended = False
        self.clock.look()
        while not ended:
            for batch in self.batches.left(len(self.losses)):
                self.losses.append(self.step(batch))
                self.report.beat(self.done, self.epoch + 1)
                if self.done() >= 1 or not self._going():
                    break
                if self.save is not None:
                    self.save(self, False)
            self.epoch += 1
            if self.watch is not None:
                self.watch.check(self.epoch)
            ended = self.done() >= 1 or not self._going()
            exact = ended or self.done() >= self.written + 1 / EXACT
            self.written = self.done() if exact else self.written
            if exact or self._bucket() > self.bucket:
                self.bucket = self._bucket()
                self.write(self.epoch, np.mean(self.losses, 0).tolist(), exact)
            self.losses = []
        if self.watch is not None:
            self.watch.restore()
            for restart, total in zip(self.restarts, self._exact()[0], strict=True):
                restart.log_likelihood = total
                if not math.isfinite(total) and not restart.failure:
                    restart.failure = f"log p(y | x) is {total} after epoch {restart.best_epoch}"
        self.rollback.end()
        for restart in self.restarts:
            restart.mode = "" if restart.failure else self.take.ran
            restart.seconds = self.clock.elapsed / len(self.restarts)
        if self.save is not None:
            self.save(self, True)
        self.hand_over()

    def hand_over(self) -> None:
        """Give the restarts parameters of their own, on the CPU."""
        self.take.hand_over()
        for restart in self.restarts:
            found = self.on_cpu(restart)
            restart.model, restart.guide = found.model, found.guide
        self.x, self.y = self.x.to(CPU), self.y.to(CPU)

    def step(self, batch: Batch) -> list[float]:
        """Take one step; return each restart's loss, nats a datum."""
        done, self.rate = self.done(), self.plan.spec.fit.learning_rate
        if self.plan.spec.fit.schedule == "cosine":
            self.rate *= (1 + math.cos(math.pi * done)) / 2
        self.options = {name: s.at(done) for name, s in self.plan.schedules.items()}
        self.take.ahead = self.clock.ahead(self.take.taken)
        losses = self.take.over(
            [(x, y, self.rows) for x, y in batch.pieces],
            batch.rows,
            learning_rate=self.rate,
            options=self.options,
            stacked=self.batches.stacked,
        )
        self.clock.look()
        for restart in self.restarts:
            restart.steps += restart.going
        return self.rollback.check(losses.reshape(-1).tolist())

    def write(self, epoch: int, losses: Sequence[float], exact: bool) -> None:
        """Add a row to each restart's history and report."""
        n, best = self.rows, -math.inf
        totals, shares = self._exact() if exact else ([None] * len(self.restarts), torch.empty(0))
        common = {"learning_rate": self.rate, **self.options, "seconds": self.clock.elapsed}
        for r, (restart, loss, total) in enumerate(zip(self.restarts, losses, totals, strict=True)):
            if restart.failure or restart.stopped_at not in (None, epoch):
                continue
            value = None if total is None else total / n
            if value is not None:
                if not self.rollback.keep(r, value):
                    continue
                restart.log_likelihood = total
                best = max(best, value)
            if math.isnan(loss):  # it went back
                continue
            row: dict[str, Any] = {"restart": restart.seed, "epoch": epoch, "step": restart.steps}
            row |= {"loss": loss, "log_likelihood": value}
            row |= {"effective_experts": effective_experts(shares[r : r + 1]) if exact else None}
            row |= {} if self.watch is None else self.watch.row(r)
            restart.history.append(row | common)
            self.log("row", **row, **common)
        if exact and self._left():
            what = "best log p(y | x)" if len(self.restarts) > 1 else "log p(y | x)"
            told = self.collapse.check(self.done(), shares)
            self.report(self.done(), epoch, f"{what} {best:.4f} nats a datum{told}")

    def _exact(self) -> tuple[list[float], Tensor]:
        """Return log p(y | x) of the training rows on the original scale, nats, and (R, K).

        The latter are the experts' mean responsibilities. Of streamed rows, both are those of the
        sample in memory, the former times what the sample is of all.
        """
        totals, shares = self.evaluation(self.take.values, self.x, self.y)
        times = self.rows / len(self.x)
        return [(total + self.log_jacobian) * times for total in totals], shares

    def _diagnose(self, restart: Restart, seen: str) -> str:
        """Return what is wrong with a restart, from what was seen of it."""
        return diagnose(self.data, self.plan.spec, self.on_cpu(restart), seen)

    def _left(self) -> list[Restart]:
        return [restart for restart in self.restarts if not restart.failure]

    def _going(self) -> list[Restart]:
        return [restart for restart in self.restarts if restart.going]

    def _bucket(self) -> int:
        """Return which of the rows of the history it is time for."""
        return int(self.done() * ROWS + 1e-9)
