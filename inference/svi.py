"""Fit a spec by stochastic variational inference."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pyromoe.guides import WeightGuide
from pyromoe.inference.distributed.processes import ALONE, Processes, agree
from pyromoe.inference.distributed.readers import ReadingProcesses
from pyromoe.inference.distributed.shards import Shards, usual
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.choice import check_shards, settle
from pyromoe.inference.fitting.diagnosis import CORRECT, values_at_fault
from pyromoe.inference.fitting.divided import divides, put_together
from pyromoe.inference.fitting.events import silent, tell_end, told
from pyromoe.inference.fitting.loop import Loop, NumericalError
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import log_prior
from pyromoe.inference.fitting.recognised import digest, recognise
from pyromoe.inference.fitting.restarts import groups, label, start
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.fitting.unfinished import run
from pyromoe.inference.fitting.weights import LogPosterior, complete, log_ratios
from pyromoe.inference.maximum_likelihood.maximum_likelihood import maximum_likelihood
from pyromoe.inference.steps.threads import one_thread
from pyromoe.models import InputError
from pyromoe.models.data.data import from_table, load
from pyromoe.models.specs.fit_settings import CONVERGED
from pyromoe.models.specs.spec_file import SpecFile, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models import Spec
    from pyromoe.models.data.divide import Data

    Report = Callable[[float, str], None]

SCORED = 50
"""Draws of the weights from which the ELBO of a restart is estimated."""


def fit(
    spec: Spec | SpecFile | Path | str,
    table: object = None,
    *,
    budget: Budget | None = None,
    progress: Report | None = None,
    data: Data | None = None,
    checkpoints: Checkpoints | None = None,
    log: Log = silent,
    processes: Processes = ALONE,
) -> Fit:
    """Fit a mixture of experts.

    Runs on one thread, so that the same seed gives the same bits on any number of cores.

    Args:
        spec: a spec, or the path of one.
        table: a data frame, a pyarrow Table or a dictionary of columns, in place of the spec's
            file.
        budget: in place of the spec's epochs.
        progress: called with the share that is done, 0 to 1, and what is being done.
        data: already encoded data, in place of both.
        checkpoints: where to save what is needed to go on after an interruption, and to go on
            from. A fit by em or lbfgs, which is soon over, begins anew.
        log: told of every row of the history as it is made, and of what else happens; `LogFiles`
            writes it down.
        processes: which make the fit together, from `joined()`; each returns the same.

    Returns:
        The restart with the highest log-likelihood plus log prior of the training rows; with early
        stopping that with the highest log-likelihood of the rows kept back.

    Raises:
        InputError: for a mistake in the spec or the data.
        NumericalError: where every restart broke down.

    >>> from pyromoe.inference import fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> found.metrics["log_likelihood"].keys(), found.metrics["n"]  # nats, and rows
    (dict_keys(['train', 'test']), {'train': 188, 'test': 47})
    """
    file, report = as_file(spec), progress or (lambda done, text: None)
    plan = make_plan(file)
    if data is None:
        data = _agreed(processes, file, plan.spec, table, report)
    if plan.spec.fit.early_stopping is not None and data.kept is None:
        what, remedy = "no row of these data was kept back", "encode them with this spec"
        raise InputError(what, file=data.source, field="fit.early_stopping", remedy=remedy)
    if at_fault := values_at_fault(data):
        raise NumericalError(f"{data.source}: {at_fault}; {CORRECT}")
    spec = settle(plan.spec, data.size, usual(processes))
    check_shards(file, spec, data.size)
    plan, shards = dataclasses.replace(plan, spec=spec), Shards()
    experts = divides(file, spec, processes)
    if spec.fit.optimiser not in CONVERGED:  # these are found by each process alone
        shards = Shards(spec.fit.shards or 1, processes, experts)
    if checkpoints is not None:
        recognise(checkpoints, plan.spec, data, budget)
    with one_thread(), told(log, plan, data):
        if plan.spec.fit.optimiser in CONVERGED:
            found = _converged(plan, data, budget, report, checkpoints, log)
        else:
            budget = budget or Budget("epochs", plan.spec.fit.epochs)
            found = _best(plan, data, budget, report, checkpoints, log, shards)
    tell_end(log, found)
    return found


def _agreed(
    processes: Processes, file: SpecFile, spec: Spec, table: object, report: Report
) -> Data:
    """Return the data, of which every process has the same.

    Raises:
        InputError: in every process, for what one of them found.
    """
    shards, readers = usual(processes), ReadingProcesses(processes)

    def read() -> Data:
        if table is None:
            return load(file, report, shards, readers)
        return from_table(spec, table, usual=shards, readers=readers)

    if spec.data.stream is not None:  # they agree while they read
        return read()
    data, error = None, None
    try:
        data = read()
    except InputError as found:
        error = found
    agree(processes, "" if data is None or processes.size == 1 else digest(data), error)
    assert data is not None
    return data


def _best(
    plan: Plan,
    data: Data,
    budget: Budget,
    report: Report,
    checkpoints: Checkpoints | None,
    log: Log,
    shards: Shards,
) -> Fit:
    """Return the best of some restarts, each of which takes the steps of a budget."""
    number = plan.spec.fit.restarts
    restarts: list[Restart] = []
    for group in groups(plan, data, apart=shards.experts):

        def tell(done: float, text: str, group: range = group) -> None:
            share = (group.start + done * len(group)) / number
            report(share, label(group, number) + text)

        restarts += _restarts(plan, data, group, budget, tell, checkpoints, log, shards)
    best = max(restarts, key=lambda r: r.score)
    if best.log_likelihood is None:
        raise NumericalError(best.failure)
    if shards.experts:
        return put_together(plan, data, best, restarts, shards.processes)
    of_weights = complete(plan.spec, data, best.model, best.guide, report, checkpoints)
    found = Fit.of(plan, data, best, restarts, ReadingProcesses(shards.processes))
    found.metrics |= of_weights
    return found


def as_file(spec: Spec | SpecFile | Path | str) -> SpecFile:
    """Return a spec with the place where its settings stand."""
    if isinstance(spec, (str, Path)):
        return read_spec(spec)
    return spec if isinstance(spec, SpecFile) else SpecFile(spec)


def _converged(
    plan: Plan,
    data: Data,
    budget: Budget | None,
    report: Report,
    checkpoints: Checkpoints | None,
    log: Log,
) -> Fit:
    """Return the fit by an optimiser that ends where the gradient vanishes."""
    starts = [start(plan, data, number) for number in range(plan.spec.fit.restarts)]
    restarts, seeds = [s for s, _, _ in starts], [order.initial_seed() for _, _, order in starts]
    together = len(next(iter(groups(plan, data))))
    return maximum_likelihood(
        plan, data, restarts, seeds, together, budget, report, checkpoints, log
    )


def _restarts(
    plan: Plan,
    data: Data,
    group: range,
    budget: Budget,
    report: Report,
    checkpoints: Checkpoints | None,
    log: Log,
    shards: Shards,
) -> list[Restart]:
    """Return fits from several starts, made side by side."""
    starts = [start(plan, data, number, divided=shards.experts) for number in group]
    loop = Loop(plan, data, starts, budget, report, log, shards)
    if checkpoints is None:
        loop.run()
    else:
        run(loop, checkpoints, f"starts {group.start + 1} to {group.stop}")
    for restart in loop.restarts:
        if restart.failure:
            restart.log_likelihood = None
        elif restart.validation is not None:
            restart.score = restart.validation
        elif restart.log_likelihood is not None:
            weights = restart.guide.weights.values()
            of_weights = log_prior(restart.model, weights, loop.x, loop.y, loop.rows)
            restart.score = restart.log_likelihood + of_weights
            if isinstance(restart.guide.weights, WeightGuide):
                posterior = LogPosterior(restart.model, restart.guide, data, plan.spec)
                restart.score = float(log_ratios(posterior, SCORED, plan.spec.seed).mean())
    return loop.restarts
