"""How long a fit may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyromoe.models.errors import InputError, quoted

Unit = Literal["epochs", "steps", "evaluations", "seconds"]
LARGEST = 1e12
UNITS: tuple[Unit, ...] = ("epochs", "steps", "evaluations", "seconds")


@dataclass(frozen=True, slots=True)
class Budget:
    """A number of epochs, steps, expert evaluations or seconds, for each restart.

    >>> from pyromoe.inference import Budget, fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec, budget=Budget("steps", 20))
    >>> found.metrics["steps"]
    20
    """

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read e.g. `steps=2000`.

        Raises:
            InputError: for anything else.
        """
        unit, _, amount = text.partition("=")
        known = [u for u in UNITS if u == unit and u != "epochs"]
        try:
            number = float(amount)
        except ValueError:
            number = 0.0
        if not known or not 0 < number <= LARGEST:
            remedy = f"write steps=N, evaluations=N or seconds=S, of {LARGEST:g} at most"
            raise InputError(f"cannot read {quoted(text)}", field="--budget", remedy=remedy)
        return cls(known[0], number)

    def steps(self, per_epoch: int, evaluations_per_step: float) -> int | None:
        """Return how many steps it buys, at least 1; None where only a clock can tell."""
        if self.unit == "seconds":
            return None
        price = {"epochs": 1 / per_epoch, "steps": 1.0, "evaluations": evaluations_per_step}
        return max(1, round(self.amount / price[self.unit]))
