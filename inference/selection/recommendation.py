"""Which number of experts to take, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.selection.candidates import NETWORK
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

CRITERIA = {"aic": "AIC", "bic": "BIC", "icl": "ICL"}
LEVEL = 0.05
"""Of the bootstrap likelihood ratio tests."""


def mean_and_error(values: Values, weight: Values) -> tuple[float, float]:
    """Return the weighted mean of independent values, (N,), and its standard error."""
    share = weight / weight.sum()
    mean = float(share @ values)
    return mean, float(np.sqrt((share**2) @ (values - mean) ** 2))


def recommended(
    rows: list[dict[str, Any]], held_out: Sequence[Values | None], weight: Values
) -> int | None:
    """Write the held-out means into the rows; return the place of the recommended mixture."""
    known = {i: values for i, values in enumerate(held_out) if values is not None}
    for i, values in known.items():
        mean, error = mean_and_error(values, weight)
        rows[i] |= {"held_out_log_likelihood": mean, "standard_error": error}
    mixtures = [i for i in known if rows[i]["candidate"] != NETWORK]
    if not mixtures:
        return None
    best = max(mixtures, key=lambda i: float(rows[i]["held_out_log_likelihood"]))
    for i, values in known.items():
        gap, error = mean_and_error(known[best] - values, weight)
        rows[i] |= {"behind": gap, "behind_standard_error": error}
    near = [i for i in mixtures if rows[i]["behind"] <= rows[i]["behind_standard_error"]]
    chosen = min(near, key=lambda i: int(rows[i]["parameters"]))
    for i, row in enumerate(rows):
        row["recommended"] = i == chosen
    return chosen


def recommend(labels: Sequence[str], rows: Sequence[dict[str, Any]], chosen: int | None) -> str:
    """Say in words what to take and how sure that is.

    Args:
        labels: what each candidate is called.
        rows: see `Selection`.
        chosen: the place of the recommended mixture.
    """
    if chosen is None:
        return "No number of experts could be fitted: " + str(rows[0].get("failure", ""))
    known = [i for i, row in enumerate(rows) if "failure" not in row]
    mixtures = [i for i in known if rows[i]["candidate"] != NETWORK]
    best = next(i for i in mixtures if rows[i]["behind"] == 0)
    lines = [f"Recommended: {labels[chosen]}."]
    mean, error = rows[best]["held_out_log_likelihood"], rows[best]["standard_error"]
    lines.append(f"{_upper(labels[best])} {_verb(labels[best])} held-out data best, "
                 f"{mean:.4f} +- {error:.4f} nats a datum.")  # fmt: skip
    if chosen != best:
        fewer = rows[best]["parameters"] - rows[chosen]["parameters"]
        lines.append(f"{_upper(labels[chosen])}, with {fewer} parameters fewer, "
                     f"{_is(labels[chosen])} {_behind(rows[chosen])} behind: within one standard "
                     "error, the data do not tell them apart.")  # fmt: skip
    others = [i for i in mixtures if i not in (best, chosen)]
    clear = [f"{labels[i]} {_behind(rows[i])}" for i in others if _clear(rows[i])]
    close = [f"{labels[i]} {_behind(rows[i])}" for i in others if not _clear(rows[i])]
    if clear:
        lines.append(f"Behind it by more than two standard errors: {listed(clear, 5)}.")
    if close:
        lines.append(f"Behind it by less than two: {listed(close, 5)}.")
    lines += _beside(labels, rows, chosen)
    return " ".join(lines)


def _beside(labels: Sequence[str], rows: Sequence[dict[str, Any]], chosen: int) -> list[str]:
    """Say what else speaks for or against the recommendation."""
    lines = []
    network = rows[-1]
    if "behind" in network:
        gap, error = network["behind"], network["behind_standard_error"]
        if gap < -error:
            lines.append(f"A plain network is {-gap:.4f} +- {error:.4f} better than every mixture: "
                         "the data may not need one.")  # fmt: skip
        else:
            lines.append(f"A plain network is {gap:.4f} +- {error:.4f} behind.")
    mixtures = [i for i, r in enumerate(rows) if "behind" in r and r["candidate"] != NETWORK]
    lowest = {
        name: labels[min(mixtures, key=lambda i: float(rows[i][key]))]
        for key, name in CRITERIA.items()
    }
    if all("elpd_loo" in rows[i] for i in mixtures):
        lowest["LOO"] = labels[max(mixtures, key=lambda i: float(rows[i]["elpd_loo"]))]
    prefer = [f"{name} {label}" for name, label in lowest.items()]
    lines.append(f"Preferred by {listed(prefer)}.")
    lines += [_tested(labels[i], row) for i, row in enumerate(rows) if "p_value" in row]
    if len(mixtures) > 1 and chosen == mixtures[-1]:
        lines.append("It is the largest number that was tried; try more.")
    broken = [labels[i] for i, row in enumerate(rows) if "failure" in row]
    if broken:
        lines.append(f"Broke down: {listed(broken)}.")
    return lines


def _tested(label: str, row: dict[str, Any]) -> str:
    p, samples = row["p_value"], row["bootstrap_samples"]
    says = "needed" if p <= LEVEL else "not shown to be needed"
    if p > LEVEL and samples * p < 1:
        says = f"the smallest that {samples} samples can show; take more"
    return f"Bootstrap likelihood ratio of {label} against the number before: p = {p:.3f}, {says}."


def _behind(row: dict[str, Any]) -> str:
    return f"{row['behind']:.4f} +- {row['behind_standard_error']:.4f}"


def _clear(row: dict[str, Any]) -> bool:
    return bool(row["behind"] > 2 * row["behind_standard_error"])


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _verb(label: str) -> str:
    return "explain" if label.endswith("experts") else "explains"


def _is(label: str) -> str:
    return "are" if label.endswith("experts") else "is"
