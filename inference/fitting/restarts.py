"""Where the restarts of a fit begin, and which are fitted side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.guides import Seeded
from pyromoe.inference.distributed.device import device_of
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.restart import Restart
from pyromoe.models.divided_networks import DividedNetworks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.models import Spec
    from pyromoe.models.data.divide import Data

SIDE_BY_SIDE = 2**21
"""Restarts are fitted side by side as long as their experts' widest layer has so few numbers."""


def seeds_of(spec: Spec, number: int) -> tuple[int, int, int]:
    """Return the seeds of a start: of its first values, its noise and the order of its rows."""
    first, noise, order = np.random.SeedSequence([spec.seed, number]).generate_state(3, np.uint64)
    return int(first >> 1), int(noise >> 1), int(order >> 1)


def start(
    plan: Plan, data: Data, number: int, *, divided: bool = False
) -> tuple[Restart, Treatment_ELBO, torch.Generator]:
    """Return a restart before its first step, its ELBO and the source of the order of its rows.

    Args:
        plan: what is fitted.
        data: the rows.
        number: of the restart.
        divided: whether processes divide the experts.
    """
    first, noise, order = seeds_of(plan.spec, number)
    generator = torch.Generator().manual_seed(first)
    device = device_of(plan.spec)
    model, guide = build(plan.spec, plan.latent, data.encoding, generator, device, divided=divided)
    elbo = Treatment_ELBO(plan.treatment, noise=Seeded(noise, device))
    elbo.config = plan.config
    return Restart(number, model, guide), elbo, torch.Generator().manual_seed(order)


def on_cpu(plan: Plan, data: Data, restart: Restart) -> Restart:
    """Return a restart with model and guide on the CPU: itself, or a copy."""
    if plan.spec.fit.device == "cpu":
        return restart
    # Built anew: the tensors of priors belong to no module that could be moved.
    divided = isinstance(restart.model.experts, DividedNetworks)
    generator = torch.Generator()
    model, guide = build(plan.spec, plan.latent, data.encoding, generator, divided=divided)
    for new, old in ((model, restart.model), (guide, restart.guide)):
        new.load_state_dict(old.state_dict())
    return replace(restart, model=model, guide=guide)


def groups(plan: Plan, data: Data, *, apart: bool = False) -> Iterator[range]:
    """Yield the restarts that are fitted side by side: many of a small model, one of a large.

    Args:
        plan: what is fitted.
        data: the rows.
        apart: whether each is fitted by itself in any case.
    """
    number, size = plan.spec.fit.restarts, plan.spec.fit.batch_size
    rows = data.size if size == "full" else min(size, data.size)
    widest = max([*plan.spec.experts.hidden, data.encoding.num_classes or 1])
    room = max(1, SIDE_BY_SIDE // (plan.spec.experts.number * max(1, rows) * widest))
    room = 1 if apart or plan.spec.fit.mode == "eager" else room
    for first in range(0, number, room):
        yield range(first, min(number, first + room))


def label(group: range, number: int) -> str:
    """Return which of so many starts a report is about."""
    if number == 1:
        return ""
    if len(group) == 1:
        return f"start {group.start + 1} of {number}, "
    return f"starts {group.start + 1} to {group.stop} of {number}, "
