"""The fit of maximum likelihood from many starts, and what the starts say of it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.fitting.diagnosis import diagnose
from pyromoe.inference.fitting.events import silent
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.restart import Restart
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.fitting.weights import complete
from pyromoe.inference.maximum_likelihood.climb import Climb
from pyromoe.inference.maximum_likelihood.modes import distinct, faults
from pyromoe.inference.maximum_likelihood.nested import ONE
from pyromoe.inference.maximum_likelihood.warned import warned
from pyromoe.models.likelihoods.observed import is_observed
from pyromoe.models.trace import run_given

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.maximum_likelihood.climb import End
    from pyromoe.inference.maximum_likelihood.modes import Faults
    from pyromoe.models.data.divide import Data


def maximum_likelihood(
    plan: Plan,
    data: Data,
    restarts: Sequence[Restart],
    seeds: Sequence[int],
    together: int,
    budget: Budget | None,
    report: Callable[[float, str], None],
    checkpoints: Checkpoints | None = None,
    log: Log = silent,
) -> Fit:
    """Fit all restarts until the gradient vanishes; return the best regular mode.

    A degenerate mode, in which an expert sits on a few rows with a scale near 0, is set aside: its
    likelihood is as high as the scale's floor lets it be, and says nothing of the data.

    Args:
        plan: what is fitted; its optimiser is em or lbfgs.
        data: the rows.
        restarts: with their first values.
        seeds: of what a first assignment leaves to chance, one for each.
        together: how many restarts are evaluated at a time.
        budget: for each restart; None to go on until the gradient vanishes.
        report: called with the share that is done and what is being done.
        checkpoints: for what follows the search.
        log: told of every row of the history.
    """
    climb = Climb(plan, data, restarts, seeds, together, budget, report, log)
    free = climb.free()
    simple, whole = climb.nested() or (free.none(), free.none())
    ends = free.and_then(whole).and_then(simple)
    found = _faults(climb, ends)
    number = len(restarts)
    modes = distinct(ends.score, ends.likelihood, found, number)
    _record(climb, free)
    if not modes:
        raise NumericalError(diagnose(data, plan.spec, restarts[0], restarts[0].failure))
    chosen = modes[0].first
    best = restarts[chosen] if chosen < number else _another(climb, ends, chosen)
    of_weights = complete(plan.spec, data, best.model, best.guide, report, checkpoints)
    fit = Fit.of(plan, data, best, [*restarts, *([best] if chosen >= number else [])])
    fit.metrics |= of_weights
    modes = distinct(free.score, free.likelihood, found[:number])
    nested = _nested(simple, found[-len(simple.begun) :])
    fit.metrics |= {
        "modes": [m.to_json() for m in modes],
        "nested": nested,
        "warnings": warned(best, modes, found[chosen], nested),
    }
    return fit


def _faults(climb: Climb, ends: End) -> list[Faults]:
    """Return what is wrong where the restarts ended."""
    model = climb.restarts[0].model
    plain = climb.plan.spec.priors.experts.kind == "none" and model.experts.depth == 1
    needed = len(model.expert_columns) + 1 if plain else 0
    floors = _at_floor(climb, ends)
    one = [i for i, begun in enumerate(ends.begun) if begun == ONE]
    if any(bool(floors[i].any()) for i in one):  # then the rows themselves leave nothing over
        floors = torch.zeros_like(floors)
    y = climb.score.y
    return [
        faults(
            *each,
            continuous=model.likelihood.has_density,
            needed=needed,
            at_floor=floor,
            numbers=is_observed(y).reshape(len(y), -1).sum(1),
            responses=len(climb.plan.spec.data.responses) or 1,
        )
        for *each, floor in zip(ends.joint, ends.log_gate, floors, strict=True)
    ]


def _at_floor(climb: Climb, ends: End) -> Tensor:
    """Return which experts have a scale that cannot be smaller, (M, K)."""
    model, guide = copy.deepcopy((climb.restarts[0].model, climb.restarts[0].guide))
    rows = []
    for values in ends.values:
        climb.score.hand_over(model, guide, values)
        weights = guide.weights.values()
        floor = run_given(model.given, weights, model.likelihood.at_floor)
        rows.append(floor.expand(model.num_experts))
    return torch.stack(rows)


def _record(climb: Climb, free: End) -> None:
    """Write into the restarts where they ended."""
    seconds = climb.meter.elapsed / len(climb.restarts)
    for i, restart in enumerate(climb.restarts):
        score = float(free.score[i])
        restart.initialisation = climb.kinds[i]
        restart.seconds, restart.steps = seconds, climb.meter.taken
        restart.mode = "captured" if climb.score.captured else "eager"
        if not math.isfinite(score):
            restart.failure = f"log p(y | x) is {score}"
            continue
        restart.gradient, restart.score = float(free.norm[i]), score
        restart.log_likelihood = float(free.likelihood[i])
        climb.score.hand_over(restart.model, restart.guide, free.values[i])


def _another(climb: Climb, ends: End, i: int) -> Restart:
    """Return the restart that began in a simpler model."""
    first = climb.restarts[0]
    model, guide = copy.deepcopy((first.model, first.guide))
    climb.score.hand_over(model, guide, ends.values[i])
    return Restart(
        len(climb.restarts),
        model,
        guide,
        log_likelihood=float(ends.likelihood[i]),
        score=float(ends.score[i]),
        steps=first.steps,
        mode=first.mode,
        gradient=float(ends.norm[i]),
        initialisation=ends.begun[i],
    )


def _nested(simple: End, found: Sequence[Faults]) -> list[dict[str, Any]]:
    """Return the best regular end of every simpler model."""
    best = dict[str, int]()
    for i in simple.score.argsort().tolist():  # the highest comes last
        if math.isfinite(float(simple.score[i])) and not found[i].spikes:
            best[simple.begun[i]] = i
    return [
        {"model": name, "log_likelihood": float(simple.likelihood[i])} for name, i in best.items()
    ]
