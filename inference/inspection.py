"""A run directory, looked at in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pyromoe.inference import terminal
from pyromoe.inference.store import read_json
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAR = 24
"""Width of a full bar, in characters."""
FAR = 0.7
"""Pareto's k above which importance ratios have no usable mean (Vehtari et al., 2024)."""
MIXED = 1.01
"""R-hat above which chains have not mixed (Vehtari et al., 2021)."""
MODES = 5
"""Solutions that are shown."""


def inspect(folder: Path, rows: int) -> None:
    """Print what was fitted, how well, each expert's share, and the least certain rows.

    Raises:
        InputError: for a directory that is not a run.
    """
    if not (folder / "metrics.json").is_file():
        remedy = "give a directory that `pyromoe fit` has written"
        raise InputError("is not a run directory", file=str(folder), remedy=remedy)
    for line in metric_lines(read_json(folder / "metrics.json")):
        terminal.out.print(line, markup=False)
    path = folder / "posterior.nc"
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            r = tree["posterior"]["resp"].isel(chain=0, draw=0).to_numpy()
            row = tree["constant_data"]["row"].to_numpy()
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", file=str(path)) from None
    grouped, row = row.ndim > 1, row.reshape(len(row), -1)[:, 0]
    _print_experts(r, "groups" if grouped else "rows")
    _print_rows(r, row, rows)


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
            yield f"{name} of the {metrics['measured_on']} rows: {metrics[name]:.4g}"
    yield f"{metrics['parameters']} parameters, {metrics['effective_experts']:.2f} experts in use"
    yield from _posterior_lines(metrics)
    yield from _start_lines(metrics)
    if "mode" in metrics:
        yield f"{metrics['steps']} steps a start, {metrics['mode']}"
    for warning in metrics.get("warnings", ()):
        name = warning["name"].replace("_", " ")
        yield f"warning, {name}: {warning['what']}; {warning['remedy']}"


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


def bar(share: float) -> str:
    """Return a share, 0 to 1, as a bar.

    >>> bar(0.5)
    '############            '
    """
    return ("#" * round(BAR * share)).ljust(BAR)


def pruned_below(number: int) -> float:
    """Return the share of the rows below which one of K experts counts as pruned.

    1%, or a tenth of an equal share where there are many experts.

    >>> pruned_below(8)
    0.01
    """
    return min(0.01, 0.1 / number)


def _print_experts(r: np.ndarray[Any, Any], data: str) -> None:
    number, shares = r.shape[-1], r.mean(0)
    owner, pruned = np.bincount(r.argmax(-1), minlength=number), shares < pruned_below(number)
    terminal.out.print("\nexperts, by their share of the training rows")
    for k in np.argsort(-shares):
        end = "pruned" if pruned[k] else f"leads in {owner[k]} {data}"
        terminal.out.print(f"{k:>4}  {bar(float(shares[k]))} {shares[k]:6.1%}  {end}")
    if pruned.any():
        text = f"{number - pruned.sum()} of {number} experts remain"
        terminal.out.print(f"{text}; pruned: those below {pruned_below(number):.2g} of the rows")


def _print_rows(r: np.ndarray[Any, Any], row: np.ndarray[Any, Any], rows: int) -> None:
    if not rows or r.shape[-1] == 1:
        return
    terminal.out.print("\nthe least certain assignments (row of the data, from 0)")
    for i in np.argsort(r.max(-1))[:rows]:
        order = np.argsort(-r[i])[:3]
        parts = "  ".join(f"expert {k} {r[i, k]:.2f}" for k in order)
        terminal.out.print(f"{row[i]:>7}  {parts}")
