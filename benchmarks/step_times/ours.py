"""The step of pyromoe, in each of its modes."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.guides import PriorGuide, Seeded
from pyromoe.inference import Step, Treatment_ELBO
from pyromoe.models import MixtureOfExperts
from pyromoe.models.gates import Mlp
from pyromoe.models.likelihoods import Categorical

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case

    from pyromoe.inference.steps.auto import Mode

from problem import RATE, TEMPERATURE


def step(case: Case, treatment: str, mode: Mode) -> tuple[Callable[[], float], float]:
    """Return a step, and the seconds until its first call came back."""
    hidden = [case.hidden] if case.hidden else []
    family = Categorical(case.classes)
    gate = partial(Mlp, hidden=hidden)
    model = MixtureOfExperts(case.inputs, family, case.num_experts, expert_hidden=hidden, gate=gate)
    model.load_state_dict({n: torch.from_numpy(v) for n, v in case.values().items()})
    options: dict[str, Any] = {"temperature": TEMPERATURE} if "gumbel" in treatment else {}
    elbo = Treatment_ELBO(treatment, noise=Seeded(0), **options)
    guide = (lambda *args: None) if treatment == "enumerate" else PriorGuide(model)
    take = Step(elbo, model, guide, mode=mode)
    x, y = (torch.from_numpy(a) for a in case.data())

    def once() -> float:
        return float(take(x, y, learning_rate=RATE))

    started = time.perf_counter()
    once()
    assert take.ran == mode, take.ran
    return once, time.perf_counter() - started
