"""A fit whose experts are divided over processes: what it cannot have, and how it ends."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from pyromoe.inference.distributed.readers import WaitedFor
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.diagnosis import SMALLER
from pyromoe.inference.fitting.result import Fit
from pyromoe.models.divided_networks import DividedNetworks, divided_sites
from pyromoe.models.specs.fit_settings import CONVERGED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec_file import SpecFile


def divides(file: SpecFile, spec: Spec, processes: Processes) -> bool:
    """Whether processes divide the experts of a fit among them.

    Args:
        file: where its settings stand.
        spec: the same, with every default filled in.
        processes: of the fit.

    Raises:
        InputError: for what only one process can do.
    """
    if not spec.fit.expert_parallel or processes.size == 1:
        return False
    for field, what, remedy in _impossible(spec, processes.size):
        raise file.error(field, f"fit.expert_parallel {what}", f"{remedy}, or leave that out")
    return True


def _impossible(spec: Spec, size: int) -> Iterator[tuple[str, str, str]]:
    number, kind = spec.experts.number, spec.priors.experts.kind
    if number < size:
        what = f"cannot divide {number} expert{'s' * (number > 1)} over {size} processes"
        yield "experts.number", what, f"start at most {number}"
    if spec.fit.optimiser in CONVERGED:
        what = f"divides the steps of adam, adamw and sgd, and {spec.fit.optimiser} takes others"
        yield "fit.optimiser", what, "set fit.optimiser: adam"
    if spec.experts.dropout:
        yield "experts.dropout", "knows no dropout of experts", "remove it"
    if kind == "hierarchical":
        yield "priors.experts.kind", f"knows no {kind} prior", "set it to normal"
    if spec.guide.weights != "point":
        what = f"finds a point of the weights, and no {spec.guide.weights}"
        yield "guide.weights", what, "set guide.weights: point"


def divided_tensors(model: MixtureOfExperts, guide: WeightedGuide) -> set[int]:
    """Return the ids of the trained tensors of which each process holds its experts' part."""
    named = {**dict(model.named_parameters()), **guide.weights.tensors()}
    sites = divided_sites(model)
    return {id(tensor) for name, tensor in named.items() if name in sites}


def diagnosed(restart: Restart, seen: str) -> str:
    """Return why a restart broke down; terms and rows are not looked for in several processes."""
    tries = f", after going back {restart.retries} times" if restart.retries else ""
    return f"{seen}{tries}; {SMALLER}, or fit without fit.expert_parallel to see the cause"


def put_together(
    plan: Plan, data: Data, best: Restart, restarts: Sequence[Restart], processes: Processes
) -> Fit:
    """Return the best fit, whole in process 0; in the others its metrics, and what they hold.

    Args:
        plan: what was fitted.
        data: the rows.
        best: of the restarts.
        restarts: all of them.
        processes: of the fit.
    """
    whole = _whole(plan, data, best, processes)
    if processes.first:
        found = Fit.of(plan, data, whole, restarts, WaitedFor(processes))
        processes.said(found.metrics)
        return found
    history = [row for r in restarts for row in r.history]
    found = Fit(plan.spec, data.encoding, whole.model, whole.guide, {}, history, data)
    while (metrics := processes.said(None)[0]) is None:  # process 0 still measures
        pass
    found.metrics = metrics
    return found


def _whole(plan: Plan, data: Data, best: Restart, processes: Processes) -> Restart:
    """Return a restart with a model in one piece in process 0, and in the others as it is."""
    bank = best.model.experts
    assert isinstance(bank, DividedNetworks)
    own, found = divided_tensors(best.model, best.guide), best
    parts = [_trained(best.model, best.guide), []]
    if processes.first:
        model, guide = build(plan.spec, plan.latent, data.encoding, torch.Generator())
        found, parts[1] = (
            dataclasses.replace(best, model=model, guide=guide),
            _trained(model, guide),
        )
    for i, tensor in enumerate(parts[0]):
        value: Tensor | None = tensor.detach()
        if id(tensor) in own:
            value = bank.exchange.in_first(tensor.detach(), bank.all)
        if processes.first and value is not None:
            parts[1][i].data.copy_(value)
    bank.closed = True
    return found


def _trained(model: MixtureOfExperts, guide: WeightedGuide) -> list[Tensor]:
    """Return all trained tensors, each once, in an order that a whole model has too."""
    return list(dict.fromkeys([*model.parameters(), *guide.parameters()]))
