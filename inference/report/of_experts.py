"""The section on what the experts do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyromoe.inference.fitting.natural import Natural
from pyromoe.inference.pictures import (
    curves_of,
    gate_map_of,
    new_figure,
    plot_curves,
    plot_gate_map,
    values_of,
)
from pyromoe.inference.posterior.coefficient_rows import coefficient_rows
from pyromoe.inference.report.page import BARS, Picture, Section, Table
from pyromoe.inference.report.strongest import strongest
from pyromoe.inference.summaries.experts import expert_bars, number
from pyromoe.models.data.predictors import Numeric
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.pictures import Curves
    from pyromoe.inference.report.run_files import RunFiles

PREDICTORS, OTHERS, RESPONSES = 3, 1, 3
"""Curves of the first response, of each of the others, and how many responses."""
COLUMNS = 12
"""Experts side by side in a table of coefficients."""
NAME = 40


def experts_section(run: RunFiles) -> Section:
    """Return the shares of the experts, their coefficients and their curves."""
    return Section(
        "Experts",
        tables=(_shares(run),),
        pictures=(*_curves(run), *_gate_map(run)),
        details=tuple(_coefficients(run)),
    )


def _shares(run: RunFiles) -> Table:
    of, rows = run.of, []
    more = of.number > BARS  # else it is on the first screen
    for bar in expert_bars(of):
        own = of.leader == bar.expert
        entropy = round(float(of.entropy[own].mean()), 4) if own.any() else None
        row = (bar.expert, f"{bar.share:.1%}", int(own.sum()), entropy)
        rows.append((*row, bar.text) if more else row)
    return Table(
        "Experts by their share",
        ("expert", "share", f"{of.unit} it leads", "entropy", *(["what it does"] if more else [])),
        tuple(rows),
        f"share: mean of p(z | y, x) over the training {of.unit}; entropy: of p(z | y, x), nats, "
        f"mean over the {of.unit} that it leads",
    )


def _coefficients(run: RunFiles) -> Iterator[Table]:
    """Yield the numbers of linear experts and gates, the largest experts side by side."""
    experts = np.argsort(-run.of.shares, kind="stable")[:COLUMNS].tolist()
    found = Natural(run.fit.model, run.fit.guide, run.fit.encoding)()
    values: dict[tuple[str, str], dict[int, float]] = {}
    for each in coefficient_rows(run.fit, found):
        values.setdefault((each.name, each.of), {})[each.expert] = each.value
    if not values:
        return
    of_gate = "gate: of each expert less those of expert 0; " if "gate_intercept" in found else ""
    some = f", the {COLUMNS} largest experts" if run.of.number > COLUMNS else ""
    yield Table(
        f"Coefficients in units of the table{some}",
        ("parameter", "of", *(f"expert {k}" for k in experts)),
        tuple(
            (name.replace("_", " "), of, *(own.get(k) for k in experts))
            for (name, of), own in values.items()
        ),
        f"{of_gate}standard errors: pyromoe coefficients",
    )


def _curves(run: RunFiles) -> Iterator[Picture]:
    for response in range(min(len(run.fit.encoding.targets), RESPONSES)):
        most = OTHERS if response else PREDICTORS
        for predictor in strongest(run.of, response, most):
            yield _curve(run, response, predictor)


def _curve(run: RunFiles, response: int, predictor: str) -> Picture:
    fit, rows = run.fit, run.rows
    target = fit.encoding.targets[response]
    y = rows.y[:, response]
    there = np.isfinite(y)
    code = int(np.bincount(y[there].astype(int)).argmax()) if target.labels else 0
    label = target.labels[code] if target.labels else None
    curves = curves_of(fit, predictor, rows.x, response=response, label=label)
    known, figure = values_of(fit, predictor, rows.x), new_figure()
    if known.dtype.kind != "U":
        there &= np.isfinite(known.astype(float))
    plot_curves(
        figure.subplots(),
        curves,
        known[there],
        (y == code).astype(float)[there] if target.labels else y[there],
        rows.responsibilities[there],
        run.colours,
    )
    what = one_line(curves.response, NAME)
    title = f"{what} as {one_line(predictor, NAME)} changes, others at their medians"
    return Picture.of(title, figure, _curve_text(run, curves))


def _curve_text(run: RunFiles, curves: Curves) -> str:
    """Say where each of the largest experts begins and ends."""
    first, last = (
        number(float(v)) if curves.values.dtype.kind != "U" else one_line(str(v), NAME)
        for v in (curves.values[0], curves.values[-1])
    )
    each = [
        f"expert {k} from {number(float(curves.means[k, 0]))} (gate {curves.gate[k, 0]:.0%}) "
        f"to {number(float(curves.means[k, -1]))} (gate {curves.gate[k, -1]:.0%})"
        for k in np.argsort(-run.of.shares, kind="stable")[:4]
    ]
    name = one_line(curves.predictor, NAME)
    return f"Mean of {one_line(curves.response, NAME)}, {name} {first} to {last}: {', '.join(each)}"


def _gate_map(run: RunFiles) -> Iterator[Picture]:
    """Yield the gate over the two strongest numbers that it sees."""
    fit = run.fit
    seen = {fit.encoding.columns[c] for c in fit.model.gate_columns}
    numbers = {p.name for p in fit.encoding.predictors if isinstance(p, Numeric)} & seen
    names = [n for n in strongest(run.of, 0, len(fit.encoding.predictors)) if n in numbers][:2]
    if len(names) < 2 or run.of.number < 2:
        return
    pair = (names[0], names[1])
    values, gate = gate_map_of(fit, pair, run.rows.x)
    figure = new_figure()
    plot_gate_map(figure.subplots(), pair, values, gate, run.colours)
    share = np.bincount(gate.argmax(0).ravel(), minlength=len(gate)) / gate[0].size
    first = np.argsort(-share, kind="stable")[:4]
    led = ", ".join(f"expert {k} in {share[k]:.0%}" for k in first if share[k] > 0)
    over = " and ".join(one_line(name, NAME) for name in pair)
    yield Picture.of(
        f"The expert that the gate prefers over {over}",
        figure,
        f"Area where the gate prefers each expert: {led}",
    )
