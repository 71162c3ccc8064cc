"""Chosen experts alone: the same numbers as all of them."""

from __future__ import annotations

import itertools
from typing import Any

import pyro.infer as infer
import pytest
import torch
from families import case
from problems import flat_gradient, gradient, problem
from torch import library

from pyromoe.guides import Seeded
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import MixtureOfExperts, dispatch as dispatch_of, log_joint, mixture
from pyromoe.models.dispatch import Dispatch, grouped_linear
from pyromoe.models.likelihoods import FAMILIES

SHAPES = [(20, 5, 3, 4), (7, 1, 1, 3), (64, 64, 10, 8), (3, 2, 2, 1), (9, 0, 2, 3), (1, 4, 4, 6)]


@pytest.mark.parametrize(("rows", "inputs", "outputs", "number"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("grids", [(), ("cpu",)], ids=["one by one", "in a grid"])
def test_the_grouped_map_is_each_rows_own(
    rows: int,
    inputs: int,
    outputs: int,
    number: int,
    dtype: torch.dtype,
    grids: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU groups lie in a grid; so they may on the CPU, in double precision."""
    monkeypatch.setattr(dispatch_of, "GRIDS", grids)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    x, weight, bias = (
        normal(rows, inputs),
        normal(number, inputs, outputs),
        normal(number, 1, outputs),
    )
    z = torch.randint(number, (rows,), generator=generator)
    dispatch = Dispatch(z, number)
    found = dispatch.back(dispatch.linear(x[dispatch.order], weight, bias))
    expected = torch.einsum("rd,rdp->rp", x, weight[z]) + bias[z, 0]
    along = torch.randn(expected.shape, generator=generator, dtype=dtype)
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-4}
    torch.testing.assert_close(found, expected, **close)
    ours, theirs = (
        torch.autograd.grad(value, [x, weight, bias], along) for value in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, **close)


def test_groups_of_one_expert_alone_are_in_no_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have many times the places that are needed."""
    monkeypatch.setattr(dispatch_of, "GRIDS", ("cpu",))
    x = torch.randn(10, 2)
    for ends, there in ((torch.arange(1, 11), True), (torch.full((10,), 10), False)):
        assert (dispatch_of._grid(x, ends.to(torch.int32)) is not None) == there


def test_a_wrong_group_is_seen() -> None:
    """The control of the test above: one row in the group beside its own."""
    x, weight = torch.randn(6, 2), torch.randn(3, 2, 2)
    right, wrong = (torch.tensor(e, dtype=torch.int32) for e in ([2, 4, 6], [3, 4, 6]))
    found = [grouped_linear(x, weight, ends) for ends in (right, wrong)]
    assert not torch.allclose(found[0], found[1])


def test_the_operator_keeps_the_rules_of_a_graph() -> None:
    """Shapes without numbers, gradients, and tracing, by torch's own checks."""
    x, weight = torch.randn(6, 2, requires_grad=True), torch.randn(3, 2, 2, requires_grad=True)
    ends = torch.tensor([2, 2, 6], dtype=torch.int32)
    library.opcheck(grouped_linear, (x, weight, ends))
    single = (x.detach().float().requires_grad_(), weight.detach().float().requires_grad_(), ends)
    library.opcheck(grouped_linear, single)


def saving(model: MixtureOfExperts, monkeypatch: pytest.MonkeyPatch, part: float) -> list[bool]:
    """Set from which part on experts are chosen, and note each time whether they were."""
    seen: list[bool] = []
    decide = MixtureOfExperts._few

    def noted(self: MixtureOfExperts, x: torch.Tensor, z: torch.Tensor) -> bool:
        seen.append(decide(self, x, z))
        return seen[-1]

    monkeypatch.setattr(mixture, "SAVING", part)
    monkeypatch.setattr(MixtureOfExperts, "_few", noted)
    return seen


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("hidden", [[], [5], [4, 3]])
@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("columns", [None, [1]])
def test_chosen_experts_have_the_likelihood_and_gradient_of_all(
    name: str, hidden: list[int], priors: bool, columns: list[int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    example = case(name, 4, 6)
    model = example.model(expert_hidden=hidden, expert_columns=columns)
    weights = {f"experts.{n}": p.detach().clone() for n, p in model.experts.named_parameters()}
    if priors:
        model.experts.place_prior(1.0)
        weights = {n: w.requires_grad_() for n, w in weights.items()}
    x, y = example.x(generator), example.y
    z = torch.randint(4, (3, 6), generator=generator)
    parameters = [*model.parameters(), *(weights.values() if priors else ())]
    results, seen = [], []
    for part in (1e9, 0.0):
        used = saving(model, monkeypatch, part)
        joint = log_joint(model, x, y, weights=weights if priors else None)
        value = joint(z)
        results.append([value, flat_gradient((value * torch.arange(6)).sum(), parameters)])
        seen += used
        monkeypatch.undo()
    assert seen == [False, True]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "name", [t.name for t in TREATMENTS.values() if not t.needs_relaxed_likelihood]
)
def test_a_treatments_gradient_does_not_depend_on_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, objective = problem(5, 4), TREATMENTS[name].objectives[0]
    results = []
    for part in (1e9, 0.0):
        saving(p.model, monkeypatch, part)
        results.append(gradient(TREATMENTS[name], p, objective, Seeded(0)))
        monkeypatch.undo()
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


def test_pyros_own_sampling_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    p, losses = problem(5, 4), []
    for part in (1e9, 0.0):
        used = saving(p.model, monkeypatch, part)
        torch.manual_seed(0)
        losses.append(infer.Trace_ELBO(num_particles=3).loss(p.model, p.amortised, p.x, p.y))
        assert any(used) == (part == 0.0)
        monkeypatch.undo()
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_many_experts_are_not_all_run() -> None:
    """Of 64 experts and one draw for each datum, a 64th of the pairs; enumeration asks for all."""
    p = problem(8, 64)
    z = torch.arange(8)[None]
    assert p.model._few(p.x, z)
    assert not p.model._few(p.x, z.repeat(20, 1))  # twenty draws of 64: as well all
    assert not p.model._few(p.x, torch.arange(64)[:, None])  # enumerated
    assert not p.model._few(p.x, torch.full((1, 8, 64), 1 / 64))  # weights


def test_an_expert_that_nobody_chose_has_no_gradient() -> None:
    p = problem(8, 64)
    value = log_joint(p.model, p.x, p.y)(torch.arange(8)[None]).sum()
    (of_weights,) = torch.autograd.grad(value, [p.model.experts.weight_0])
    used = of_weights.flatten(1).abs().sum(-1) > 0
    assert used.tolist() == [k < 8 for k in range(64)]


def test_every_assignment_is_the_enumerated_row() -> None:
    """Each of the chosen values is the one that enumeration finds for it."""
    p = problem(2, 12)
    joint = log_joint(p.model, p.x, p.y)
    table = joint.enumerate().detach()
    for pair in itertools.product(range(12), repeat=2):
        z = torch.tensor([pair])
        torch.testing.assert_close(joint(z)[0], table[z[0], torch.arange(2)], rtol=0, atol=1e-12)
