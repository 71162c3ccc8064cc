"""The section on how the fit went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromoe.inference.pictures import history_figure, new_figure, plot_modes
from pyromoe.inference.report.page import Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.report.run_files import RunFiles

STARTS = 12
"""Rows in the table of starts."""
OF_START = (
    "seed",
    "log_likelihood",
    "converged",
    "initialisation",
    "gradient",
    "retries",
    "failure",
)
"""Its columns, those of which there is anything."""


def fit_section(run: RunFiles) -> Section:
    """Return the history, the starts and the solutions that they came to."""
    metrics = run.fit.metrics
    optimiser, mode = metrics.get("optimiser"), metrics.get("mode")
    text = f"{optimiser}, {metrics['steps']} steps a start ({mode}), {metrics['seconds']:.1f} s."
    criteria = ", ".join(f"{name.upper()} {metrics[name]:.1f}" for name in ("aic", "bic", "icl"))
    return Section(
        "Fit",
        (text, f"{criteria}; lowest is best among fits to the same rows."),
        pictures=tuple(_pictures(run)),
        details=(_starts(metrics["restarts"]),),
    )


def _pictures(run: RunFiles) -> Iterator[Picture]:
    history, metrics = run.history, run.fit.metrics
    if history:
        last = max(history, key=lambda row: (row["step"], row["log_likelihood"] or -1e300))
        text = f"{len({row['restart'] for row in history})} starts, {last['step']:.0f} steps; "
        text += f"at the end of the best: loss {last['loss']:.4g}"
        yield Picture.of("Loss and log p(y|x) by step", history_figure(history), text)
    modes = metrics.get("modes")
    if modes:
        figure = new_figure(2.8)
        plot_modes(figure.subplots(), modes)
        first = modes[0]
        text = f"{len(modes)} solutions; {first['hits']} starts came to the one kept, at "
        yield Picture.of(
            "Solutions that starts came to", figure, f"{text}{first['log_likelihood']:.2f} nats"
        )


def _starts(starts: list[dict[str, Any]]) -> Table:
    known = sorted(starts, key=lambda s: -(s["log_likelihood"] or -float("inf")))
    there = [name for name in OF_START if any(name in start for start in starts)]
    shown = known[:STARTS]
    some = f", the best {STARTS} of {len(starts)}" if len(starts) > STARTS else ""
    return Table(
        f"Starts{some}",
        tuple(name.replace("_", " ") for name in there),
        tuple(tuple(start.get(name) for name in there) for start in shown),
        "log likelihood: log p(y|x) of the training rows, nats",
    )
