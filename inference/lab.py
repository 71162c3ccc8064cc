"""The gradient lab: how biased and how noisy each treatment is on the user's own model and data.

For one batch of the training rows, at the parameters where a fit starts and where it ends, every
treatment's gradient is drawn many times and set against exact gradients: that of its own objective
(the estimator's bias) and that of log p(y | x) (the objective's). Priors of the weights have the
same gradient for all and are left out.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import torch

from pyromoe.guides import Seeded
from pyromoe.inference.advice import recommendation
from pyromoe.inference.build import build
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.exact import exact_treatment
from pyromoe.inference.moments import MEASURES, Moments
from pyromoe.inference.parts import Parts
from pyromoe.inference.plan import make_plan, plans_of_all, with_treatment
from pyromoe.inference.result import Fit, to_tensors
from pyromoe.inference.store import load_fit
from pyromoe.inference.svi import as_file, fit, one_thread, seeds_of
from pyromoe.models import InputError
from pyromoe.models.data import Data, from_table, load
from pyromoe.models.spec_file import SpecFile, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from pyromoe.inference.parts import Part
    from pyromoe.inference.plan import Plan
    from pyromoe.inference.treatments import Treatment
    from pyromoe.models import Spec

LEARNING_STEPS = 300
"""Batches from which a treatment with a state learns before it is measured at fitted parameters."""
BATCHES = 30
"""Batches whose exact gradients tell how noisy the choice of a batch is by itself."""
ALIKE = 10
"""After so many draws without any difference a treatment is taken to be without chance."""
At = Literal["initial", "fitted"]


@dataclass(frozen=True)
class Gradients:
    """What the lab found.

    Attributes:
        rows: one for each treatment, place (`at`) and part of the parameters, as in
            `gradients.json`; relative measures are multiples of the exact gradient's length.
        recommendation: one sentence, with its reason.
        skipped: treatments that the model does not allow, with the reason.
    """

    rows: list[dict[str, Any]]
    recommendation: str
    skipped: dict[str, str]


def gradients(
    spec: Spec | SpecFile | Path | str | Fit,
    table: object = None,
    *,
    treatments: Sequence[str] | None = None,
    draws: int = 200,
    progress: Callable[[float, str], None] | None = None,
) -> Gradients:
    """Measure bias and noise of treatments' gradients on a model and its data.

    Args:
        spec: a spec, which is fitted first; the path of one, or of a run directory; or a fit.
        table: a data frame, a pyarrow Table or a dictionary of columns, in place of the spec's
            file.
        treatments: names; all of them where it is None.
        draws: R, how often each gradient is drawn.
        progress: called with the share that is done, 0 to 1, and what is being done.

    Raises:
        InputError: for a mistake in the spec or the data, and for a treatment, named here, that
            does not fit the model.
        NumericalError: where the fit broke down.
    """
    if draws < 2:
        raise InputError(f"draws must be at least 2, not {draws}", remedy="the default is 200")
    report = progress or (lambda done, text: None)
    file, fitted = _read(spec)
    plans, skipped = _plans(file, treatments)
    data = load(file) if table is None else from_table(file.spec, table)
    share = 0.2 if fitted is None else 0.0
    if fitted is None:
        fitted = fit(file, data=data, progress=lambda d, text: report(share * d, f"fit: {text}"))
    lab = _Lab(file, data, fitted, draws)
    rows: list[dict[str, Any]] = []
    with one_thread():
        work: list[tuple[At, Plan]] = [(at, p) for at in ("initial", "fitted") for p in plans]
        for i, (at, plan) in enumerate(work):
            report(share + (1 - share) * i / len(work), f"{at}: {plan.treatment.name}")
            rows += lab.measure(plan, at)
    return Gradients(rows, recommendation(rows, make_plan(file).treatment.name), skipped)


def _read(spec: Spec | SpecFile | Path | str | Fit) -> tuple[SpecFile, Fit | None]:
    """Return the spec, and the fit that is given or that a run directory holds."""
    if isinstance(spec, Fit):
        return SpecFile(spec.spec), spec
    if isinstance(spec, (str, Path)) and Path(spec).is_dir():
        fitted = load_fit(Path(spec))
        return read_spec(Path(spec) / "spec.yaml"), fitted
    return as_file(spec), None


def _plans(file: SpecFile, names: Sequence[str] | None) -> tuple[list[Plan], dict[str, str]]:
    """Return the plan of each treatment, and why others are left out of "all of them"."""
    if names is not None:
        return [make_plan(with_treatment(file, name)) for name in names], {}
    plans, skipped = plans_of_all(file)
    return list(plans.values()), skipped


class _Lab:
    """A typical batch, two sets of parameters, and the exact gradients there."""

    def __init__(self, file: SpecFile, data: Data, fitted: Fit, draws: int) -> None:
        self.file, self.data, self.fitted, self.draws = file, data, fitted, draws
        self.x, self.y = to_tensors(data.train, file.spec)
        n, size = len(self.x), file.spec.fit.batch_size
        self.size = n if size == "full" else min(size, n)
        self.generator = torch.Generator().manual_seed(file.spec.seed)
        self.known: dict[object, dict[Part, Tensor] | None] = {}
        self.places: dict[At, _Place] = {}

    def batch(self) -> Tensor:
        """Return the rows of a random batch, (B,)."""
        return torch.randperm(len(self.x), generator=self.generator)[: self.size]

    def place(self, at: At) -> _Place:
        """Return a typical batch: of many, the one whose exact gradient has the usual length."""
        if at not in self.places:
            plan = make_plan(with_treatment(self.file, "enumerate", "marginal"))
            parts, elbo = self.parts(plan, at), self.elbo(plan.treatment, plan.config)
            batches = [self.batch() for _ in range(BATCHES if self.size < len(self.x) else 1)]
            found = [parts.gradient(elbo, rows) for rows in batches]
            decides: Part = "gate" if "gate" in found[0] else "experts"
            squares = torch.stack([g[decides].double().square().sum() for g in found])
            usual = int((squares - squares.mean()).abs().argmin())
            moments = {part: Moments(zero) for part, zero in parts.zeros().items()}
            for gradient in found:
                for part, value in gradient.items():
                    moments[part].add(value)
            spread = {part: math.sqrt(m.variance) for part, m in moments.items()}
            self.places[at] = _Place(batches[usual], found[usual], spread)
        return self.places[at]

    def measure(self, plan: Plan, at: At) -> Iterator[dict[str, Any]]:
        """Yield a row of measures for each part of the parameters."""
        treatment, objective = plan.treatment, plan.objective
        config = plan.config_at(0.0 if at == "initial" else 1.0)
        place, exact = self.place(at), self.exact(plan, at, config)
        found, seconds = self.draw(plan, at, config, exact or place.marginal)
        evaluations = treatment.evaluations(config, plan.spec.experts.number)
        for part, moments in found.items():
            own = None if exact is None else exact[part]
            aim = place.marginal.get(part)
            row: dict[str, Any] = {"treatment": treatment.name, "objective": objective, "at": at}
            row |= {"parameters": part, "unbiased": treatment.unbiased, "evaluations": evaluations}
            row["objective_bias"] = _gap(own, aim)
            row |= dict.fromkeys(MEASURES) if own is None else moments.measures()
            row["batch_std"] = _ratio(place.spread.get(part), own)
            row |= _error(moments, aim, own if treatment.unbiased else None)
            noise = place.spread.get(part, 0.0) / float(aim.norm()) if _there(aim) else 0.0
            square = None if row["error"] is None else row["error"] ** 2 + noise**2
            row["error_times_cost"] = None if square is None else square * evaluations
            row["error_times_seconds"] = None if square is None else square * seconds
            yield row | {"seconds_per_call": seconds, "draws": moments.draws}

    def draw(
        self, plan: Plan, at: At, config: object, exact: Mapping[Part, Tensor]
    ) -> tuple[dict[Part, Moments], float]:
        """Return the moments of the drawn gradients, by part, and the seconds of a draw."""
        parts, elbo = self.parts(plan, at), self.elbo(plan.treatment, config)
        rows = self.place(at).rows
        parts.loss(elbo, rows)  # makes the state
        if at == "fitted" and elbo.state is not None:
            for _ in range(LEARNING_STEPS):
                parts.loss(elbo, self.batch())
        moments = {part: Moments(exact.get(part, zero)) for part, zero in parts.zeros().items()}
        state, seconds = elbo.state, []
        for _ in range(self.draws):
            elbo.state = state
            started = time.perf_counter()
            drawn = parts.gradient(elbo, rows)
            seconds.append(time.perf_counter() - started)
            for part, value in drawn.items():
                moments[part].add(value)
            if len(seconds) == ALIKE and all(m.variance == 0 for m in moments.values()):
                break  # nothing is left to chance
        return moments, statistics.median(seconds)

    def exact(self, plan: Plan, at: At, config: object = None) -> dict[Part, Tensor] | None:
        """Return the exact gradient of a plan's objective, or None where it is too dear."""
        chosen = config if config is not None else plan.config
        number = getattr(chosen, "num_samples", None) if plan.objective == "iwae" else None
        key = (at, plan.objective, plan.latent, number)
        if key not in self.known:
            k = plan.spec.experts.number
            found = exact_treatment(plan.objective, chosen, self.size, k)
            gradient = found and self.parts(plan, at).gradient(
                self.elbo(*found), self.place(at).rows
            )
            self.known[key] = gradient
        return self.known[key]

    def parts(self, plan: Plan, at: At) -> Parts:
        """Return model and guide at the start of a fit, or with the fitted values."""
        generator = torch.Generator().manual_seed(seeds_of(self.file.spec, 0)[0])
        model, guide = build(plan.spec, plan.latent, self.data.encoding, generator)
        if at == "fitted":
            values = self.fitted.tensors()
            here = Fit(plan.spec, self.data.encoding, model, guide).tensors()
            for name, tensor in here.items():
                if name in values:  # a guide that the fit did not have stays where it starts
                    tensor.copy_(values[name])
        return Parts(model, guide, self.x, self.y)

    def elbo(self, treatment: Treatment[Any], config: object) -> Treatment_ELBO:
        """Return the loss of a treatment, with noise of its own."""
        elbo = Treatment_ELBO(treatment, noise=Seeded(self.file.spec.seed))
        elbo.config = config
        return elbo


@dataclass(frozen=True)
class _Place:
    """A batch, and the exact gradients of the marginal there.

    Attributes:
        rows: of the batch, (B,).
        marginal: its gradient by part.
        spread: how far gradients of batches are from their mean, root mean square, by part.
    """

    rows: Tensor
    marginal: dict[Part, Tensor]
    spread: dict[Part, float]


def _there(gradient: Tensor | None) -> TypeGuard[Tensor]:
    """Whether there is a gradient, and not 0, so that something can be measured by its length."""
    return gradient is not None and bool(gradient.any())


def _ratio(length: float | None, exact: Tensor | None) -> float | None:
    return length / float(exact.norm()) if length is not None and _there(exact) else None


def _gap(found: Tensor | None, exact: Tensor | None) -> float | None:
    """Return how far one gradient is from another, relative to the other."""
    if found is None or not _there(exact):
        return None
    return float((found - exact).norm() / exact.norm())


def _error(moments: Moments, aim: Tensor | None, own: Tensor | None) -> dict[str, float | None]:
    """Return bias and root mean squared error of one call for the gradient of log p(y | x).

    Args:
        moments: of the draws.
        aim: the marginal's gradient.
        own: the exact mean of the draws, where it is known; otherwise what R draws leave possible
            counts as bias.
    """
    if not _there(aim):
        return {"total_bias": None, "error": None}
    length = float(aim.norm())
    if own is not None:
        bias = float((own - aim).norm())
    else:
        bias = math.sqrt(max(0.0, moments.squared_bias(aim)[2]))
    error = math.sqrt(bias**2 + moments.variance)
    return {"total_bias": bias / length, "error": error / length}
