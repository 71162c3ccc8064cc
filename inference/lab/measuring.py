"""Draws of every treatment's gradient on one batch, beside the exact ones."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

import torch

from pyromoe.guides import Seeded
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.plan import make_plan, with_treatment
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.restarts import seeds_of
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.lab.exact import exact_treatment
from pyromoe.inference.lab.gradient_moments import MEASURES, Moments
from pyromoe.inference.lab.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.lab.parts import Part
    from pyromoe.inference.treatments import Treatment
    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec_file import SpecFile

LEARNING_STEPS = 300
"""Batches from which a treatment with a state learns before it is measured at fitted parameters."""
BATCHES = 30
"""Batches whose exact gradients tell how noisy the choice of a batch is by itself."""
ALIKE = 10
"""After so many draws without any difference a treatment is taken to be without chance."""
At = Literal["initial", "fitted"]


@dataclass(frozen=True)
class Place:
    """A batch, and the exact gradients of the marginal there.

    Attributes:
        rows: of the batch, (B,).
        marginal: its gradient by part.
        spread: how far gradients of batches are from their mean, root mean square, by part.
    """

    rows: Tensor
    marginal: dict[Part, Tensor]
    spread: dict[Part, float]


class Lab:
    """A typical batch, two sets of parameters, and the exact gradients there."""

    def __init__(self, file: SpecFile, data: Data, fitted: Fit, draws: int) -> None:
        # The gradient is measured at one value of the weights, the centre of their guide.
        guide = file.spec.guide.model_copy(update={"weights": "point"})
        file = replace(file, spec=file.spec.model_copy(update={"guide": guide}))
        self.file, self.data, self.fitted, self.draws = file, data, fitted, draws
        self.x, self.y = to_tensors(data.train, file.spec)
        n, size = len(self.x), file.spec.fit.batch_size
        self.size = n if size == "full" else min(size, n)
        self.generator = torch.Generator().manual_seed(file.spec.seed)
        self.known: dict[object, dict[Part, Tensor] | None] = {}
        self.places: dict[At, Place] = {at: self._place(at) for at in get_args(At)}

    def batch(self, generator: torch.Generator) -> Tensor:
        """Return the rows of a random batch, (B,)."""
        return torch.randperm(len(self.x), generator=generator)[: self.size]

    def _place(self, at: At) -> Place:
        """Return a typical batch: of many, the one whose exact gradient has the usual length."""
        plan = make_plan(with_treatment(self.file, "enumerate", "marginal"))
        parts, elbo = self.parts(plan, at), self.elbo(plan.treatment, plan.config)
        number = BATCHES if self.size < len(self.x) else 1
        batches = [self.batch(self.generator) for _ in range(number)]
        found = [parts.gradient(elbo, rows) for rows in batches]
        decides: Part = "gate" if "gate" in found[0] else "experts"
        squares = torch.stack([g[decides].double().square().sum() for g in found])
        usual = int((squares - squares.mean()).abs().argmin())
        moments = {part: Moments(zero) for part, zero in parts.zeros().items()}
        for gradient in found:
            for part, value in gradient.items():
                moments[part].add(value)
        spread = {part: math.sqrt(m.variance) for part, m in moments.items()}
        return Place(batches[usual], found[usual], spread)

    def measure(self, plan: Plan, at: At) -> Iterator[dict[str, Any]]:
        """Yield a row of measures for each part of the parameters."""
        treatment, objective = plan.treatment, plan.objective
        config = plan.config_at(0.0 if at == "initial" else 1.0)
        place, exact = self.places[at], self.exact(plan, at, config)
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
        rows = self.places[at].rows
        parts.loss(elbo, rows)  # makes the state
        if at == "fitted" and elbo.state is not None:
            # Of its own, so that a treatment is measured the same whatever was before it.
            generator = torch.Generator().manual_seed(seeds_of(self.file.spec, 0)[2])
            for _ in range(LEARNING_STEPS):
                parts.loss(elbo, self.batch(generator))
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
                self.elbo(*found), self.places[at].rows
            )
            self.known[key] = gradient
        return self.known[key]

    def parts(self, plan: Plan, at: At) -> Parts:
        """Return model and guide at the start of a fit, or with the fitted values."""
        generator = torch.Generator().manual_seed(seeds_of(self.file.spec, 0)[0])
        model, guide = build(plan.spec, plan.latent, self.data.encoding, generator)
        if at == "fitted":
            values = self.fitted.tensors() | self.fitted.weights
            values |= {n: values[n].log() for n in self.fitted.guide.weights.positive}
            here = Fit(plan.spec, self.data.encoding, model, guide).tensors()
            for name, tensor in here.items():
                if name in values:  # a guide that the fit did not have stays where it starts
                    tensor.copy_(values[name])
        # In the lab nothing is left out: the exact gradients are those without dropout.
        return Parts(model.eval(), guide, self.x, self.y)

    def elbo(self, treatment: Treatment[Any], config: object) -> Treatment_ELBO:
        """Return the loss of a treatment, with noise of its own."""
        elbo = Treatment_ELBO(treatment, noise=Seeded(self.file.spec.seed))
        elbo.config = config
        return elbo


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
