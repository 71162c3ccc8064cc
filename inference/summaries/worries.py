"""What to worry about in a run, each with what to do; the gravest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import entr  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.summaries.experts import pruned_below
from pyromoe.inference.summary import Worry
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.summaries.assignments import Assignments
    from pyromoe.models.specs.spec import Spec

FAR = 0.7
"""Pareto's k above which importance ratios have no usable mean (Vehtari et al., 2024)."""
MIXED = 1.01
"""R-hat above which chains have not mixed (Vehtari et al., 2021)."""
ENOUGH = 400
"""Effective draws below which quantiles are uncertain (Vehtari et al., 2021)."""
HIGH = 0.7
"""Temperatures above 2/3 leave a relaxed z far from one expert (Maddison et al., 2017)."""
ALL = 0.95
"""An expert with so much of the rows has taken those of the others."""
ALIKE = 0.1
"""Experts are alike where a row tells so little of the entropy of z."""
NEAR = 0.01
"""Starts whose log p(y | x) differs by less, in nats a row, agree."""
STARTS = 4
"""Of fewer starts it is no sign that they do not agree."""
ERRORS = 2.0
"""Standard errors from which on training and held-out rows are not alike."""
MUCH = 0.05
"""And nats a row."""


def worries_of(metrics: dict[str, Any], spec: Spec, of: Assignments) -> tuple[Worry, ...]:
    """Return what there is to worry about in a run.

    Args:
        metrics: of `metrics.json`.
        spec: of `spec.yaml`.
        of: its assignments.
    """
    warned = [
        Worry(each["name"].replace("_", " "), each["what"], each["remedy"])
        for each in metrics.get("warnings", ())
    ]
    return (
        *_of_weights(metrics),
        *_of_experts(metrics, spec, of),
        *warned,
        *_of_new_rows(metrics, of),
        *_of_starts(metrics),
        *_of_treatment(metrics, spec),
    )


def _of_weights(metrics: dict[str, Any]) -> Iterator[Worry]:
    k, nuts = metrics.get("pareto_k"), metrics.get("nuts")
    if k is not None and k > FAR:
        what = f"Pareto k is {k:.2f}, above {FAR}: the guide is far from the posterior"
        remedy = "intervals may be too narrow; set guide.weights: full_rank, flow or nuts"
        yield Worry("posterior of the weights", what, remedy)
    if nuts is None:
        return
    more = "set a larger guide.warmup and output.draws"
    if nuts["r_hat"] > MIXED:
        what = f"R-hat is {nuts['r_hat']:.3f}, above {MIXED}: the chains have not mixed"
        yield Worry("chains", what, more)
    elif nuts["ess"] < ENOUGH:
        what = f"the draws are worth {nuts['ess']:.0f} independent ones, fewer than {ENOUGH}"
        yield Worry("few draws", what, more)
    if nuts["divergences"]:
        what = f"{nuts['divergences']} trajectories diverged: a part of the posterior is left out"
        yield Worry("divergences", what, "set narrower priors, or a larger guide.warmup")


def _of_experts(metrics: dict[str, Any], spec: Spec, of: Assignments) -> Iterator[Worry]:
    number, shares = of.number, of.shares
    if number == 1:
        return
    largest = int(shares.argmax())
    pruned = np.flatnonzero(shares < pruned_below(number)).tolist()
    if shares[largest] > ALL:
        what = f"expert {largest} has {shares[largest]:.1%} of the rows: the others are not used"
        remedy = "set treatment: enumerate and objective: marginal, raise fit.restarts, or be "
        yield Worry("collapse", what, f"{remedy}content with one expert (pyromoe select)")
        return
    if pruned and spec.gate.kind != "stick_breaking":
        each = f"expert{'s' if len(pruned) > 1 else ''} {listed(map(str, pruned), 8)}"
        what = f"{each} below {pruned_below(number):.2g} of the rows: "
        what += f"{number - len(pruned)} of {number} experts remain"
        yield Worry("pruned experts", what, "lower experts.number, or raise fit.restarts")
    overall = float(entr(shares).sum())
    told = overall - float(of.entropy.mean())  # mutual information of row and z
    if told < ALIKE * overall:
        what = f"x and y tell {told:.3f} of the {overall:.3f} nats of z: every row has about the "
        remedy = "take more steps, a wider priors.experts, or fewer experts"
        yield Worry("experts alike", f"{what}same mixture of experts", remedy)


def _of_new_rows(metrics: dict[str, Any], of: Assignments) -> Iterator[Worry]:
    total, n = metrics["log_likelihood"], metrics["n"]
    if not n["test"]:
        what = "no row was held out: how good it is for new rows is not known"
        yield Worry("nothing held out", what, "set data.split: {test: 0.2}")
        return
    units = metrics.get("groups", n)
    gap = total["train"] / n["train"] - total["test"] / n["test"]
    spread = float(of.log_likelihood.std()) * units["train"] / n["train"]
    error = spread * (1 / units["train"] + 1 / units["test"]) ** 0.5
    if gap > max(ERRORS * error, MUCH):
        what = f"log p(y|x) is {gap:.3f} nats a row lower on held-out rows than on training rows"
        remedy = "set fit.early_stopping: {}, narrower priors, or fewer or smaller experts"
        yield Worry("overfitting", what, remedy)


def _of_starts(metrics: dict[str, Any]) -> Iterator[Worry]:
    starts, rows = metrics["restarts"], metrics["n"]["train"]
    known = [s["log_likelihood"] for s in starts if s["log_likelihood"] is not None]
    if metrics.get("modes") or not known:  # they have warnings of their own
        return
    near = sum(max(known) - value <= NEAR * rows for value in known)
    if len(starts) >= STARTS and near == 1:
        what = f"only 1 of {len(starts)} starts came within {NEAR} nats a row of the best"
        remedy = f"there may be a better solution; set fit.restarts: {4 * len(starts)}"
        yield Worry("few starts agree", what, remedy)
    if not any(s["converged"] for s in starts):
        what = "log p(y|x) was still moving when the steps ended"
        yield Worry("not converged", what, f"raise fit.epochs, from {metrics['steps']} steps")
    if broken := sum("failure" in s for s in starts):
        what = f"{broken} of {len(starts)} starts broke down"
        yield Worry("starts broke down", what, "lower fit.learning_rate")
    if again := [s["retries"] for s in starts if "retries" in s]:
        what = (
            f"{len(again)} of {len(starts)} starts met numbers that were not finite, and went back "
        )
        what += f"{sum(again)} times to go on with smaller steps"
        yield Worry("smaller steps", what, "lower fit.learning_rate, or standardise the columns")


def _of_treatment(metrics: dict[str, Any], spec: Spec) -> Iterator[Worry]:
    treatment = TREATMENTS.get(metrics["treatment"])
    if treatment is None:
        return
    relaxed = treatment.needs_relaxed_likelihood and not (treatment.hard or treatment.unbiased)
    ends = {name: _at_end(value) for name, value in spec.treatment.options.items()}
    high = [v for n, v in ends.items() if relaxed and n == "temperature" and v and v > HIGH]
    if high:
        what = f"the temperature is {high[0]:.2g} at the end, so that z was mixed, not chosen"
        remedy = "set treatment.temperature: {start: 1.0, end: 0.3, schedule: exponential}"
        yield Worry("high temperature", what, remedy)
    if not treatment.unbiased:
        what = f"the gradient of {treatment.name} is biased for {metrics['objective']}"
        remedy = "measure by how much here with pyromoe gradients, or compare it with enumerate"
        yield Worry("biased estimator", what, remedy)
    if metrics["objective"] == "jensen" and spec.experts.number > 1:
        what = "the objective jensen is highest for a gate that picks one expert for each x"
        remedy = "set objective: elbo, or treatment: enumerate and objective: marginal"
        yield Worry("hard gate", what, remedy)


def _at_end(value: object) -> float | None:
    """Return an option at the end of the fit, where it is a number."""
    end = value.get("end") if isinstance(value, dict) else value
    return float(end) if isinstance(end, (int, float)) else None
