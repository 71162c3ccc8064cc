"""The same model fitted with several treatments of z, side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.distributed.processes import ALONE
from pyromoe.inference.distributed.spreading import spread
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.events import silent
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.plan import make_plan, plans_of_all, with_treatment
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.recognised import recognise
from pyromoe.inference.svi import as_file, fit
from pyromoe.models.data.data import from_table, load
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.budget import Budget
    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_file import SpecFile


@dataclass(frozen=True)
class Comparison:
    """Fits side by side.

    Attributes:
        rows: one for each fit, as in `comparison.json`; a fit that broke down has a `failure`.
        held_out: log p(y | x) of each held-out row, (N,), for each row of the table; of the
            training rows where nothing was held out; None for a fit that broke down.
        measured_on: "test" or "train".

    >>> from pyromoe.inference import compare
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> compared = compare(spec, treatments=["enumerate"], seeds=[0, 1])
    >>> [values.shape for values in compared.held_out], compared.measured_on  # (N,)
    ([(47,), (47,)], 'test')
    """

    rows: list[dict[str, Any]]
    held_out: list[NDArray[np.float64] | None]
    measured_on: str

    def __repr__(self) -> str:
        """Return the summary: the arrays would fill pages."""
        return self.summary

    @property
    def summary(self) -> str:
        """One sentence on what the table shows, with the error of the difference that it names."""
        order = [i for i, values in enumerate(self.held_out) if values is not None]
        if not order:
            return "No fit came to an end."
        order.sort(key=lambda i: -float(np.mean(_present(self.held_out[i]))))
        best, worst = order[0], order[-1]
        where = "held-out rows" if self.measured_on == "test" else "training rows (none held out)"
        first = f"{self._label(best)} explains the {where} best"
        if best == worst:
            return f"{first}, {self._mean(best):.4f} nats a datum."
        gap, error = self._gap(best, worst)
        close = [self._name(i) for i in order[1:] if self._within_error(best, i)]
        level = f"; within two standard errors of it: {listed(close, 5)}" if close else ""
        return (
            f"{first}, {self._mean(best):.4f} nats a datum; {self._label(worst)} is "
            f"{gap:.4f} +- {error:.4f} behind (paired standard error){level}."
        )

    def _name(self, i: int) -> str:
        row, several = self.rows[i], len({row["seed"] for row in self.rows}) > 1
        return f"{row['treatment']} seed {row['seed']}" if several else str(row["treatment"])

    def _label(self, i: int) -> str:
        return f"{self._name(i)} (objective {self.rows[i]['objective']})"

    def _mean(self, i: int) -> float:
        return float(np.mean(_present(self.held_out[i])))

    def _gap(self, i: int, j: int) -> tuple[float, float]:
        difference = _present(self.held_out[i]) - _present(self.held_out[j])
        return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))

    def _within_error(self, best: int, i: int) -> bool:
        gap, error = self._gap(best, i)
        return gap <= 2 * error


def compare(
    spec: Spec | SpecFile | Path | str,
    table: object = None,
    *,
    treatments: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    budget: Budget | None = None,
    progress: Callable[[float, str], None] | None = None,
    keep: Callable[[str, Fit], None] | None = None,
    checkpoints: Checkpoints | None = None,
    logs: Callable[[str], Log] | None = None,
    processes: Processes = ALONE,
) -> Comparison:
    """Fit a spec once for each treatment and seed, on the same rows.

    The spec's objective is kept where a treatment can estimate it, and otherwise becomes the
    treatment's own; each row of the result names it. Test rows are the same for every seed.

    Args:
        spec: a spec, or the path of one.
        table: columns in place of the spec's file; see `fit`.
        treatments: names, or ["all"] for every one that the spec allows; those of
            `compare.treatments` where it is None.
        seeds: those of `compare.seeds` where it is None.
        budget: for each start of each fit, in place of the spec's epochs.
        progress: called with the share that is done and what is being done.
        keep: called with the name and the fit, as each ends, in the process that made it.
        checkpoints: where to save what is needed to go on after an interruption, and to go on
            from; a fit that has ended is not repeated.
        logs: returns, by the name of a fit, what is told of it; `LogFiles.inner` for instance.
        processes: over which the fits are spread, from `joined()`; each returns the same.

    Raises:
        InputError: for a mistake in the spec or the data, before the first fit begins.

    >>> from pyromoe.inference import compare
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> compared = compare(spec, treatments=["enumerate", "reinforce"], seeds=[0])
    >>> [(row["treatment"], row["unbiased"]) for row in compared.rows]
    [('enumerate', True), ('reinforce', True)]
    """
    file = as_file(spec)
    files = _files(file, treatments)
    data = load(file) if table is None else from_table(file.spec, table)
    work = [
        replace(each, spec=each.spec.model_copy(update={"seed": seed}))
        for seed in (seeds if seeds is not None else file.spec.compare.seeds)
        for each in files
    ]
    if checkpoints is not None:
        recognise(checkpoints, file.spec, data, budget)
    ended = set[int]()

    def one(number: int) -> Saved:
        each = work[number]

        def report(done: float, text: str) -> None:
            if progress is not None:
                share = (len(ended) + done) / len(work)
                progress(share, f"{each.spec.treatment.name}: {text}")

        return _fitted(each, data, budget, report, keep, checkpoints, logs)

    labels = [_label(each) for each in work]
    found = spread(processes, labels, one, lambda i, _: ended.add(i), checkpoints)
    rows = [dict(each.values) for each in found]
    each_held_out = [each.tensors.get("held_out") for each in found]
    held_out = [None if values is None else values.numpy() for values in each_held_out]
    return Comparison(rows, held_out, "test" if len(data.test.rows) else "train")


def _files(file: SpecFile, treatments: Sequence[str] | None) -> list[SpecFile]:
    """Return the spec with each of the treatments, all of which it allows."""
    names = list(treatments if treatments is not None else file.spec.compare.treatments)
    if names == ["all"]:
        names = list(plans_of_all(file)[0])
    files = [with_treatment(file, name) for name in names]
    for each in files:
        make_plan(each)
    return files


def _label(file: SpecFile) -> str:
    return f"{file.spec.treatment.name}-{file.spec.seed}"


def _fitted(
    file: SpecFile,
    data: Data,
    budget: Budget | None,
    report: Callable[[float, str], None],
    keep: Callable[[str, Fit], None] | None,
    checkpoints: Checkpoints | None,
    logs: Callable[[str], Log] | None,
) -> Saved:
    """Fit once; return its row, and log p(y | x) of the rows held out."""
    name, seed, label = file.spec.treatment.name, file.spec.seed, _label(file)
    inner = None if checkpoints is None else checkpoints.inner(label)
    log = silent if logs is None else logs(label)
    try:
        result = fit(file, budget=budget, progress=report, data=data, checkpoints=inner, log=log)
    except NumericalError as error:
        return Saved(values={"treatment": name, "seed": seed, "failure": str(error)})
    if keep is not None:
        keep(label, result)
    return Saved({"held_out": _held_out(result, data)}, _row(result, seed))


def _row(result: Fit, seed: int) -> dict[str, Any]:
    plan, metrics = make_plan(as_file(result.spec)), result.metrics
    n, total = metrics["n"], metrics["log_likelihood"]
    error: dict[str, Any] = {n: metrics[n] for n in ("accuracy", "rmse") if n in metrics}
    return {
        "treatment": plan.treatment.name,
        "objective": plan.objective,
        "guide": plan.latent,
        "seed": seed,
        "unbiased": plan.treatment.unbiased,
        "evaluations": plan.treatment.evaluations(plan.config, result.spec.experts.number),
        "test_log_likelihood": total["test"] / n["test"] if n["test"] else None,
        "train_log_likelihood": total["train"] / n["train"],
        **error,
        "effective_experts": metrics["effective_experts"],
        "steps": metrics["steps"],
        "steps_per_second": metrics["steps_per_second"],
        "seconds": metrics["seconds"],
    }


def _held_out(result: Fit, data: Data) -> Tensor:
    part = data.test if len(data.test.rows) else data.train
    return result.log_likelihood(*to_tensors(part, result.spec)).double()


def _present(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert values is not None
    return values
