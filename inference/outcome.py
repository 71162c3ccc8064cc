"""What came of a fit, in plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR = 0.7
"""Pareto's k above which importance ratios have no usable mean (Vehtari et al., 2024)."""
MIXED = 1.01
"""R-hat above which chains have not mixed (Vehtari et al., 2021)."""
MODES = 5
"""Solutions that are shown."""


def metric_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Say in plain lines what was fitted and how well."""
    guide = f", guide {metrics['guide']}" if metrics.get("guide") else ""
    yield f"treatment {metrics['treatment']}, objective {metrics['objective']}{guide}"
    for name, label in (("train", "training"), ("test", "test")):
        total, n = metrics["log_likelihood"][name], metrics["n"][name]
        if n:
            each = f"{total / n:.4f} nats a row"
            yield f"log p(y|x) of the {n} {label} rows: {total:.2f} nats, {each}"
    if kept := metrics.get("early_stopping"):
        each = f"{kept['log_likelihood'] / kept['n']:.4f} nats a row, best after epoch"
        ended = f"stopped after {kept['stopped_at']}" if kept["stopped_at"] else "not stopped"
        yield f"log p(y|x) of {kept['n']} rows kept back: {each} {kept['epoch']}, {ended}"
    for name in ("accuracy", "rmse"):
        if name in metrics:
            rows = "test" if metrics["measured_on"] == "test" else "training"
            yield f"{name} of the {rows} rows: {metrics[name]:.4g}"
    yield f"{metrics['parameters']} parameters, {metrics['effective_experts']:.2f} experts in use"
    yield from _posterior_lines(metrics)
    yield from _start_lines(metrics)
    if "mode" in metrics:
        yield f"{metrics['steps']} steps a start, {metrics['mode']}"
    for warning in metrics.get("warnings", ()):
        name = warning["name"].replace("_", " ")
        yield f"warning, {name}: {warning['what']}; {warning['remedy']}"


def fit_lines(responses: str, number: int, metrics: dict[str, Any]) -> Iterator[str]:
    """Name a fit, then say what came of it.

    Args:
        responses: their names.
        number: K.
        metrics: of the fit; empty where nothing was measured.
    """
    yield f"Fit of {responses}, {number} expert{'s' if number > 1 else ''}"
    if metrics:
        yield from metric_lines(metrics)


def _posterior_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Say how near the guide of the weights is to their posterior."""
    if "pareto_k" in metrics:
        k = metrics["pareto_k"]
        verdict = "near the posterior" if k <= FAR else "far from the posterior; try another guide"
        yield f"weights: ELBO {metrics['elbo']:.2f} nats, Pareto k {k:.2f}: {verdict}"
    if "nuts" in metrics:
        found = metrics["nuts"]
        text = f"R-hat {found['r_hat']:.3f}, effective sample size {found['ess']:.0f}"
        lost = f"{found['divergences']} divergences"
        hint = "; take more steps, guide.warmup and output.draws" if found["r_hat"] > MIXED else ""
        yield f"weights: NUTS, of log p(y, weights | x) {text}, {lost}{hint}"


def _start_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Say how many starts agree, and what other solutions there are."""
    starts = metrics["restarts"]
    done = sum(bool(r["converged"]) for r in starts)
    broken = sum("failure" in r for r in starts)
    best = max((r["log_likelihood"] for r in starts if r["log_likelihood"] is not None), default=0)
    near = sum(r["log_likelihood"] is not None and best - r["log_likelihood"] < 0.1 for r in starts)
    text = f"{near} of {len(starts)} starts came within 0.1 nats of the best, {done} converged"
    if not (modes := metrics.get("modes")):
        yield text + (f", {broken} broke down" if broken else "")
        return
    total = sum(mode["hits"] for mode in modes)
    lost = f", {broken} broke down" if broken else ""
    yield f"{metrics['optimiser']} from {len(starts)} starts, {done} converged{lost}"
    for mode in modes[:MODES]:
        kind = ", degenerate" if "spikes" in mode else ""
        yield f"{mode['log_likelihood']:>12.4f} nats from {mode['hits']} of {total} starts{kind}"
    if len(modes) > MODES:
        yield f"    and {len(modes) - MODES} more solutions"
    for model in metrics["nested"]:
        yield f"{model['log_likelihood']:>12.4f} nats at best with {model['model']}"
