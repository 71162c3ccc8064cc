"""The summary of a comparison of treatments, and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.runs.forms import Comparison
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.summaries.fits import common_spec, model_of, one_fit
from pyromoe.inference.summaries.model import of_table
from pyromoe.inference.summary import Summary, Tabular, Worry
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ALIKE = 1.5
"""Costs that differ by less are taken to be equal."""
ALONE = 1.1
"""Effective experts below which one has all the rows."""
SAID = ("nothing held out", "biased estimator")
"""Worries of a fit that are said of all fits."""


def summarise_comparison(folder: Path) -> Summary:
    """Return the summary of a comparison directory.

    Raises:
        InputError: where a file is missing or broken.
    """
    found = read_checked(folder, "comparison.json", Comparison)
    rows, measured_on = found["rows"], found["measured_on"]
    order = ranked(rows, measured_on)
    names = [fit_name(row) for row in order]
    spec = common_spec(folder, names)
    treatments, seeds = ({row[key] for row in rows} for key in ("treatment", "seed"))
    of, bars, worries = one_fit(folder, names[0], SAID, f"in {names[0]}") if names else ("", (), ())
    size = f"{len(treatments)} treatment{'s' if len(treatments) > 1 else ''} of z"
    return Summary(
        title=f"{size} side by side{of_table(spec)}",
        what=(
            model_of(spec),
            f"{size}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}: {len(rows)} fits to the "
            "same rows.",
        ),
        how_good=(found["summary"],),
        bars_of=of,
        bars=bars,
        worries=(*_worries(order, rows, measured_on), *worries),
    )


def fit_name(row: dict[str, Any]) -> str:
    """Return the name of the run directory of a row."""
    return f"{row['treatment']}-{row['seed']}"


def measure_of(measured_on: str) -> str:
    """Return the column that says how good a fit is."""
    return "test_log_likelihood" if measured_on == "test" else "train_log_likelihood"


def ranked(rows: Sequence[dict[str, Any]], measured_on: str) -> list[dict[str, Any]]:
    """Return the rows of fits that came to an end, the best first."""
    measure = measure_of(measured_on)
    return sorted((r for r in rows if "failure" not in r), key=lambda r: -float(r[measure]))


def comparison_table(rows: Sequence[dict[str, Any]], measured_on: str) -> Tabular:
    """Return the fits side by side, the best first, those that broke down last."""
    errors = sorted({n for row in rows for n in row if n.startswith(("accuracy", "rmse"))})
    columns = {
        "treatment": "treatment of z",
        "objective": "objective",
        "seed": "seed",
        "unbiased": "un-\nbiased",
        "evaluations": "experts\nrun",
        measure_of(measured_on): "log\np(y|x)",
        **{name: name for name in errors},
        "effective_experts": "experts\nin use",
        "seconds": "seconds",
    }
    if len({row["seed"] for row in rows}) == 1:
        del columns["seed"]
    where = "held-out" if measured_on == "test" else "training"
    said = ", ".join(["log p(y|x)", *errors])
    note = (
        f"{said}: of the {where} rows; log p(y|x) in nats a row, z summed out\n"
        "unbiased: whether the gradient's mean is the objective's exact gradient\n"
        "experts run: evaluations for each row and step; experts in use: 1 if one has all the rows"
    )
    lost = [row for row in rows if "failure" in row]
    return Tabular.of(columns, [*ranked(rows, measured_on), *lost], note)


def _worries(
    order: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], measured_on: str
) -> Iterator[Worry]:
    for row in rows:
        if "failure" in row:
            remedy = "lower fit.learning_rate, or leave it out"
            yield Worry(f"{fit_name(row)} broke down", row["failure"], remedy)
    if measured_on != "test":
        what = "no row was held out: the fits are compared on rows that they have seen"
        yield Worry("nothing held out", what, "set data.split: {test: 0.2}")
    alone = [fit_name(row) for row in order if row["effective_experts"] < ALONE]
    if alone:
        what = f"one expert has nearly all rows: {listed(alone, 5)}"
        remedy = "prefer a treatment that keeps more in use, or raise fit.restarts"
        yield Worry("collapse", what, remedy)
    biased = list(dict.fromkeys(row["treatment"] for row in order if not row["unbiased"]))
    if biased:
        what = f"by what they claim, biased for their objective: {listed(biased, 5)}"
        yield Worry("biased estimators", what, "measure by how much with pyromoe gradients SPEC")
    cost = [row["evaluations"] * row["steps"] for row in order]
    if cost and max(cost) > ALIKE * min(cost):
        what = f"the dearest ran {max(cost) / min(cost):.3g} times the experts of the cheapest"
        remedy = "compare at equal cost with --budget evaluations=N or seconds=S"
        yield Worry("unequal cost", what, remedy)
    if len({row["seed"] for row in rows}) == 1:
        what = "with one seed it is not known how much the next start would differ"
        yield Worry("one seed", what, "repeat with --seeds 0,1,2")
