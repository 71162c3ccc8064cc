"""Fit a spec by stochastic variational inference."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.guides import Seeded
from pyromoe.inference.budget import Budget
from pyromoe.inference.build import build
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.plan import make_plan
from pyromoe.inference.restart import Restart
from pyromoe.inference.result import Fit, log_likelihood, to_tensors
from pyromoe.models import log_joint
from pyromoe.models.data import Data, from_table, load
from pyromoe.models.spec_file import SpecFile, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyromoe.inference.plan import Plan
    from pyromoe.models import Spec

CHECKPOINTS = 50
"""How often the exact log-likelihood of the training rows is written into the history."""
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class NumericalError(ArithmeticError):
    """A number that is not finite where the fit cannot go on without it."""


def fit(
    spec: Spec | SpecFile | Path | str,
    table: object = None,
    *,
    budget: Budget | None = None,
    progress: Callable[[float, str], None] | None = None,
    data: Data | None = None,
) -> Fit:
    """Fit a mixture of experts.

    Runs on one thread, so that the same seed gives the same bits on any number of cores.

    Args:
        spec: a spec, or the path of one.
        table: a data frame, a pyarrow Table or a dictionary of columns, in place of the spec's
            file.
        budget: in place of the spec's epochs.
        progress: called with the share that is done, 0 to 1, and what is being done.
        data: already encoded data, in place of both.

    Returns:
        The restart with the highest log-likelihood plus log prior of the training rows.

    Raises:
        InputError: for a mistake in the spec or the data.
        NumericalError: where every restart broke down.
    """
    file = as_file(spec)
    plan = make_plan(file)
    if data is None:
        data = load(file) if table is None else from_table(plan.spec, table)
    budget = budget or Budget("epochs", plan.spec.fit.epochs)
    number = plan.spec.fit.restarts
    restarts = []
    with one_thread():
        for r in range(number):

            def report(done: float, text: str, r: int = r) -> None:
                if progress is not None:
                    start = f"start {r + 1} of {number}, " if number > 1 else ""
                    progress((r + done) / number, start + text)

            restarts.append(_restart(plan, data, r, budget, report))
        best = max(restarts, key=lambda r: r.score)
        if best.log_likelihood is None:
            raise NumericalError(
                f"{best.failure}; try a smaller fit.learning_rate, or standardised predictors"
            )
        return Fit.of(plan, data, best, restarts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: small tensors are faster so, and sums do not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_file(spec: Spec | SpecFile | Path | str) -> SpecFile:
    """Return a spec with the place where its settings stand."""
    if isinstance(spec, (str, Path)):
        return read_spec(spec)
    return spec if isinstance(spec, SpecFile) else SpecFile(spec)


def seeds_of(spec: Spec, number: int) -> tuple[int, int, int]:
    """Return the seeds of a start: of its first values, its noise and the order of its rows."""
    first, noise, order = np.random.SeedSequence([spec.seed, number]).generate_state(3, np.uint64)
    return int(first >> 1), int(noise >> 1), int(order >> 1)


def _restart(
    plan: Plan, data: Data, number: int, budget: Budget, report: Callable[[float, str], None]
) -> Restart:
    """Return one fit from one start."""
    seeds = seeds_of(plan.spec, number)
    generator = torch.Generator().manual_seed(seeds[0])
    model, guide = build(plan.spec, plan.latent, data.encoding, generator)
    elbo = Treatment_ELBO(plan.treatment, noise=Seeded(seeds[1]))
    elbo.config = plan.config
    restart = Restart(number, model, guide)
    started = time.perf_counter()
    try:
        loop = _Loop(plan, data, elbo, restart, budget, report)
        loop.run(torch.Generator().manual_seed(seeds[2]))
        restart.log_likelihood = loop.log_likelihood()
        restart.score = restart.log_likelihood + loop.log_prior()
    except NumericalError as error:
        restart.failure = str(error)
    restart.seconds = time.perf_counter() - started
    return restart


class _Loop:
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
        self.loss = elbo(restart.model, restart.guide)
        parameters = list(self.loss.parameters())
        self.optimiser = OPTIMISERS[settings.optimiser](parameters, lr=settings.learning_rate)
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
        done, rate = self.done(), self.plan.spec.fit.learning_rate
        if self.plan.spec.fit.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * done)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.elbo.config = self.plan.config_at(done)
        self.optimiser.zero_grad()
        loss = self.loss(self.x[rows], self.y[rows], len(self.x)) / len(self.x)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise NumericalError(f"the loss is {value} at step {self.restart.steps + 1}")
        loss.backward()
        self.optimiser.step()
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
        row |= {"log_likelihood": value, "learning_rate": self.optimiser.param_groups[0]["lr"]}
        row |= {name: getattr(self.elbo.config, name) for name in self.plan.schedules}
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
