"""The steps of one start of a fit."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.graph import Step
from pyromoe.inference.result import log_likelihood, to_tensors
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.budget import Budget
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.inference.graph import Mode
    from pyromoe.inference.plan import Plan
    from pyromoe.inference.restart import Restart
    from pyromoe.models.data import Data

CHECKPOINTS = 50
"""How often the exact log-likelihood of the training rows is written into the history."""
WORTH_CAPTURING = 100
"""Fewer steps than this are over before a step is captured."""


class NumericalError(ArithmeticError):
    """A number that is not finite where the fit cannot go on without it."""


class Loop:
    """The steps of one restart."""

    def __init__(
        self,
        plan: Plan,
        data: Data,
        elbo: Treatment_ELBO,
        restart: Restart,
        budget: Budget,
        report: Callable[[float, str], None],
    ) -> None:
        self.plan, self.elbo, self.restart = plan, elbo, restart
        self.budget, self.report = budget, report
        self.x, self.y = to_tensors(data.train, plan.spec)
        self.log_jacobian = data.encoding.log_jacobian
        settings, n = plan.spec.fit, len(self.x)
        self.batch = n if settings.batch_size == "full" else min(settings.batch_size, n)
        self.per_epoch = -(-n // self.batch)
        evaluations = plan.treatment.evaluations(plan.config, plan.spec.experts.number)
        rows_per_step = n / self.per_epoch
        self.total = budget.steps(self.per_epoch, evaluations * rows_per_step)
        few = self.total is not None and self.total < WORTH_CAPTURING
        chosen: Mode = (
            ("eager" if few else "captured") if settings.mode == "auto" else settings.mode
        )
        self.take = Step(
            elbo,
            restart.model,
            restart.guide,
            optimiser=settings.optimiser,
            mode=chosen,
            divide_by=n,
        )
        self.rate = settings.learning_rate
        self.started = time.perf_counter()

    def done(self) -> float:
        """Return the share of the budget that is used up."""
        if self.total is not None:
            return self.restart.steps / self.total
        return min(1.0, (time.perf_counter() - self.started) / self.budget.amount)

    def run(self, generator: torch.Generator) -> None:
        """Take steps until the budget is used up."""
        epoch, written = 0, -1.0
        while self.done() < 1:
            order = torch.randperm(len(self.x), generator=generator)
            losses = []
            for rows in order.split(self.batch):
                losses.append(self.step(rows))
                if self.done() >= 1:
                    break
            epoch += 1
            exact = self.done() >= written + 1 / CHECKPOINTS or self.done() >= 1
            written = self.done() if exact else written
            self.write(epoch, float(np.mean(losses)), exact)

    def step(self, rows: torch.Tensor) -> float:
        """Take one step; return the loss, nats a datum."""
        done, self.rate = self.done(), self.plan.spec.fit.learning_rate
        if self.plan.spec.fit.schedule == "cosine":
            self.rate *= (1 + math.cos(math.pi * done)) / 2
        self.options = {name: s.at(done) for name, s in self.plan.schedules.items()}
        x, y = self.x[rows], self.y[rows]
        loss = self.take(x, y, len(self.x), learning_rate=self.rate, options=self.options)
        value = float(loss)
        if not np.isfinite(value):
            raise NumericalError(f"the loss is {value} at step {self.restart.steps + 1}")
        self.restart.steps += 1
        return value

    def write(self, epoch: int, loss: float, exact: bool) -> None:
        """Add a row to the history and report."""
        restart, n = self.restart, len(self.x)
        value = self.log_likelihood() / n if exact else None
        if value is not None and not np.isfinite(value):
            raise NumericalError(f"log p(y | x) is {value} after step {restart.steps}")
        row: dict[str, Any] = {
            "restart": restart.seed,
            "epoch": epoch,
            "step": restart.steps,
            "loss": loss,
        }
        row |= {"log_likelihood": value, "learning_rate": self.rate} | self.options
        restart.history.append(row | {"seconds": time.perf_counter() - self.started})
        if value is not None:
            self.report(self.done(), f"epoch {epoch}, log p(y | x) {value:.4f} nats a datum")

    def log_likelihood(self) -> float:
        """Return log p(y | x) of the training rows on the original scale, nats."""
        weights = self.restart.guide.weights.values()
        total = log_likelihood(self.restart.model, weights, self.x, self.y).double().sum()
        return float(total) + len(self.x) * self.log_jacobian

    def log_prior(self) -> float:
        """Return the log prior of the weights, nats."""
        weights = self.restart.guide.weights.values()
        with torch.no_grad():
            joint = log_joint(self.restart.model, self.x[:1], self.y[:1], weights=weights)
            return float(joint.log_prior_of_weights)
