"""The library beside Pyro itself: the same objects under Pyro's own ELBOs and handlers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from families import case
from problems import (
    EVERY,
    Corner,
    Problem,
    Replay,
    asks_for,
    flat_gradient,
    importance_weighted,
    no_guide,
    number_weighted,
    outcomes,
    problem,
    small,
    sum_of,
)
from pyro import poutine
from pyro.infer.inspect import render_model
from pyro.poutine.messenger import Messenger
from torch import nn

from pyromoe.guides import (
    AmortisedGuide,
    PointGuide,
    PosteriorGuide,
    PriorGuide,
    RelaxedOneHotCategorical,
    Seeded,
    WeightedGuide,
    log_prob,
)
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError, MixtureOfExperts, log_joint
from pyromoe.models.blend import Mix
from pyromoe.models.likelihoods import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

N, K, C = 6, 3, 4
infer: Any = pyro.infer
"""Untyped, as most of Pyro is."""
GUIDES = [PriorGuide, AmortisedGuide, PosteriorGuide]


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    """Pyro's own ELBOs leave parameters in the global store."""
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@dataclass
class Setting:
    """A model and what it is called with; the guide of its weights, empty without a prior."""

    model: MixtureOfExperts
    x: Tensor
    y: Tensor
    weights: PointGuide
    size: int | None

    @property
    def args(self) -> tuple[Any, ...]:
        return (self.x, self.y, self.size)

    @property
    def without_z(self) -> WeightedGuide:
        return WeightedGuide(self.weights, None)

    def with_z(self, kind: Any) -> Any:
        torch.manual_seed(5)
        latent = kind(self.model)
        with torch.no_grad():
            for parameter in latent.parameters():
                parameter += 0.3 * torch.randn(parameter.shape)
        return WeightedGuide(self.weights, latent)

    def parameters(self, guide: nn.Module) -> list[Tensor]:
        return [*self.model.parameters(), *guide.parameters()]


def setting(family: str, *, priors: bool, size: int | None) -> Setting:
    generator = torch.Generator().manual_seed(0)
    example = case(family, K, N, C)
    x, y = example.x(generator), example.y
    model = example.model(expert_hidden=[3])
    points: dict[str, Tensor] = {}
    for name in ["experts", "gate"] if priors else []:
        networks = getattr(model, name)
        points |= {f"{name}.{n}": p.detach().clone() for n, p in networks.named_parameters()}
        networks.place_prior(1.3)
    return Setting(model, x, y, PointGuide(points), size)


settings = pytest.mark.parametrize(
    "s",
    [
        pytest.param((family, priors, size), id=f"{family}-{priors=}-{size=}")
        for family in FAMILIES
        for priors in (False, True)
        for size in (None, 50)
    ],
)


def made(s: tuple[str, bool, int | None]) -> Setting:
    return setting(s[0], priors=s[1], size=s[2])


# Values and gradients of Pyro's ELBOs


def enumerated() -> Any:
    return infer.TraceEnum_ELBO(max_plate_nesting=1)


@settings
def test_the_marginal_is_pyros(s: tuple[str, bool, int | None]) -> None:
    m = made(s)
    guide = m.without_z
    parameters = m.parameters(guide)
    pyros = enumerated().differentiable_loss(m.model, guide, *m.args)
    ours = Treatment_ELBO("enumerate").differentiable_loss(m.model, guide, *m.args)
    assert_close(ours, pyros)
    found, expected = (flat_gradient(loss, parameters) for loss in (ours, pyros))
    assert_close(found, expected)
    assert bool((expected != 0).any())


@settings
def test_the_plate_scales_the_data_and_not_the_weights(s: tuple[str, bool, int | None]) -> None:
    """The two sides above are right, not only equal."""
    m = made(s)
    values = m.weights.values()
    with torch.no_grad():
        joint = log_joint(m.model, m.x, m.y, weights=values)
        log_p_of_y = joint.enumerate().logsumexp(0).sum()
        log_p_of_weights = joint.log_prior_of_weights
        loss = Treatment_ELBO("enumerate").differentiable_loss(m.model, m.without_z, *m.args)
    scale = 1 if m.size is None else m.size / N
    assert_close(-loss, scale * log_p_of_y + log_p_of_weights)
    assert bool(values) == (float(log_p_of_weights) != 0)


@settings
def test_the_marginal_is_pyros_with_a_guide_without_sites(s: tuple[str, bool, int | None]) -> None:
    m = made(s)
    fixed = {name: value.detach() for name, value in m.weights.values().items()}
    model = poutine.condition(m.model, data=fixed)
    pyros = enumerated().loss(model, no_guide, *m.args)
    ours = Treatment_ELBO("enumerate").loss(m.model, m.without_z, *m.args)
    assert ours == pytest.approx(pyros, rel=1e-12)


@settings
@pytest.mark.parametrize("kind", GUIDES)
def test_the_elbo_is_pyros(s: tuple[str, bool, int | None], kind: Any) -> None:
    """Of the exact treatment of the guide's objective."""
    m = made(s)
    guide = m.with_z(kind)
    pyros = enumerated().differentiable_loss(m.model, infer.config_enumerate(guide), *m.args)
    exact = [
        t
        for t in TREATMENTS.values()
        if guide.objective in t.objectives and not asks_for(t.name, guide.objective)
    ]
    assert exact
    for treatment in exact:
        ours = Treatment_ELBO(treatment).differentiable_loss(m.model, guide, *m.args)
        assert_close(ours, pyros)
        parameters = m.parameters(guide)
        found, expected = (flat_gradient(loss, parameters) for loss in (ours, pyros))
        assert_close(found, expected)


@settings
@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("elbo", [infer.Trace_ELBO, infer.TraceGraph_ELBO])
def test_pyros_sampled_elbos_take_it(s: tuple[str, bool, int | None], kind: Any, elbo: Any) -> None:
    """Their value is log p(y, z) - log q(z) at the z that they drew."""
    m = made(s)
    guide = m.with_z(kind)
    torch.manual_seed(11)
    trace = poutine.trace(guide).get_trace(*m.args)
    torch.manual_seed(11)
    loss = elbo().loss(m.model, guide, *m.args)
    values = m.weights.values()
    z: Any = trace.nodes["z"]["value"]
    with torch.no_grad():
        joint = log_joint(m.model, m.x, m.y, weights=values)
        log_q = log_prob(guide.latent.logits(m.x, m.y, None, values), z[None])
        of_data = (joint(z[None]) - log_q).sum()
        expected = (m.size or N) / N * of_data + joint.log_prior_of_weights
    assert_close(torch.tensor(-loss), expected)
    elbo().loss_and_grads(m.model, guide, *m.args)
    gradients = [p.grad for p in m.parameters(guide) if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


# Handlers


@settings
def test_responsibilities_are_pyros_marginals(s: tuple[str, bool, int | None]) -> None:
    m = made(s)
    values = {name: value.detach() for name, value in m.weights.values().items()}
    model = poutine.condition(m.model, data=values)
    pyros = enumerated().compute_marginals(model, no_guide, *m.args)["z"]
    expected = torch.stack([pyros.log_prob(torch.full((N,), k)) for k in range(K)]).exp()
    joint = log_joint(m.model, m.x, m.y, weights=values).enumerate()
    assert_close(joint.softmax(0), expected)
    logits = PosteriorGuide(m.model).logits(m.x, m.y, m.size, values)
    assert_close(logits.softmax(-1).T, expected)


@settings
def test_infer_discrete_finds_the_likeliest_expert(s: tuple[str, bool, int | None]) -> None:
    m = made(s)
    values = {name: value.detach() for name, value in m.weights.values().items()}
    model = poutine.condition(m.model, data=values)
    decoded = infer.infer_discrete(model, first_available_dim=-2, temperature=0)
    z = poutine.trace(decoded).get_trace(*m.args).nodes["z"]["value"]
    likeliest = log_joint(m.model, m.x, m.y, weights=values).enumerate().argmax(0)
    assert torch.equal(z, likeliest)


def test_infer_discrete_draws_from_the_posterior() -> None:
    m = setting("normal", priors=False, size=None)
    times = 2000
    x, y = m.x.repeat(times, 1), m.y.repeat(times)
    torch.manual_seed(0)
    drawn = infer.infer_discrete(m.model, first_available_dim=-2, temperature=1)
    z = poutine.trace(drawn).get_trace(x, y).nodes["z"]["value"].reshape(times, N)
    exact = log_joint(m.model, m.x, m.y).enumerate().softmax(0).detach()  # (K, N)
    shares = torch.stack([(z == k).double().mean(0) for k in range(K)])
    error = (exact * (1 - exact) / times).sqrt()
    assert bool(((shares - exact).abs() <= 5 * error).all())


@settings
def test_render_model_shows_its_sites(s: tuple[str, bool, int | None]) -> None:
    m = made(s)
    source = render_model(m.model, m.args).source
    edges = [line.strip() for line in source.splitlines() if "->" in line]
    assert "z -> y" in edges
    assert bool(m.weights.values()) == any("gate" in e and e.endswith("-> z") for e in edges)
    assert "data" in source


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("priors", "parallel"), [(False, False), (False, True), (True, False)])
def test_predictive_draws_experts_from_the_gate(family: str, priors: bool, parallel: bool) -> None:
    """Within five standard errors; weights, which are in no plate, cannot be drawn in parallel."""
    m = setting(family, priors=priors, size=None)
    guide = m.with_z(PriorGuide)
    torch.manual_seed(0)
    times = 200
    drawn = infer.Predictive(m.model, guide=guide, num_samples=times, parallel=parallel)(m.x)
    assert drawn["y"].shape == (times, *m.y.shape)
    assert drawn["z"].shape == (times, N)
    with torch.no_grad():
        gate = log_joint(m.model, m.x, m.y, weights=m.weights.values()).log_prior.exp()
    shares = torch.stack([(drawn["z"] == k).double().mean(0) for k in range(K)], -1)
    error = (gate * (1 - gate) / times).sqrt()
    assert bool(((shares - gate).abs() <= 5 * error).all())


def test_predictive_takes_given_weights() -> None:
    """Each draw uses its own: here weights that put all mass on one expert each."""
    m = setting("normal", priors=True, size=None)
    values = {n: v.detach().repeat(K, 1, 1, 1) for n, v in m.weights.values().items()}
    values["gate.bias_0"] = 1e3 * torch.eye(K)[:, None, None]
    drawn = infer.Predictive(m.model, values, return_sites=["z", "y"])(m.x)
    assert torch.equal(drawn["z"], torch.arange(K)[:, None].expand(K, N))
    assert drawn["y"].shape == (K, N)


# A relaxed z in Pyro's own machinery


class Relax(Messenger):
    """Replace the law of z by the relaxed one."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == "z":
            msg["fn"] = RelaxedOneHotCategorical(self.temperature, msg["fn"].logits)
            msg["infer"] = {}


@pytest.mark.parametrize("mix", get_args(Mix))
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("objective", ["jensen", "elbo"])
@pytest.mark.parametrize("size", [None, 20])
def test_the_relaxed_elbo_is_pyros(
    mix: Mix, temperature: float, objective: str, size: int | None
) -> None:
    p = problem(5, 3, mix)
    guide = p.guide(objective)
    relax = Relax(temperature)
    for seed in range(3):
        torch.manual_seed(seed)
        pyros = infer.Trace_ELBO().loss(relax(p.model), relax(guide), p.x, p.y, size)
        torch.manual_seed(seed)
        gumbel = -torch.empty(1, 5, 3).exponential_().log()
        options: dict[str, Any] = {"temperature": temperature, "kl": "density"}
        elbo = Treatment_ELBO("gumbel_softmax", noise=Replay(gumbel=gumbel), **options)
        ours = elbo.loss(p.model, guide, p.x, p.y, size)
        assert ours == pytest.approx(pyros, rel=1e-10)


# The user's own loop


def train(p: Problem, name: str, objective: str, noise: Any, steps: int = 100) -> Tensor:
    """A loop as a user writes it; returns every parameter in one vector."""
    elbo = Treatment_ELBO(name, noise=noise)
    loss = elbo(p.model, p.guide(objective))
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(p.x, p.y).backward()
        optimiser.step()
    return parameters_of(p)


def parameters_of(p: Problem) -> Tensor:
    return torch.cat([t.detach().flatten().clone() for t in p.parameters("elbo")])


every = pytest.mark.parametrize(("name", "objective"), EVERY)


@every
def test_a_users_own_loop_reduces_the_loss(name: str, objective: str) -> None:
    p = problem(40)
    before = float(p.exact(objective).detach())
    train(p, name, objective, Seeded(0))
    assert float(p.exact(objective).detach()) > before + 0.1 * len(p.x)


@every
def test_the_same_seed_gives_the_same_bits(name: str, objective: str) -> None:
    uses_noise = bool(asks_for(name, objective))
    runs: list[Tensor] = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(runs))
        runs.append(train(problem(5, 5), name, objective, Seeded(seed), steps=5))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2]) != uses_noise


@every
def test_two_models_in_one_process_do_not_touch(name: str, objective: str) -> None:
    first, second = problem(5, seed=1), problem(5, seed=2)
    alone = train(deepcopy(second), name, objective, Seeded(0), steps=5)
    fitted = train(first, name, objective, Seeded(0), steps=5)
    untrained = parameters_of(second)
    after = train(second, name, objective, Seeded(0), steps=5)
    assert torch.equal(parameters_of(first), fitted)
    assert not torch.equal(after, untrained)
    assert torch.equal(after, alone)
    assert len(pyro.get_param_store()) == 0


@every
def test_a_users_own_store_is_left_alone(name: str, objective: str) -> None:
    pyro.param("experts.weight_0", torch.tensor([1.0, 2.0]))
    p = problem(5)
    train(p, name, objective, Seeded(0), steps=2)
    assert list(pyro.get_param_store()) == ["experts.weight_0"]
    assert pyro.param("experts.weight_0").tolist() == [1.0, 2.0]


@every
def test_pyros_own_interface_gives_the_same(name: str, objective: str) -> None:
    """loss, loss_and_grads and the module are three ways to one number."""
    p = problem(5)
    guide = p.guide(objective)
    module = Treatment_ELBO(name, noise=Seeded(0))(p.model, guide)(p.x, p.y)
    number = Treatment_ELBO(name, noise=Seeded(0)).loss(p.model, guide, p.x, p.y)
    both = Treatment_ELBO(name, noise=Seeded(0)).loss_and_grads(p.model, guide, p.x, p.y)
    assert float(module.detach()) == number == both
    added = [t.grad if t.grad is not None else torch.zeros_like(t) for t in p.parameters(objective)]
    flat = torch.cat([g.flatten() for g in added])
    torch.testing.assert_close(flat, flat_gradient(module, p.parameters(objective)), rtol=0, atol=0)


# Programs that are not ours


class Clusters(nn.Module):
    """A mixture written by hand, as in Pyro's tutorials: it knows integers alone."""

    def __init__(self, num_components: int = 3) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(-0.5, 0.5, num_components))
        self.locs = nn.Parameter(torch.linspace(-1.0, 1.0, num_components))

    def forward(self, y: Tensor) -> None:
        with pyro.plate("rows", len(y)):
            logits = self.weights.expand(len(y), -1)
            z = pyro.sample("z", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
            pyro.sample("obs", dist.Normal(self.locs[z], 0.7), obs=y)


class ClustersGuide(nn.Module):
    """Its guide, by hand."""

    def __init__(self, num_components: int = 3) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-1.0, 1.0, num_components))

    def forward(self, y: Tensor) -> None:
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Categorical(logits=y[:, None] * self.slope))


class ClustersPrior(ClustersGuide):
    """The prior as guide, by hand."""

    objective = "jensen"

    def __init__(self, model: Clusters) -> None:
        super().__init__()
        self.model = (model,)

    def forward(self, y: Tensor) -> None:
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Categorical(logits=self.model[0].weights.expand(len(y), -1)))


def by_hand(objective: str) -> tuple[Clusters, Any]:
    model = Clusters()
    return model, guide_by_hand(model, objective)


def guide_by_hand(model: Clusters, objective: str) -> Any:
    if objective == "marginal":
        return no_guide
    return ClustersPrior(model) if objective == "jensen" else ClustersGuide()


RELAXED = [(n, o) for n, o in EVERY if TREATMENTS[n].needs_relaxed_likelihood]
DISCRETE = [pair for pair in EVERY if pair not in RELAXED]
RESPONSES = (-1.4, -0.8, 0.1, 0.4, 1.2, 2.0, 2.3)


@pytest.mark.parametrize(("name", "objective"), DISCRETE)
def test_a_program_that_is_not_ours_is_fitted(name: str, objective: str) -> None:
    model, guide = by_hand(objective)
    before, after = fitted_by_hand(name, objective, model, guide)
    assert after < before - 0.3


def fitted_by_hand(name: str, objective: str, model: Any, guide: Any) -> tuple[float, float]:
    """The loss before and after 60 steps: Pyro's, or, where it is another quantity, its own."""
    y = torch.tensor(RESPONSES)

    def exact() -> float:
        if not TREATMENTS[name].exact_value:
            own = Treatment_ELBO(name, noise=Seeded(1))
            return sum(own.loss(model, guide, y) for _ in range(100)) / 100
        model_guide = guide if objective == "marginal" else infer.config_enumerate(guide)
        return float(enumerated().loss(model, model_guide, y))

    loss = Treatment_ELBO(name, noise=Seeded(0))(model, guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    before = exact()
    for _ in range(60):
        optimiser.zero_grad()
        loss(y).backward()
        optimiser.step()
    return before, exact()


@pytest.mark.parametrize(
    ("name", "objective"), [(n, o) for n, o in DISCRETE if TREATMENTS[n].exact_value]
)
def test_a_program_that_is_not_ours_has_the_value_that_pyro_says(name: str, objective: str) -> None:
    """In expectation over all noise; Pyro's is enumerated, or from its own traces at each z."""
    y = torch.tensor(RESPONSES[:2])
    model, guide = by_hand(objective)
    options = small(TREATMENTS[name])
    warm = Treatment_ELBO(name, **options)
    warm.loss(model, guide, y)

    def value(noise: Replay) -> torch.Tensor:
        elbo = Treatment_ELBO(name, noise=noise, **options)
        elbo.state = warm.state
        return torch.tensor(elbo.loss(model, guide, y))

    ours = float(sum_of(p * found for p, found in outcomes(value, Corner)))
    if objective == "iwae":
        log_w, log_q = weights_by_pyro(model, guide, y)
        number = number_weighted(TREATMENTS[name], options)
        expected = -float(importance_weighted(log_w, log_q, number).sum())
    else:
        exact = guide if objective == "marginal" else infer.config_enumerate(guide)
        expected = enumerated().loss(model, exact, y)
    assert ours == pytest.approx(expected, rel=1e-10)


def weights_by_pyro(model: Any, guide: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    """log p(y, z = k) / q(z = k) and log q(z = k), (N, K), from Pyro's traces at each k."""
    columns = []
    for k in range(3):
        at = {"z": torch.full((len(y),), k)}
        both = []
        for program in (model, guide):
            trace = poutine.trace(poutine.condition(program, data=at)).get_trace(y)
            trace.compute_log_prob()
            nodes = [n for n in trace.nodes.values() if "log_prob" in n and n["name"] != "rows"]
            both.append(sum(n["log_prob"].detach() for n in nodes))
        columns.append(both)
    log_p, log_q = (torch.stack(list(side), -1) for side in zip(*columns, strict=True))
    return log_p - log_q, log_q


@pytest.mark.parametrize(("name", "objective"), RELAXED)
def test_a_program_that_knows_integers_alone_is_refused_clearly(name: str, objective: str) -> None:
    model, guide = by_hand(objective)
    with pytest.raises(InputError, match=name):
        Treatment_ELBO(name)(model, guide)(torch.tensor(RESPONSES))


class Affine(Clusters):
    """Arithmetic in z runs with weights too, and means something else."""

    def forward(self, y: Tensor) -> None:
        with pyro.plate("rows", len(y)):
            logits = self.weights.expand(len(y), -1)
            z = pyro.sample("z", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
            pyro.sample("obs", dist.Normal(self.locs[0] + 0.5 * z, 0.7), obs=y)


@pytest.mark.parametrize(("name", "objective"), RELAXED)
@pytest.mark.parametrize("num_data", [3, 5])
def test_arithmetic_in_z_does_not_pass_for_a_relaxed_likelihood(
    name: str, objective: str, num_data: int
) -> None:
    """With as many data as experts the shapes would even broadcast."""
    guide = guide_by_hand(Clusters(), objective)
    with pytest.raises(InputError, match=name):
        Treatment_ELBO(name)(Affine(), guide)(torch.tensor(RESPONSES[:num_data]))


class Relaxable(Clusters):
    """The same program, that also takes weights of the components."""

    def forward(self, y: Tensor) -> None:
        with pyro.plate("rows", len(y)):
            logits = self.weights.expand(len(y), -1)
            z = pyro.sample("z", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
            loc = z @ self.locs if z.is_floating_point() else self.locs[z]
            pyro.sample("obs", dist.Normal(loc, 0.7), obs=y)


@every
def test_a_program_that_takes_weights_works_with_all(name: str, objective: str) -> None:
    model = Relaxable()
    guide = guide_by_hand(model, objective)
    before, after = fitted_by_hand(name, objective, model, guide)
    assert after < before - 0.1


@pytest.mark.parametrize("where", ["model", "guide"])
def test_a_parameter_outside_every_module_is_refused(where: str) -> None:
    """It would live in a store that is thrown away, and never be trained."""

    def stray(*args: object) -> None:
        pyro.param("stray", torch.tensor(0.0))

    def model(y: torch.Tensor) -> None:
        if where == "model":
            stray()
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Categorical(logits=torch.zeros(2)))
            pyro.sample("obs", dist.Normal(z.to(y.dtype), 1.0), obs=y)

    def silent(*args: object) -> None:
        """A guide without sites."""

    guide = stray if where == "guide" else silent
    with pytest.raises(InputError, match="stray"):
        Treatment_ELBO("enumerate").loss(model, guide, torch.zeros(3))
