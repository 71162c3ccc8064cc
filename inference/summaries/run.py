"""The summary of a run directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.runs.forms import Metrics
from pyromoe.inference.runs.reading import read_checked, spec_in
from pyromoe.inference.summaries.assignments import read_assignments
from pyromoe.inference.summaries.experts import expert_bars
from pyromoe.inference.summaries.model import model_sentences, model_title
from pyromoe.inference.summaries.worries import worries_of
from pyromoe.inference.summary import Summary
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyromoe.inference.summaries.assignments import Assignments
    from pyromoe.models.specs.spec import Spec

MODES = 3
"""Solutions that are named."""
BARS_OF = "Experts, by their share of the training"


def summarise_run(folder: Path) -> Summary:
    """Return the summary of a run directory.

    Raises:
        InputError: where a file is missing or broken.
    """
    metrics = read_checked(folder, "metrics.json", Metrics)
    spec = spec_in(folder).spec
    return of_run(metrics, spec, read_assignments(folder))


def of_run(metrics: dict[str, Any], spec: Spec, of: Assignments) -> Summary:
    """Return the summary of a run.

    Args:
        metrics: of `metrics.json`.
        spec: of `spec.yaml`.
        of: its assignments.
    """
    response = ", ".join(one_line(target.name, 40) for target in of.encoding.targets)
    return Summary(
        title=model_title(spec, response),
        what=(*model_sentences(spec, response), *_size(metrics), *_sample(metrics, of)),
        how_good=(
            *_likelihoods(metrics),
            *_errors(metrics, of),
            *_posterior(metrics),
            *_starts(metrics),
        ),
        bars_of=f"{BARS_OF} {of.unit}" + (" of the sample" if [*_sample(metrics, of)] else ""),
        bars=expert_bars(of),
        worries=worries_of(metrics, spec, of),
    )


def fit_lines(metrics: dict[str, Any], spec: Spec, response: str) -> Iterator[str]:
    """Yield what is known of a fit without its assignments.

    Args:
        metrics: of `metrics.json`; empty where nothing was measured.
        spec: of the fit.
        response: its name, where the spec leaves it to the data set.
    """
    yield from model_sentences(spec, response)
    if not metrics:
        return
    yield from (*_size(metrics), *_likelihoods(metrics))
    where = "held-out" if metrics["measured_on"] == "test" else "training"
    for name, value in metrics.items():
        if name.partition("(")[0] in ("accuracy", "rmse"):
            yield f"{name}, {where} rows: {value:.4g}."
    yield f"{metrics['effective_experts']:.2f} of {spec.experts.number} experts in use."
    yield from (*_posterior(metrics), *_starts(metrics))


def _size(metrics: dict[str, Any]) -> Iterator[str]:
    n, groups = metrics["n"], metrics.get("groups")
    rows = f"{n['train']} training and {n['test']} test rows"
    if groups:
        rows += f", in {groups['train']} and {groups['test']} groups"
    yield f"{rows}; {metrics['parameters']} parameters."


def _sample(metrics: dict[str, Any], of: Assignments) -> Iterator[str]:
    if len(of.row) < metrics["n"]["train"]:
        yield f"Assignments are those of a sample of {len(of.row)} training rows."


def _likelihoods(metrics: dict[str, Any]) -> Iterator[str]:
    for name, said in (("test", "held-out"), ("train", "training")):
        total, n = metrics["log_likelihood"][name], metrics["n"][name]
        if n:
            each = f"{total / n:.4f} nats a row"
            yield f"log p(y|x) of the {n} {said} rows: {total:.2f} nats, {each}."
    if kept := metrics.get("early_stopping"):
        each = f"{kept['log_likelihood'] / kept['n']:.4f} nats a row, best after epoch"
        ended = f"stopped after {kept['stopped_at']}" if kept["stopped_at"] else "not stopped"
        yield f"log p(y|x) of {kept['n']} rows kept back: {each} {kept['epoch']}, {ended}."


def _errors(metrics: dict[str, Any], of: Assignments) -> Iterator[str]:
    """Say each error beside what no model at all would have, on the training rows."""
    where = "held-out" if metrics["measured_on"] == "test" else "training"
    for r, target in enumerate(of.encoding.targets):
        kind = "accuracy" if target.labels else "rmse"
        own = f"{kind}({target.name})" if len(of.encoding.targets) > 1 else kind
        y = of.y[np.isfinite(of.y[:, r]), r]
        if own not in metrics or not len(y):
            continue
        name = one_line(target.name, 40)
        if target.labels:
            common = np.bincount(y.astype(int)).max() / len(y)
            beside = f"the most common class has {common:.3f}"
        else:
            beside = f"its standard deviation is {y.std():.4g}"
        yield f"{kind} of {name}, {where} rows: {metrics[own]:.4g}; {beside}."
    used, number = metrics["effective_experts"], of.number
    if number > 1:
        mean = f"mean entropy of z {of.entropy.mean():.3f} nats"
        yield f"{used:.2f} of {number} experts in use; {mean}, at most {np.log(number):.3f}."


def _posterior(metrics: dict[str, Any]) -> Iterator[str]:
    """Say how near the guide of the weights is to their posterior."""
    if (k := metrics.get("pareto_k")) is not None:
        yield f"Posterior of the weights: ELBO {metrics['elbo']:.2f} nats, Pareto k {k:.2f}."
    if found := metrics.get("nuts"):
        yield (
            f"Posterior of the weights: NUTS, R-hat {found['r_hat']:.3f}, effective sample size "
            f"{found['ess']:.0f}, {found['divergences']} divergences."
        )


def _starts(metrics: dict[str, Any]) -> Iterator[str]:
    """Say how many starts agree, and what other solutions there are."""
    starts, modes = metrics["restarts"], metrics.get("modes")
    done, broken = sum(bool(s["converged"]) for s in starts), sum("failure" in s for s in starts)
    lost = f", {broken} broke down" if broken else ""
    if not modes:
        known = [s["log_likelihood"] for s in starts if s["log_likelihood"] is not None]
        near = sum(max(known) - value < 0.1 for value in known)
        of = f"{near} of {len(starts)} starts came within 0.1 nats of the best"
        one = f"One start, {'converged' if done else 'not converged'}."
        yield f"{of}, {done} converged{lost}." if len(starts) > 1 else one
        return
    total = sum(mode["hits"] for mode in modes)
    solutions = [
        f"{mode['log_likelihood']:.4f} nats from {mode['hits']} of {total} starts"
        + (" (degenerate)" if "spikes" in mode else "")
        for mode in modes[:MODES]
    ]
    more = f" and {len(modes) - MODES} more" if len(modes) > MODES else ""
    yield f"{metrics['optimiser']} from {len(starts)} starts, {done} converged{lost}."
    yield f"Solutions: {', '.join(solutions)}{more}."
    for model in metrics.get("nested", ()):
        yield f"Simpler, with {model['model']}: {model['log_likelihood']:.4f} nats at best."
