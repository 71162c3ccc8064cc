"""What is kept of a column's numbers while its blocks go by: sums that can be added to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.models.tables.columns import FloatArray


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, spread and range of numbers, each of which counts as often as its weight says.

    Two are added by the formula of Chan, Golub and LeVeque (1983), as lengths and not as squares:
    the square of a large number need not be one.

    >>> import numpy as np
    >>> first, second = (Moments.of(np.array(v), np.ones(2)) for v in ([1.0, 2.0], [3.0, 6.0]))
    >>> first + second
    Moments(weight=4.0, mean=3.0, sd=1.8708286933869707, low=1.0, high=6.0)
    """

    weight: float
    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray, counts: FloatArray | None) -> Moments:
        """Return those of values, (N,), and of how often each counts, (N,); None for once."""
        low, high = float(values.min()), float(values.max())
        with np.errstate(over="ignore"):
            weight = float(len(values) if counts is None else counts.sum())
        if low == high:
            return cls(weight, float(values[0]), 0.0, low, high)
        # Scaled first, and so are large weights, whose sum need not be a number.
        largest = max(high, -low)
        scaled = values / largest
        counts = None if counts is None else counts / counts.max()
        mean = float(np.average(scaled, weights=counts))
        sd = float(np.sqrt(np.average((scaled - mean) ** 2, weights=counts)))
        return cls(weight, mean * largest, sd * largest, low, high)

    def __add__(self, other: Moments) -> Moments:
        """Return those of both."""
        weight, step = self.weight + other.weight, other.mean - self.mean
        a, b = self.weight / weight, other.weight / weight
        sd = math.hypot(math.sqrt(a) * self.sd, math.sqrt(b) * other.sd, math.sqrt(a * b) * step)
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Moments(weight, self.mean + b * step, sd, low, high)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of a response and of what belongs to it, from which the link of its mean follows.

    Attributes:
        value: of the response.
        largest: the largest offset.
        exposure: sum of exp(offset - largest).
        trials: of trials, 1 each where there are none.
        weight: of how often each row counts.
        offset: of the offsets.
    """

    value: float
    largest: float
    exposure: float
    trials: float
    weight: float
    offset: float

    @classmethod
    def of(
        cls, values: FloatArray, counts: FloatArray | None, extras: Mapping[Any, FloatArray]
    ) -> Totals:
        """Return those of a response, (N,), of how often each counts, and of the columns beside."""
        counts = np.ones(len(values)) if counts is None else counts
        offset = extras.get("offset", np.zeros(len(values)))
        largest = float(offset.max())
        return cls(
            value=float((counts * values).sum()),
            largest=largest,
            exposure=float((counts * np.exp(offset - largest)).sum()),
            trials=float((counts * extras.get("trials", np.ones(len(values)))).sum()),
            weight=float(counts.sum()),
            offset=float((offset * counts).sum()),
        )

    def __add__(self, other: Totals) -> Totals:
        """Return those of both."""
        largest = max(self.largest, other.largest)
        exposure = sum(t.exposure * math.exp(t.largest - largest) for t in (self, other))
        return Totals(
            self.value + other.value,
            largest,
            exposure,
            self.trials + other.trials,
            self.weight + other.weight,
            self.offset + other.offset,
        )

    def level(self, link: str | None) -> float:
        """Return the link of the mean: far from it, a fit can lose experts on the way."""
        if link == "identity":
            return 0.0
        if link == "log":
            return float(np.log(max(self.value, 1.0)) - np.log(self.exposure) - self.largest)
        successes = np.clip(self.value, 0, self.trials)
        middle = self.offset / self.weight
        return float(np.log((successes + 0.5) / (self.trials - successes + 0.5)) - middle)
