"""The step on a GPU: the same code, the same numbers as on the CPU, in every mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from problems import problem

from pyromoe.guides import Seeded
from pyromoe.guides.noise import FromRaw
from pyromoe.inference import TREATMENTS, Step, Treatment_ELBO

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.guides.noise import Kind
    from pyromoe.inference.steps.auto import Mode

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class OfTheHost(FromRaw):
    """Raw numbers drawn on the CPU, so that both devices are given the same."""

    def __init__(self) -> None:
        self.source = Seeded(0)

    def raw(self, kind: Kind, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return self.source.raw(kind, shape, like.new_empty((), device="cpu")).to(like.device)


def losses(name: str, device: str, mode: Mode) -> list[float]:
    p = problem(40, 4)
    for module in (p.model, p.amortised):
        module.to(device)
    elbo = Treatment_ELBO(name, noise=OfTheHost())
    guide = p.guide(TREATMENTS[name].objectives[0])
    step = Step(elbo, p.model, guide, mode=mode, divide_by=40)
    x, y = p.x.to(device), p.y.to(device)
    found = [float(step(x, y)) for _ in range(6)]
    assert step.ran == mode
    return found


def test_noise_of_the_host_is_seeded_noise() -> None:
    """What the tests below compare with, where there is no GPU to compare."""
    p = problem(40, 4)
    step = Step(Treatment_ELBO("reinforce", noise=Seeded(0)), p.model, p.guide("jensen"))
    step.divide_by = 40
    assert [float(step(p.x, p.y)) for _ in range(6)] == losses("reinforce", "cpu", "eager")


@on_a_gpu
@pytest.mark.parametrize("mode", ["eager", "captured"])
@pytest.mark.parametrize("name", list(TREATMENTS))
def test_a_gpu_gives_the_numbers_of_the_cpu(name: str, mode: Mode) -> None:
    on_cpu = losses(name, "cpu", "eager")
    assert losses(name, "cuda", mode) == pytest.approx(on_cpu, rel=1e-9)


@on_a_gpu
@pytest.mark.slow
@pytest.mark.parametrize("name", ["enumerate", "leave_one_out", "gumbel_softmax"])
def test_a_compiled_step_on_a_gpu_gives_them_too(name: str) -> None:
    assert losses(name, "cuda", "compiled") == pytest.approx(losses(name, "cpu", "eager"), rel=1e-9)
