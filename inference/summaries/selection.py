"""The summary of a selection of the number of experts, and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.runs.forms import Selected
from pyromoe.inference.runs.reading import read_checked
from pyromoe.inference.selection.candidates import NETWORK
from pyromoe.inference.summaries.fits import common_spec, model_of, one_fit
from pyromoe.inference.summaries.model import of_table
from pyromoe.inference.summary import Summary, Tabular, Worry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS = {
    "candidate": "experts",
    "held_out_log_likelihood": "held-out\nlog p(y|x)",
    "standard_error": "standard\nerror",
    "behind": "behind\nthe best",
    "behind_standard_error": "its\nerror",
    "train_log_likelihood": "training\nlog p(y|x)",
    "parameters": "para-\nmeters",
    "aic": "AIC",
    "bic": "BIC",
    "icl": "ICL",
    "elpd_loo": "elpd\nLOO",
    "loo_se": "its\nerror",
    "p_value": "p against\nbefore",
    "seconds": "seconds",
}
ROUNDED = ("aic", "bic", "icl", "elpd_loo")
HELD_OUT = ("nothing held out",)
"""A worry of a candidate's fit that does not hold here: rows were held out in folds."""


def summarise_selection(folder: Path) -> Summary:
    """Return the summary of a selection directory.

    Raises:
        InputError: where a file is missing or broken.
    """
    found = read_checked(folder, "selection.json", Selected)
    rows = found["rows"]
    chosen = next((row["candidate"] for row in rows if row.get("recommended")), None)
    names = [row["candidate"] for row in rows]
    spec = common_spec(folder, [*([chosen] if chosen else []), *names])
    of, bars, worries = (
        one_fit(folder, chosen, HELD_OUT, f"with {_experts(chosen)}") if chosen else ("", (), ())
    )
    numbers = [row["candidate"] for row in rows if row["candidate"] != NETWORK]
    first, _, rest = found["recommendation"].partition(". ")
    return Summary(
        title=f"How many experts{of_table(spec)}",
        what=(
            model_of(spec, counted=False),
            f"Numbers of experts: {', '.join(numbers)}; and a plain network beside them.",
        ),
        how_good=tuple(said for said in (f"{first.rstrip('.')}.", rest) if said),
        bars_of=of,
        bars=bars,
        worries=(*_worries(rows, chosen), *worries),
    )


def selection_table(rows: Sequence[dict[str, Any]]) -> Tabular:
    """Return the candidates, the recommended one marked."""
    there = {key for row in rows for key in row}
    shown = {key: name for key, name in COLUMNS.items() if key in there}
    note = (
        "*: recommended; log p(y|x): nats a datum, z summed out; held-out: each datum by the fits "
        "to the other folds\nbehind the best mixture, with the standard error of the paired "
        "difference\ntraining log p(y|x), parameters, AIC, BIC, ICL: of the fit to all training "
        "rows; lowest is best"
    )
    note += "\nelpd LOO: nats, of all data" if "elpd_loo" in there else ""
    return Tabular.of(shown, map(_cells, rows), note)


def _experts(*numbers: str) -> str:
    """Return numbers of experts in words."""
    return f"{', '.join(numbers)} expert{'' if numbers == ('1',) else 's'}"


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    name = f"{row['candidate']} *" if row.get("recommended") else row["candidate"]
    return row | {"candidate": name} | {k: round(row[k], 1) for k in ROUNDED if row.get(k)}


def _worries(rows: Sequence[dict[str, Any]], chosen: str | None) -> Iterator[Worry]:
    for row in rows:
        if "failure" in row:
            remedy = "lower fit.learning_rate, or leave it out"
            yield Worry(f"{row['candidate']} broke down", row["failure"], remedy)
    mixtures = [row for row in rows if row["candidate"] != NETWORK and "failure" not in row]
    if chosen and len(mixtures) > 1 and chosen == mixtures[-1]["candidate"]:
        what = f"{chosen} experts are the most that were tried"
        yield Worry("at the edge", what, f"try more: --experts 1-{2 * int(chosen)}")
    for row in rows:
        gap, error = row.get("behind"), row.get("behind_standard_error")
        if row["candidate"] == NETWORK and gap is not None and gap < -(error or 0):
            what = f"a plain network is {-gap:.4f} +- {error:.4f} nats a datum better"
            yield Worry("no mixture needed", what, "ask whether experts are of use here")
        if row.get("loo_far"):
            what = f"{row['loo_far']} data of {row['candidate']} have a Pareto k above 0.7"
            yield Worry("LOO", what, "trust the held-out column, not elpd LOO, there")
    close = [
        row["candidate"]
        for row in mixtures
        if row["candidate"] != chosen and row.get("behind") is not None
        and row["behind"] <= row["behind_standard_error"]
    ]  # fmt: skip
    if chosen and close:
        what = f"within one standard error of the best as well: {_experts(*close)}"
        yield Worry("not told apart", what, "more data would tell; with these the fewest will do")
