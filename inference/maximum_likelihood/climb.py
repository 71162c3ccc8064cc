r"""Maximum likelihood until the gradient vanishes, from many starts side by side.

    assignments  ->  M-step  ->  EM  ->  quasi-Newton on log p(y | x) + log prior

Each M-step is a few iterations of a quasi-Newton method on the expected complete-data
log-likelihood, for every family, gate and network alike, and never lowers the likelihood. Short EM
from many starts before a longer search: Biernacki, Celeux and Govaert (2003). Everything is in
float64, on all rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.fitting.events import silent
from pyromoe.inference.fitting.probabilities import log_jacobian, to_tensors
from pyromoe.inference.maximum_likelihood.maximise import maximise
from pyromoe.inference.maximum_likelihood.meter import MOST, TOLERANCE, Meter
from pyromoe.inference.maximum_likelihood.nested import ONE, nested_in, places_of
from pyromoe.inference.maximum_likelihood.score import Score
from pyromoe.inference.maximum_likelihood.starts import Starts, initialisations
from pyromoe.inference.maximum_likelihood.units import units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.inference.maximum_likelihood.bfgs import Function
    from pyromoe.inference.maximum_likelihood.nested import Nested
    from pyromoe.inference.maximum_likelihood.score import Found
    from pyromoe.models.data.divide import Data

FIRST, LATER = 15, 3
"""Iterations of the first M-step, which starts from random values, and of later ones."""
SHORT, LONG = 5, 1000
"""Rounds of EM at most, before another method takes over and as a method of its own."""
GAIN = 1e-6
"""EM as a method of its own ends when a round gains less, in nats a row."""


@dataclass
class End:
    """Where restarts ended, M of them.

    Attributes:
        begun: where each began.
        values: the parameters, (M, P).
        norm: the gradient's Euclidean norm, nats a row, (M,).
        score: log p(y | x) + log prior on the original scale, nats, (M,).
        likelihood: the same without the prior, (M,).
        joint: log p(y, z = k | x), (M, K, N).
        log_gate: log p(z = k | x), (M, N, K).
    """

    begun: list[str]
    values: Tensor
    norm: Tensor
    score: Tensor
    likelihood: Tensor
    joint: Tensor
    log_gate: Tensor

    def and_then(self, other: End) -> End:
        """Return these ends and after them others."""
        names = [field.name for field in fields(self)[1:]]
        pairs = ((getattr(self, n), getattr(other, n)) for n in names)
        return End(self.begun + other.begun, *(torch.cat(pair) for pair in pairs))

    def none(self) -> End:
        """Return no ends, of the same form."""
        return End([], *(getattr(self, field.name)[:0] for field in fields(self)[1:]))


class Climb:
    """The way up of all restarts of a fit.

    Args:
        plan: what is fitted, and how.
        data: the rows.
        restarts: the restarts, with their first values.
        seeds: of what a first assignment leaves to chance, one for each.
        together: how many restarts are evaluated at a time.
        budget: for each restart; None to go on until the gradient vanishes.
        report: called with the share that is done and what is being done.
        log: told of every row of the history.
    """

    def __init__(
        self,
        plan: Plan,
        data: Data,
        restarts: Sequence[Restart],
        seeds: Sequence[int],
        together: int,
        budget: Budget | None,
        report: Callable[[float, str], None],
        log: Log = silent,
    ) -> None:
        self.plan, self.restarts = plan, restarts
        x, y = to_tensors(data.whole("a search for the maximum"), plan.spec)
        self.score = Score([(r.model, r.guide) for r in restarts], x, y, together)
        self.score.units = units(
            restarts[0].model, places_of(restarts[0].guide, self.score), x.flatten(0, -2)
        )
        weight = restarts[0].model.weight(x)
        self.n, self.log = len(x), log
        self.constant = float((log_jacobian(data.encoding, y) * weight).sum())
        evaluations = plan.spec.experts.number * len(x)
        self.meter = Meter(budget, evaluations, len(restarts), report)
        chosen = plan.spec.fit.initialisation or ["random"]
        self.kinds = initialisations([chosen] if isinstance(chosen, str) else chosen, len(restarts))
        starts = Starts(restarts[0].model, x, y)
        rounds = [self.kinds[:i].count(kind) for i, kind in enumerate(self.kinds)]
        self.first = [starts(*each) for each in zip(self.kinds, rounds, seeds, strict=True)]

    def free(self) -> End:
        """Run every restart to the end."""
        values, inverse = self.em(self.score.values, None)
        return self.search(self.kinds, values, inverse)

    def search(
        self,
        begun: Sequence[str],
        values: Tensor,
        inverse: Tensor | None = None,
        nested: Nested | None = None,
    ) -> End:
        """Return where a search ends that begins at some parameters, (M, P)."""
        found = maximise(
            self.function(None, nested),
            values,
            tolerance=TOLERANCE,
            iterations=MOST,
            inverse=inverse,
            watch=self.meter.goes_on,
        )
        return self.end(begun, found.values)

    def em(self, values: Tensor, nested: Nested | None) -> tuple[Tensor, Tensor | None]:
        """Return the parameters after EM, (R, P), and what was learned of the curvature."""
        rounds = LONG if self.plan.spec.fit.optimiser == "em" else SHORT
        # From random values a long first step would lead all starts the same way.
        given = [self.first[i % len(self.first)] for i in range(len(values))]
        first = torch.tensor([LATER if g is None else FIRST for g in given])
        inverse, before = None, torch.full((len(values),), -math.inf, dtype=values.dtype)
        for number in range(rounds + 1):
            found = self.score(values)
            r = found.responsibilities
            now = found.value / self.n
            if number == 0:
                r = torch.stack([o if g is None else g for g, o in zip(given, r, strict=True)])
            elif not (now - before >= GAIN).any() or not self.meter.left:  # nan gains nothing
                break
            if nested is None:
                self.write(number, found)
            before = now
            search = maximise(
                self.function(r, nested),
                values,
                tolerance=TOLERANCE,
                iterations=LATER if number else first,
                inverse=inverse,
                watch=self.meter.goes_on,
            )
            values, inverse = search.values, search.inverse
        return values, inverse

    def function(self, r: Tensor | None = None, nested: Nested | None = None) -> Function:
        """Return what is maximised, in nats a row: the score, or its expectation under r."""

        def value_and_gradient(values: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
            found = self.score(values, None if r is None else r[which])
            gradient = found.gradient / self.n
            if nested is not None:
                gradient = nested.of(which).project(gradient)
            return found.value / self.n, gradient

        return value_and_gradient

    def write(self, number: int, found: Found) -> None:
        """Add a row to the history of every restart."""
        score, likelihood = (v.tolist() for v in (found.value / self.n, found.likelihood))
        for restart, s, total in zip(self.restarts, score, likelihood, strict=True):
            row = {"restart": restart.seed, "epoch": number, "step": self.meter.taken, "loss": -s}
            row["log_likelihood"] = (total + self.constant) / self.n
            row["seconds"] = self.meter.elapsed
            restart.history.append(row)
            self.log("row", **row)

    def end(self, begun: Sequence[str], values: Tensor) -> End:
        """Return what is known where a search has ended."""
        found = self.score(values)
        score, likelihood = (v + self.constant for v in (found.value, found.likelihood))
        norm = found.gradient.norm(dim=-1) / self.n
        return End(list(begun), values, norm, score, likelihood, found.joint, found.log_gate)

    def nested(self) -> tuple[End, End] | None:
        """Run the simpler models, as many starts in all, and the whole one from where they end.

        Returns:
            Where the simpler models ended, named as each begins; and where the whole model did,
            from the best end of each, as it was and with what was held let loose. None
            where there is no simpler model.
        """
        kinds = nested_in(self.restarts[0].model, self.restarts[0].guide, self.score)
        if kinds is None:
            return None
        numbers = range(max(len(kinds.names), len(self.restarts)))
        each = kinds.of([i % len(kinds.names) for i in numbers])
        own = self.score.values[[i % len(self.restarts) for i in numbers]]
        values, inverse = self.em(each.enter(own), each)
        simple = self.search(each.names, values, inverse, each)
        # Equal experts have equal gradients, and would stay equal.
        best = [_best(simple, name) for name in kinds.names if name != ONE]
        if not best:
            return simple, simple.none()
        loose = each.of(best).leave(simple.values[best], own[best])
        starts = torch.cat([simple.values[best], loose])
        return simple, self.search([f"nested: {simple.begun[i]}" for i in best] * 2, starts)


def _best(ends: End, begun: str) -> int:
    """Return the best of the ends with one beginning."""
    scores = ends.score.nan_to_num(-math.inf).tolist()
    return max((i for i, b in enumerate(ends.begun) if b == begun), key=scores.__getitem__)
