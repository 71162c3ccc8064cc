"""Every claim of every treatment, walked from the table; unbiasedness is in test_unbiased."""

from __future__ import annotations

import dataclasses
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from problems import (
    EVERY,
    Corner,
    Problem,
    Replay,
    asks_for,
    no_guide,
    number_weighted,
    outcomes,
    problem,
    small,
    sum_of,
    warm_state,
)

from pyromoe.guides import Seeded
from pyromoe.inference.elbo import UNSET, Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.inference.treatments.treatment import ObjectiveName
from pyromoe.models import InputError, LogJoint

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.guides import Noise

every = pytest.mark.parametrize(("name", "objective"), EVERY)
each = pytest.mark.parametrize("name", list(TREATMENTS))


def fields(treatment: Treatment[Any]) -> dict[str, Any]:
    """The types of a config's fields by their names."""
    return get_type_hints(treatment.config)


def choices(treatment: Treatment[Any]) -> list[dict[str, Any]]:
    """The default config, and every other choice of a field that names its choices."""
    named = {n: get_args(t) for n, t in fields(treatment).items() if get_origin(t) is Literal}
    default = treatment.config()
    others = [{n: v} for n, vs in named.items() for v in vs if v != getattr(default, n)]
    return [{}, *others]


VARIANTS = [(n, o, options) for n, o in EVERY for options in choices(TREATMENTS[n])]
variants = pytest.mark.parametrize(("name", "objective", "options"), VARIANTS)


def loss_of(
    name: str,
    p: Problem,
    objective: str,
    noise: Noise,
    state: Any = UNSET,
    **options: Any,
) -> Tensor:
    elbo = Treatment_ELBO(name, noise=noise, **options)
    elbo.state = state
    loss: Tensor = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return loss


def gradients(value: Tensor, p: Problem) -> list[Tensor]:
    """In every parameter of model and guide, zeros where it plays no part."""
    parameters = p.parameters("elbo")
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, parameters, strict=True)]


# The value


@every
def test_the_value_estimates_the_objective(name: str, objective: str) -> None:
    """Its expectation over z is a finite sum; a relaxed z is taken at the corners alone."""
    p, options = problem(), small(TREATMENTS[name])
    state = warm_state(TREATMENTS[name], p, objective, Seeded(1), **options)

    def value(noise: Replay) -> Tensor:
        return -loss_of(name, p, objective, noise, state, **options).detach()

    expected = sum_of(probability * found for probability, found in outcomes(value, Corner))
    exact = p.exact(objective, number_weighted(TREATMENTS[name], options))
    if TREATMENTS[name].exact_value:
        torch.testing.assert_close(expected, exact, rtol=0, atol=1e-10)
    else:
        assert float((expected - exact).detach().abs()) > 1e-3


def test_the_oracle_tells_the_objectives_apart() -> None:
    values = [float(problem().exact(o, 2).detach()) for o in get_args(ObjectiveName)]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 1e-3


# Chance


@variants
def test_the_same_noise_gives_the_same_gradient(
    name: str, objective: str, options: dict[str, Any]
) -> None:
    p = problem(5)
    state = warm_state(TREATMENTS[name], p, objective, Seeded(1))
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        loss = loss_of(name, p, objective, Seeded(3), state, **options)
        runs.append([loss, *gradients(loss, p)])
        assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@every
def test_the_first_state_comes_from_the_noise_alone(name: str, objective: str) -> None:
    p = problem(5)
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(flat(warm_state(TREATMENTS[name], p, objective, Seeded(3))))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*states)


def flat(state: Any) -> Tensor:
    """A state as one vector."""
    parts = list(state.values()) if isinstance(state, dict) else [state]
    return torch.cat(
        [torch.empty(0), *(torch.as_tensor(p).flatten() for p in parts if p is not None)]
    )


@every
def test_the_noise_is_used_or_not_asked_for(name: str, objective: str) -> None:
    """Another seed gives another gradient exactly where the treatment asks for noise."""
    p, options = problem(5), small(TREATMENTS[name])
    state = warm_state(TREATMENTS[name], p, objective, Seeded(1), **options)
    seen = [
        gradients(loss_of(name, p, objective, Seeded(s), state, **options), p) for s in range(10)
    ]
    differ = any(not torch.equal(a, b) for s in seen for a, b in zip(s, seen[0], strict=True))
    assert differ == bool(asks_for(name, objective))


# The config

NONSENSE: dict[type, list[Any]] = {int: [0, -3], float: [-1.0, float("nan"), float("inf")]}


@each
def test_the_config_is_frozen_and_complete(name: str) -> None:
    kind = TREATMENTS[name].config
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    config = kind()
    assert hash(config) == hash(kind())
    for field in dataclasses.fields(kind):
        assert field.default is not dataclasses.MISSING
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, field.default)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (t.name, field, value)
        for t in TREATMENTS.values()
        for field, kind in fields(t).items()
        for value in NONSENSE.get(kind, ["nonsense"])
    ],
)
def test_the_config_refuses_nonsense(name: str, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(str(value))):
        TREATMENTS[name].config(**{field: value})


@each
def test_every_field_changes_something(name: str) -> None:
    """No knob is dead: the course of three steps depends on every field."""
    default = TREATMENTS[name].config()
    for field, kind in fields(TREATMENTS[name]).items():
        others = [v for v in other_values(default, field, kind) if v != getattr(default, field)]
        courses = [course(name, {field: value}) for value in others]
        assert any(not torch.equal(course(name, {}), other) for other in courses), field


def other_values(default: Any, field: str, kind: Any) -> list[Any]:
    """Values that a field may have."""
    value = getattr(default, field)
    if get_args(kind):
        return list(get_args(kind))
    wanted = [value / 2 or 0.5, 8 * value] if kind is float else [1, 2, value + 1]
    return [v for v in wanted if allowed(default, field, v)]


def allowed(default: Any, field: str, value: Any) -> bool:
    try:
        dataclasses.replace(default, **{field: value})
    except ValueError:
        return False
    return True


def course(name: str, options: dict[str, Any]) -> Tensor:
    """Loss and gradients after three steps of a state, in one vector."""
    p, objective = problem(4, 7), TREATMENTS[name].objectives[0]
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    for _ in range(3):
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return torch.cat([loss[None], *(g.flatten() for g in gradients(loss, p))])


@each
def test_an_unknown_option_is_the_users_mistake(name: str) -> None:
    with pytest.raises(InputError, match="temprature"):
        Treatment_ELBO(name, temprature=1.0)


def test_an_unknown_treatment_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="nonsense") as caught:
        Treatment_ELBO("nonsense")
    assert "pyromoe treatments" in caught.value.remedy
    with pytest.raises(InputError, match="reinforced") as caught:
        Treatment_ELBO("reinforced")
    assert "'reinforce'" in caught.value.remedy


# The claims


class Seen:
    """What a treatment asked of log p(y, z | x)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, num_experts: int) -> None:
        self.evaluations = 0
        self.relaxed: list[Tensor] = []
        run = LogJoint._run

        def counted(joint: LogJoint, z: Tensor | None) -> Any:
            if z is None or z.is_floating_point():
                self.evaluations += num_experts
            else:
                self.evaluations += z.shape[0]
            if z is not None and z.is_floating_point():
                self.relaxed.append(z)
            return run(joint, z)

        monkeypatch.setattr(LogJoint, "_run", counted)


@variants
@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("num_experts", [2, 5])
def test_it_costs_and_asks_what_it_says(
    name: str,
    objective: str,
    options: dict[str, Any],
    more: int,
    num_experts: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    treatment = TREATMENTS[name]
    if more and "num_samples" in fields(treatment):
        options = {**options, "num_samples": treatment.config().num_samples + more}
    p = problem(4, num_experts)
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    for _ in range(2):  # the second step has no state to make
        seen = Seen(monkeypatch, num_experts)
        elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        assert seen.evaluations == treatment.evaluations(elbo.config, num_experts)
        assert bool(seen.relaxed) == treatment.needs_relaxed_likelihood
        assert not treatment.hard or seen.relaxed
        for z in seen.relaxed:
            assert bool(((z == 0) | (z == 1)).all()) == treatment.hard
            total = z.sum(-1)  # 1, or less on the way from nothing to one expert
            torch.testing.assert_close(
                total.where((z > 0).sum(-1) != 1, 1.0), torch.ones_like(total)
            )
            assert bool((total <= 1 + 1e-12).all())
            assert z.requires_grad
        monkeypatch.undo()


@each
def test_its_objectives_are_known(name: str) -> None:
    objectives = TREATMENTS[name].objectives
    assert objectives
    assert len(set(objectives)) == len(objectives)
    assert set(objectives) <= set(get_args(ObjectiveName))


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        (n, o)
        for n, t in TREATMENTS.items()
        for o in get_args(ObjectiveName)
        if (n, o) not in EVERY and not (o != "marginal" and "iwae" in t.objectives)
    ],
)
def test_other_objectives_are_refused(name: str, objective: str) -> None:
    p = problem()
    noise = Replay()
    if objective == "iwae":  # no guide makes it without a treatment that weights draws
        return
    with pytest.raises(InputError, match=f"'{name}'.*'{objective}'") as caught:
        loss_of(name, p, objective, noise)
    remedy = caught.value.remedy
    named = {o for o in get_args(ObjectiveName) if re.search(rf"\b{o} \(", remedy)}
    assert named == set(TREATMENTS[name].objectives)
    assert not noise.asked


@pytest.mark.parametrize("name", [t.name for t in TREATMENTS.values() if t.needs_own_guide])
def test_the_gate_as_guide_is_refused_where_q_is_trained_apart(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}'.*own gate") as caught:
        loss_of(name, problem(), "jensen", Replay())
    assert "AmortisedGuide" in caught.value.remedy


@each
def test_its_description_says_what_and_whence(name: str) -> None:
    treatment = TREATMENTS[name]
    assert treatment.name == name
    assert treatment.summary
    assert "\n" not in treatment.summary
    assert not treatment.summary.endswith(".")
    assert len(treatment.summary) <= 80  # a cell of `pyromoe treatments`
    assert treatment.description.startswith(treatment.summary + ".")
    assert re.search(r"\((1[89]|20)\d\d\)", treatment.description)


# Corners of what a model may be


@variants
def test_one_expert_leaves_nothing_to_choose(
    name: str, objective: str, options: dict[str, Any]
) -> None:
    p = problem(4, 1)
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    _, ell, _ = p.log_parts()
    exact = torch.autograd.grad(ell.sum(), list(p.model.experts.parameters()))
    for _ in range(3):
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        torch.testing.assert_close(-loss, ell.sum(), rtol=0, atol=1e-12)
        choosing = [*p.model.gate.parameters(), *p.amortised.parameters()]
        found = torch.autograd.grad(loss, choosing, allow_unused=True, retain_graph=True)
        for g in found:
            assert g is None or bool((g.abs() <= 1e-12).all())
        of_expert = torch.autograd.grad(-loss, list(p.model.experts.parameters()))
        torch.testing.assert_close(of_expert, exact, rtol=0, atol=1e-12)


@variants
@pytest.mark.parametrize("lengths", [[7, 3], [3, 7], [9, 1]])
def test_a_short_last_batch_is_scaled_up(
    name: str, objective: str, options: dict[str, Any], lengths: list[int]
) -> None:
    p = problem(10)
    guide = p.guide(objective)
    plain, scaled = (Treatment_ELBO(name, noise=Seeded(0), **options) for _ in range(2))
    for _ in range(2):
        for x, y in zip(torch.split(p.x, lengths), torch.split(p.y, lengths), strict=True):
            a = plain.differentiable_loss(p.model, guide, x, y)
            b = scaled.differentiable_loss(p.model, guide, x, y, 10)
            torch.testing.assert_close(b, 10 / len(x) * a, rtol=1e-12, atol=1e-12)
            for g, h in zip(gradients(a, p), gradients(b, p), strict=True):
                torch.testing.assert_close(h, 10 / len(x) * g, rtol=1e-10, atol=1e-12)


def rearrange(t: Tensor, num_experts: int, order: list[int]) -> Tensor:
    """A parameter or its gradient with the experts in another order, or fewer of them."""
    axes = [i for i, length in enumerate(t.shape) if length == num_experts]
    return t.index_select(axes[0], torch.tensor(order)) if axes else t


def rearranged(p: Problem, order: list[int]) -> Problem:
    """The same problem with its experts in another order, or fewer of them."""
    new = dataclasses.replace(problem(len(p.x), len(order)), x=p.x, y=p.y)
    new.model.mix = p.model.mix
    k = p.model.num_experts
    with torch.no_grad():
        for old, fresh in zip(p.parameters("elbo"), new.parameters("elbo"), strict=True):
            fresh.copy_(rearrange(old, k, order))
    return new


class Shared:
    """The same chance for a problem and for its rearrangement: the argmax of shared Gumbels.

    Noise with one entry for each of the K experts is rearranged with them; other noise is not.
    """

    ROWS = 64

    def __init__(self, seed: int, order: list[int] | None = None) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.order = order

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        width = NUM_EXPERTS if self.over_experts(logits) else logits.shape[-1]
        assert num_samples * len(logits) <= self.ROWS
        noise = torch.empty(self.ROWS, width).exponential_(generator=self.generator).log().neg()
        noise = noise[: num_samples * len(logits)].reshape(num_samples, len(logits), width)
        return noise[..., self.order] if self.order and self.over_experts(logits) else noise

    def categorical(self, logits: Tensor, num_samples: int) -> Tensor:
        return (logits.detach() + self.gumbel(logits, num_samples)).argmax(-1)

    def normal(self, logits: Tensor, num_samples: int) -> Tensor:
        return self.gumbel(logits, num_samples)

    def over_experts(self, logits: Tensor) -> bool:
        return logits.shape[-1] == (len(self.order) if self.order else NUM_EXPERTS)


NUM_EXPERTS = 5
"""No other axis is as long."""


def rearranged_state(state: Any, order: list[int]) -> Any:
    if isinstance(state, dict):
        return {name: rearrange(t, NUM_EXPERTS, order) for name, t in state.items()}
    return state


def compare_rearranged(
    name: str, p: Problem, objective: str, options: dict[str, Any], order: list[int], seed: int
) -> list[Tensor]:
    """Check one draw against the same draw of the rearranged problem; return its gradients."""
    k = p.model.num_experts
    assert all(p_.shape.count(k) <= 1 for p_ in p.parameters("elbo"))  # the axis is plain to see
    options = {**small(TREATMENTS[name]), **options}
    new = rearranged(p, order)
    state = warm_state(TREATMENTS[name], p, objective, Seeded(1), **options)
    here = loss_of(name, p, objective, Shared(seed), state, **options)
    state = rearranged_state(state, order)
    there = loss_of(name, new, objective, Shared(seed, order), state, **options)
    torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)
    mine = gradients(here, p)
    for a, b in zip(mine, gradients(there, new), strict=True):
        torch.testing.assert_close(rearrange(a, k, order), b, rtol=1e-12, atol=1e-12)
    return mine


@variants
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_experts_does_not_matter(
    name: str, objective: str, options: dict[str, Any], seed: int
) -> None:
    compare_rearranged(name, problem(4, NUM_EXPERTS), objective, options, [2, 4, 0, 3, 1], seed)


@variants
@pytest.mark.parametrize("out", [0, 2, 4])
def test_an_expert_that_the_gate_excludes_is_not_there(
    name: str, objective: str, options: dict[str, Any], out: int
) -> None:
    """Value and gradients are those of the mixture of the others, and its own are 0."""
    p = problem(4, NUM_EXPERTS)
    with torch.no_grad():
        p.model.gate.bias_0[..., out] = -torch.inf
    order = [i for i in range(NUM_EXPERTS) if i != out]
    mine = compare_rearranged(name, p, objective, options, order, seed=out)
    for g in mine:
        assert g.isfinite().all()
        own = rearrange(g, NUM_EXPERTS, [out])
        assert own is g or bool((own == 0).all())


@variants
def test_an_excluded_expert_stays_excluded(
    name: str, objective: str, options: dict[str, Any]
) -> None:
    """With noise of its own, several steps long."""
    p = problem(5)
    with torch.no_grad():
        p.model.gate.bias_0[..., 1] = -torch.inf
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    for _ in range(20):
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients(loss, p))
        assert flat(elbo.state).isfinite().all()


@variants
def test_an_expert_without_data_does_no_harm(
    name: str, objective: str, options: dict[str, Any]
) -> None:
    """Its responsibility underflows to 0 while the gate still proposes it."""
    p = problem(5)
    with torch.no_grad():
        p.model.experts.bias_0[1] += 1e4
    log_p, ell, _ = p.log_parts()
    assert bool(((log_p + ell).softmax(-1)[:, 1] == 0).all())
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    for _ in range(20):
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients(loss, p))
        assert flat(elbo.state).isfinite().all()


# Precision


@variants
def test_single_precision_is_close_to_double(
    name: str, objective: str, options: dict[str, Any]
) -> None:
    p, options = problem(4, NUM_EXPERTS), {**small(TREATMENTS[name]), **options}
    exact = three_steps(name, p, objective, options)
    torch.set_default_dtype(torch.float32)
    also = three_steps(name, p, objective, options)  # float64, whatever the default
    torch.testing.assert_close(also, exact, rtol=1e-12, atol=1e-12)
    single = deepcopy(p)
    single.model.float()
    single.amortised.float()
    single = dataclasses.replace(single, x=p.x.float(), y=p.y.float())
    found = three_steps(name, single, objective, options)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert float((found.double() - exact).norm()) < 1e-3 * float(exact.norm())


def three_steps(name: str, p: Problem, objective: str, options: dict[str, Any]) -> Tensor:
    """Loss and gradients after three steps of a state, in one vector; chance is given."""
    elbo = Treatment_ELBO(name, **options)
    for step in range(3):
        elbo.noise = Rounded(step)
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return torch.cat([loss.detach()[None], *(g.flatten() for g in gradients(loss, p))])


class Rounded(Shared):
    """The same chance in every precision; none for the first values of a state."""

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        if num_samples * len(logits) > self.ROWS or not self.over_experts(logits):
            return torch.zeros(num_samples, *logits.shape).to(logits)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        noise = super().gumbel(logits, num_samples)
        torch.set_default_dtype(before)
        return noise.to(logits)


def test_a_guide_without_z_is_the_marginal() -> None:
    """The guides used above are of the kind that they are taken for."""
    p = problem()
    assert p.guide("marginal") is no_guide
    assert [p.guide(o).objective for o in ("jensen", "elbo")] == ["jensen", "elbo"]
