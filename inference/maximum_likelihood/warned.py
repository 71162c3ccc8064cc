"""What the starts of a maximum-likelihood fit warn of, each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.maximum_likelihood.modes import SAME
from pyromoe.models.errors import listed
from pyromoe.models.likelihoods.likelihood import SMALLEST_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.inference.maximum_likelihood.modes import Faults, Mode

FEW = 0.1
"""Less than this share of the starts, or one alone, is few to agree."""
MANY = 4
"""Starts of which something can be said."""
FEWER = "experts.number"
PRIOR = "set priors.experts and priors.gate to kind: normal"


def warned(
    best: Restart, modes: Sequence[Mode], found: Faults, nested: Sequence[dict[str, Any]]
) -> list[dict[str, str]]:
    """Return the warnings of a fit: a name, what was seen, what to do.

    Args:
        best: the restart that was kept.
        modes: of the free restarts.
        found: what is wrong with the one that was kept.
        nested: the best of each simpler model.
    """
    kinds = ("name", "what", "remedy")
    every = [*_of_surface(modes, found, best), *_of_solution(found, best), *_of_starts(best, modes)]
    return [dict(zip(kinds, each, strict=True)) for each in [*every, *_of_nested(modes, nested)]]


def _of_surface(modes: Sequence[Mode], found: Faults, best: Restart) -> Iterator[tuple[str, ...]]:
    if found.spikes:
        what = f"{_experts(found.spikes)}: on a few rows, or on rows that hardly differ"
        yield "spike", what, f"lower {FEWER}, set likelihood.scale: shared, or {PRIOR}"
    higher = [m for m in modes if m.degenerate and m.log_likelihood > (best.log_likelihood or 0)]
    if higher and not found.spikes:
        hits = sum(m.hits for m in higher)
        yield (
            "unbounded_likelihood",
            f"{hits} starts ended in a spike, an expert's scale near 0 on a few rows, with up to "
            f"{higher[0].log_likelihood:.2f} nats; they were set aside",
            "nothing, if this fit makes sense; lower experts.number or set likelihood.scale: "
            "shared to be rid of them",
        )
    experts = best.model.likelihood.at_floor().nonzero()[:, 0].tolist()
    if experts:
        what = f"{_experts(experts)}: a scale at its floor, {SMALLEST_SCALE} of the response"
        yield "scale_at_floor", what, "look for repeated rows, or a response without noise"


def _of_solution(found: Faults, best: Restart) -> Iterator[tuple[str, ...]]:
    if found.hard and not best.model.gate.generative:  # whose slope the predictors bound
        what = f"the gate is a step between experts {_pairs(found.hard)}: its slope has no maximum"
        yield (
            "hard_gate",
            what,
            "set priors.gate: {kind: normal, scale: 10}, or gate.kind: constant",
        )
    if found.tied:
        what = f"experts {_pairs(found.tied)} are the same"
        yield "tied_experts", what, f"lower {FEWER}"
    if found.dead:
        what = f"{_experts(found.dead)}: less than one row"
        yield "dead_experts", what, f"lower {FEWER}"


def _of_starts(best: Restart, modes: Sequence[Mode]) -> Iterator[tuple[str, ...]]:
    total = sum(m.hits for m in modes)
    regular = [m for m in modes if not m.degenerate]
    if not regular:
        what = f"no start ended regularly; this one began with {best.initialisation}"
        yield "no_regular_start", what, f"lower {FEWER}, or set likelihood.scale: shared"
        return
    hits = regular[0].hits
    if total >= MANY and (hits < 2 or hits < FEW * total):
        what = f"{hits} of {total} starts reached the best mode: there may be a better one"
        yield "few_starts_agree", what, f"set fit.restarts: {4 * total}"
    if not best.converged:
        what = f"the gradient's norm is {best.gradient or float('nan'):.1e} nats a row at the end"
        yield "not_converged", what, "give a larger budget, or set data.standardise: predictors"


def _of_nested(
    modes: Sequence[Mode], nested: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, ...]]:
    regular = [m.log_likelihood for m in modes if not m.degenerate]
    for each in nested:
        if regular and each["log_likelihood"] > max(regular) + SAME:
            what = (
                f"with {each['model']}, a simpler model, log p(y | x) reaches "
                f"{each['log_likelihood']:.4f} nats, and from the starts of this one "
                f"{max(regular):.4f}; it was started from there too"
            )
            yield "simpler_model_better", what, "prefer the simpler model, or raise fit.restarts"


def _experts(which: Sequence[int]) -> str:
    return f"expert{'s' if len(which) > 1 else ''} {listed(map(str, which))}"


def _pairs(pairs: Sequence[tuple[int, int]]) -> str:
    return listed(f"{j} and {k}" for j, k in pairs)
