"""The gradient lab: how biased and how noisy each treatment is on the user's own model and data.

For one batch of the training rows, at the parameters where a fit starts and where it ends, every
treatment's gradient is drawn many times and set against exact gradients: that of its own objective
(the estimator's bias) and that of log p(y | x) (the objective's). Priors of the weights have the
same gradient for all and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference.distributed.processes import ALONE
from pyromoe.inference.distributed.spreading import spread
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.plan import make_plan, plans_of_all, with_treatment
from pyromoe.inference.fitting.recognised import FIT, recognise
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.lab.measuring import Lab
from pyromoe.inference.runs.reading import spec_in
from pyromoe.inference.runs.store import load_fit
from pyromoe.inference.steps.threads import one_thread
from pyromoe.inference.summaries.advice import recommendation
from pyromoe.inference.svi import as_file, fit
from pyromoe.models import InputError
from pyromoe.models.data.data import from_table, load
from pyromoe.models.specs.spec_file import SpecFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.lab.measuring import At
    from pyromoe.models import Spec


@dataclass(frozen=True)
class Gradients:
    """What the lab found.

    Attributes:
        rows: one for each treatment, place (`at`) and part of the parameters, as in
            `gradients.json`; relative measures are multiples of the exact gradient's length.
        recommendation: one sentence, with its reason.
        skipped: treatments that the model does not allow, with the reason.

    >>> from pyromoe.inference import gradients
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> lab = gradients(spec, treatments=["jensen"], draws=10)
    >>> sorted({(row["at"], row["parameters"]) for row in lab.rows})
    [('fitted', 'experts'), ('fitted', 'gate'), ('initial', 'experts'), ('initial', 'gate')]
    """

    rows: list[dict[str, Any]]
    recommendation: str
    skipped: dict[str, str]

    def __repr__(self) -> str:
        """Return the recommendation: the rows would fill pages."""
        return self.recommendation


def gradients(
    spec: Spec | SpecFile | Path | str | Fit,
    table: object = None,
    *,
    treatments: Sequence[str] | None = None,
    draws: int = 200,
    progress: Callable[[float, str], None] | None = None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
) -> Gradients:
    """Measure bias and noise of treatments' gradients on a model and its data.

    Args:
        spec: a spec, which is fitted first; the path of one, or of a run directory; or a fit.
        table: a data frame, a pyarrow Table or a dictionary of columns, in place of the spec's
            file.
        treatments: names; all of them where it is None.
        draws: R, how often each gradient is drawn.
        progress: called with the share that is done, 0 to 1, and what is being done.
        checkpoints: where to save what is needed to go on after an interruption, and to go on
            from; what was measured is not measured again.
        processes: over which the treatments are spread, from `joined()`; each returns the same.

    Raises:
        InputError: for a mistake in the spec or the data, and for a treatment, named here, that
            does not fit the model.
        NumericalError: where the fit broke down.

    >>> from pyromoe.inference import gradients
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> lab = gradients(spec, treatments=["enumerate", "straight_through"], draws=10)
    >>> lab.rows[0]["treatment"], round(lab.rows[0]["slope"], 6)  # 1: the exact gradient
    ('enumerate', 1.0)
    """
    if draws < 2:
        raise InputError(f"draws must be at least 2, not {draws}", remedy="the default is 200")
    report = progress or (lambda done, text: None)
    file, fitted = _read(spec)
    plans, skipped = _plans(file, treatments)
    data = load(file) if table is None else from_table(file.spec, table)
    share = 0.2 if fitted is None else 0.0
    if checkpoints is not None:
        of = None if fitted is None else fitted.fingerprint()
        recognise(checkpoints, file.spec, data, draws=draws, fingerprint=of)
    if fitted is None:
        inner = checkpoints.inner(FIT) if checkpoints is not None and processes.first else None
        fitted = fit(
            file,
            data=data,
            progress=lambda d, text: report(share * d, f"fit: {text}"),
            checkpoints=inner,
        )
    work: list[tuple[At, Plan]] = [(at, p) for at in ("initial", "fitted") for p in plans]
    ended = set[int]()

    def measured(i: int) -> Saved:
        at, plan = work[i]
        report(share + (1 - share) * len(ended) / len(work), f"{at}: {plan.treatment.name}")
        return Saved(values={"rows": list(lab.measure(plan, at))})

    with one_thread():
        lab = Lab(file, data, fitted, draws)
        names = [f"{at}-{plan.treatment.name}" for at, plan in work]
        found = spread(processes, names, measured, lambda i, _: ended.add(i), checkpoints)
    rows = [row for one in found for row in one.values["rows"]]
    return Gradients(rows, recommendation(rows, make_plan(file).treatment.name), skipped)


def _read(spec: Spec | SpecFile | Path | str | Fit) -> tuple[SpecFile, Fit | None]:
    """Return the spec, and the fit that is given or that a run directory holds."""
    if isinstance(spec, Fit):
        return SpecFile(spec.spec), spec
    if isinstance(spec, (str, Path)) and Path(spec).is_dir():
        fitted = load_fit(Path(spec))
        return spec_in(Path(spec)), fitted
    return as_file(spec), None


def _plans(file: SpecFile, names: Sequence[str] | None) -> tuple[list[Plan], dict[str, str]]:
    """Return the plan of each treatment, and why others are left out of "all of them"."""
    if names is not None and not names:
        remedy = "leave it out for all; `pyromoe treatments` lists them"
        raise InputError("names none", field="treatments", remedy=remedy)
    if names is not None:
        return [make_plan(with_treatment(file, name)) for name in names], {}
    plans, skipped = plans_of_all(file)
    return list(plans.values()), skipped
