"""The section on whether what is predicted comes as often as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.pictures import (
    new_figure,
    plot_pit,
    plot_reliability,
    probabilities_of,
    transforms_of,
)
from pyromoe.inference.report.page import Picture, Section
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.report.run_files import RunFiles

MOST = 4
"""Responses that are drawn."""
ROWS = 5000
"""Rows that are looked at, evenly spaced."""
NAME = 40


def predictions_section(run: RunFiles) -> Section:
    """Return the calibration of held-out rows, of training rows where there are none."""
    (x, y), where, text = run.held_out or (run.rows.x, run.rows.y), "held-out", list[str]()
    if run.held_out is None:
        where = "training"
        why = f"The held-out rows are missing: {run.missing}" if run.missing else ""
        text.append(why or "No row was held out.")
        text.append("What follows is of the training rows, which flatters.")
    targets = run.fit.encoding.targets
    pictures = [_calibration(run, x, y[:, r], r, where) for r in range(min(len(targets), MOST))]
    if len(targets) > MOST:
        text.append(f"The first {MOST} of {len(targets)} responses are shown.")
    return Section("Predictions", tuple(text), pictures=tuple(p for p in pictures if p))


def _calibration(
    run: RunFiles, x: Tensor, y: NDArray[np.float64], response: int, where: str
) -> Picture | None:
    target = run.fit.encoding.targets[response]
    there = np.flatnonzero(np.isfinite(y))
    if not len(there):
        return None
    some = there[np.linspace(0, len(there) - 1, min(len(there), ROWS)).round().astype(int)]
    x, y = x[some], y[some]
    figure = new_figure()
    title = f"Calibration of {one_line(target.name, NAME)}, {len(some)} {where} rows"
    if target.labels:
        p, codes = probabilities_of(run.fit, x, response), y.astype(np.int64)
        plot_reliability(figure.subplots(), p, codes)
        sure, right = p.max(1), p.argmax(1) == codes
        text = f"The most probable class has a mean probability of {sure.mean():.3f} and came in "
        return Picture.of(title, figure, f"{text}{right.mean():.3f} of the rows")
    u = transforms_of(run.fit, x, y, np.random.default_rng(0), response)
    plot_pit(figure.subplots(), u)
    inside = float(((u > 0.05) & (u < 0.95)).mean())
    text = f"Mean of P(Y <= y | x) {u.mean():.3f}, 0.5 if calibrated; {inside:.1%} of the rows "
    return Picture.of(title, figure, f"{text}are inside the central interval of 90%")
