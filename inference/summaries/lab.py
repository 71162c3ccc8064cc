"""The summary of a gradient lab, and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.runs.forms import Lab
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.summaries.advice import TOLERABLE
from pyromoe.inference.summaries.fits import common_spec, model_of
from pyromoe.inference.summaries.model import of_table
from pyromoe.inference.summary import Bar, Summary, Tabular, Worry
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS = {
    "treatment": "treatment of z",
    "objective": "objective",
    "evaluations": "experts\nrun",
    "objective_bias": "bias of\nobjective",
    "estimator_bias": "bias of\nestimator",
    "estimator_bias_mc_floor": "its\nfloor",
    "slope": "slope",
    "cosine": "cosine",
    "relative_std": "relative\nstd",
    "error_times_cost": "error\nx cost",
    "seconds_per_call": "seconds\na call",
}
VANISHED = 1000.0
"""Relative biases above this are of a gradient that is 0 but for rounding."""


def summarise_lab(folder: Path) -> Summary:
    """Return the summary of a directory of gradients.

    Raises:
        InputError: where a file is missing or broken.
    """
    found = read_checked(folder, "gradients.json", Lab)
    rows, spec = deciding(found["rows"]), common_spec(folder)
    own = "" if spec is None else spec.treatment.name
    draws = max((row["draws"] for row in rows), default=0)
    part = part_of(found["rows"])
    return Summary(
        title=f"Bias and noise of {len(rows)} treatments of z{of_table(spec)}",
        what=(
            model_of(spec),
            f"Gradients of one typical batch, drawn up to {draws} times each, where the fit "
            "starts and where it ends, against exact gradients.",
        ),
        how_good=(found["recommendation"],),
        bars_of=f"Bias for the gradient of log p(y|x) in the {part}, at the fitted parameters",
        bars=tuple(_bar(row) for row in rows if row["total_bias"] is not None),
        worries=tuple(_worries(rows, found["skipped"], own, draws)),
    )


def part_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the part to show: the gate, unless nothing of it is trained."""
    return "gate" if any(row["parameters"] == "gate" for row in rows) else "experts"


def deciding(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of that part at the fitted parameters, what is to be preferred first."""
    part = part_of(rows)
    chosen = [r for r in rows if r["at"] == "fitted" and r["parameters"] == part]
    return sorted(chosen, key=_rank)


def lab_table(rows: Sequence[dict[str, Any]]) -> Tabular:
    """Return the treatments at the fitted parameters, what is to be preferred first."""
    note = (
        f"Gradient of the {part_of(rows)} at the fitted parameters, relative to the exact one; "
        f"those within {TOLERABLE:.0%} of that of log p(y|x) first,\nthen by error x cost.\n"
        "bias of objective: its exact gradient against that of log p(y|x); bias of estimator: the "
        "mean draw against\nthe objective's exact gradient, with its floor: what the draws leave "
        "even without a bias\nerror x cost: squared error of a step, the batch's own noise "
        "included, times experts run"
    )
    return Tabular.of(COLUMNS, deciding(rows), note)


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    if row["error_times_cost"] is None:
        return True, float("inf")
    return row["total_bias"] > TOLERABLE, row["error_times_cost"]


def _bar(row: dict[str, Any]) -> Bar:
    noise = row["relative_std"]
    number = row["evaluations"]
    text = f"{row['objective']}, {number} expert{'s' if number > 1 else ''} run"
    text += "" if noise is None else f", relative standard deviation {noise:.2g}"
    bias = row["total_bias"]
    return Bar(row["treatment"], min(bias, 1.0), text, said="> 100%" if bias > 1 else "")


def _worries(
    rows: Sequence[dict[str, Any]], skipped: dict[str, str], own: str, draws: int
) -> Iterator[Worry]:
    mine = [r for r in rows if r["treatment"] == own and (r["total_bias"] or 0) > TOLERABLE]
    if mine:
        what = f"{own}, which the spec names, is {mine[0]['total_bias']:.0%} off the gradient of "
        best = rows[0]["treatment"]
        better = "enumerate and objective: marginal" if best == own else best
        yield Worry("biased for log p(y|x)", f"{what}log p(y|x)", f"set treatment: {better}")
    biased = [
        f"{r['treatment']} {r['estimator_bias']:.0%}"
        for r in rows
        if (r["estimator_bias_low"] or 0) > TOLERABLE
    ]
    if any((r["total_bias"] or 0) > VANISHED for r in rows):
        what = "the exact gradient at the fitted parameters is nearly 0: biases relative to it are "
        remedy = "look at the initial parameters, or fit with fewer steps of adam"
        yield Worry("nothing left to learn", f"{what}huge, and say little", remedy)
    elif biased:
        what = f"measured more than {TOLERABLE:.0%} off their own objective: {listed(biased, 6)}"
        yield Worry("biased estimators", what, "more steps do not mend it; take another treatment")
    wide = [r["treatment"] for r in rows if (r["estimator_bias_mc_floor"] or 0) > TOLERABLE]
    if wide:
        what = f"a bias of {TOLERABLE:.0%} would not show for {listed(wide, 6)}"
        yield Worry("few draws", what, f"raise --draws, from {draws}")
    if skipped:
        first, reason = next(iter(skipped.items()))
        what = f"{len(skipped)} treatments, {first} among them ({reason})"
        yield Worry("left out", what, "change the setting that is named, if they matter")
