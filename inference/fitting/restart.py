"""One fit from one start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyromoe.inference.fitting.history import History

if TYPE_CHECKING:
    from pyromoe.guides import WeightedGuide
    from pyromoe.models import MixtureOfExperts

PLATEAU = 1e-3
"""Converged: the training log-likelihood moved less in the last tenth, in nats a datum."""

VANISHED = 1e-6
"""Converged, where steps were not stochastic: the gradient's norm is at most this, nats a row."""


@dataclass
class Restart:
    """One fit from one start.

    Attributes:
        seed: the start.
        model: the model, fitted.
        guide: its guide, fitted.
        history: a row for each epoch; losses and likelihoods in nats a datum.
        log_likelihood: log p(y | x) of the training rows on the original scale, nats; None where
            the fit broke down.
        score: the same plus the log prior of the weights; the best restart has the highest.
        steps: how many were taken.
        seconds: how long they took.
        failure: what went wrong, or an empty text.
        mode: how its steps were run, or why not as was asked.
        gradient: the gradient's Euclidean norm at the end, nats a row; None where steps were
            stochastic.
        initialisation: where it started.
        validation: the best log p(y | x) of the data kept back, nats a datum; None where none are.
        best_epoch: when it was reached; the parameters are those of then.
        stopped_at: the epoch after which no step was taken; None where the budget ended the fit.
        retries: how often it went back to take smaller steps, since a number was not finite.
    """

    seed: int
    model: MixtureOfExperts
    guide: WeightedGuide
    history: History = field(default_factory=History)
    log_likelihood: float | None = None
    score: float = -float("inf")
    steps: int = 0
    seconds: float = 0.0
    failure: str = ""
    mode: str = ""
    gradient: float | None = None
    initialisation: str = "random"
    validation: float | None = None
    best_epoch: int | None = None
    stopped_at: int | None = None
    retries: int = 0

    @property
    def going(self) -> bool:
        """Whether it is still worth a step."""
        return not self.failure and self.stopped_at is None

    @property
    def converged(self) -> bool:
        """Whether the gradient has vanished, or the log-likelihood that is watched stopped moving.

        With early stopping that is of the data kept back: whether it stopped before the budget.
        """
        if self.validation is not None:
            return not self.failure and self.stopped_at is not None
        if self.gradient is not None:
            return not self.failure and self.gradient <= VANISHED
        late = [
            row["log_likelihood"]
            for row in self.history
            if row["log_likelihood"] is not None and row["step"] >= 0.9 * self.steps
        ]
        if self.failure or len(late) < 2:
            return False
        return float(max(late) - min(late)) < PLATEAU

    def summary(self) -> dict[str, Any]:
        """Return what `metrics.json` says of it."""
        found: dict[str, Any] = {"seed": self.seed, "log_likelihood": self.log_likelihood}
        found |= {"converged": self.converged}
        if self.gradient is not None:
            found |= {"gradient": self.gradient, "initialisation": self.initialisation}
        if self.validation is not None:
            found |= {"validation_log_likelihood": self.validation}
            found |= {"best_epoch": self.best_epoch, "stopped_at": self.stopped_at}
        if self.retries:
            found |= {"retries": self.retries}
        return found | ({"failure": self.failure} if self.failure else {})
