"""Where two treatments are one, where one is exact, and where Pyro's own answer is another."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import pyro.infer as infer
import pytest
import torch
from problems import (
    Replay,
    exact_gradient,
    expected_gradient,
    flat_gradient,
    gradient,
    problem,
)

from pyromoe.guides import Seeded, log_prob
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.inference.treatments.reweighted_wake_sleep import with_uniform
from pyromoe.inference.treatments.stratified import strata
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from torch import Tensor

CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-10}


def one(name: str, seed: int = 0, objective: str = "elbo", **options: Any) -> Tensor:
    """One estimate on five data and four experts, (P,)."""
    return gradient(TREATMENTS[name], problem(5, 4), objective, Seeded(seed), **options)


@pytest.mark.parametrize("num_samples", [2, 3, 5])
def test_leave_one_out_is_the_gradient_of_the_log_variance(num_samples: int) -> None:
    """Half the sample variance of log p(y, z) - log q(z), z held fixed (VarGrad)."""
    p = problem(5, 4)
    guide = list(p.amortised.parameters())
    log_p, ell, log_q = p.log_parts()
    z = Seeded(0).categorical(log_q, num_samples)
    f = log_prob(log_p, z) + ell.gather(-1, z.T).T - log_prob(log_q, z)
    half_variance = f.var(0).sum() / 2
    elbo = Treatment_ELBO("leave_one_out", noise=Replay(z), num_samples=num_samples)
    loss = elbo.differentiable_loss(p.model, p.amortised, p.x, p.y)
    found, expected = (flat_gradient(v, guide) for v in (loss, half_variance))
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_two_means_of_one_other_draw_are_the_same(seed: int) -> None:
    runs = [one("vimco", seed, "iwae", num_samples=2, mean=m) for m in ("arithmetic", "geometric")]
    torch.testing.assert_close(*runs, **CLOSE)
    more = [one("vimco", seed, "iwae", num_samples=3, mean=m) for m in ("arithmetic", "geometric")]
    assert not torch.allclose(more[0], more[1])


@pytest.mark.parametrize("objective", ["jensen", "elbo"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unordered_set", {"num_samples": 4}),
        ("unordered_set", {"num_samples": 9}),
        ("sum_and_sample", {"num_exact": 4}),
        ("sum_and_sample", {"num_exact": 3}),  # a single expert is left to be drawn
    ],
)
def test_without_anything_left_to_chance_the_gradient_is_exact(
    name: str, options: dict[str, int], objective: str
) -> None:
    exact = exact_gradient(problem(5, 4), objective)
    for seed in range(3):
        torch.testing.assert_close(one(name, seed, objective, **options), exact, **CLOSE)


@pytest.mark.parametrize("baseline", ["exact", "none"])
def test_a_sum_with_a_sampled_rest_is_unbiased_with_either_baseline(baseline: str) -> None:
    p = problem()
    found = expected_gradient(TREATMENTS["sum_and_sample"], p, "elbo", None, baseline=baseline)
    torch.testing.assert_close(found, exact_gradient(p, "elbo"), **CLOSE)


@pytest.mark.parametrize(
    ("name", "objective", "options"),
    [
        ("leave_one_out", "elbo", {"num_samples": 3}),
        ("stratified", "elbo", {"num_samples": 3}),
        ("unordered_set", "elbo", {"num_samples": 3}),
        ("vimco", "iwae", {"num_samples": 3}),
        ("vimco", "iwae", {"num_samples": 3, "mean": "geometric"}),
        ("vimco", "iwae", {"num_samples": 4}),
        ("ovis", "iwae", {"num_samples": 2, "num_auxiliary": 3}),
        ("ovis", "iwae", {"num_samples": 3, "num_auxiliary": 1}),
    ],
)
def test_more_draws_stay_unbiased(name: str, objective: str, options: dict[str, Any]) -> None:
    p = problem(num_data=1, num_experts=4 if name == "unordered_set" else 3)
    found = expected_gradient(TREATMENTS[name], p, objective, start(name, p, objective), **options)
    exact = exact_gradient(p, objective, options["num_samples"])
    torch.testing.assert_close(found, exact, **CLOSE)


def start(name: str, p: Any, objective: str) -> Any:
    elbo = Treatment_ELBO(name, noise=Seeded(1))
    elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return elbo.state


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_the_strata_together_are_q(number: int) -> None:
    """Each is a distribution, and their mean is q, wherever the edges cut an expert in two."""
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    logits[3, 2] = -torch.inf
    q = logits.softmax(-1)
    within = strata(q.log(), number).exp()
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(within.sum(-1), torch.ones(number, 20), **close)
    torch.testing.assert_close(within.mean(0), q, **close)
    assert bool((within[:, 3, 2] == 0).all())


@pytest.mark.parametrize("name", ["vimco", "ovis"])
def test_the_bound_may_have_the_gate_as_guide(name: str) -> None:
    """Its gradient then runs through p and q, which are one: log w is the likelihood."""
    p = problem()
    log_p, ell, _ = p.log_parts()
    options = {"num_samples": 2} | ({"num_auxiliary": 1} if name == "ovis" else {})
    bound = torch.tensor(0.0)
    for i in range(3):
        for j in range(3):
            mean = ell[:, [i, j]].logsumexp(-1) - math.log(2)
            bound = bound + ((log_p[:, i] + log_p[:, j]).exp() * mean).sum()
    parameters = list(p.model.parameters())
    prior = problem().guide("jensen").__class__(p.model)

    class WithPrior(type(p)):  # type: ignore[misc]
        def guide(self, objective: str) -> Any:
            return prior

        def parameters(self, objective: str) -> list[Tensor]:
            return list(parameters)

    gated = WithPrior(p.model, p.amortised, p.x, p.y)
    found = expected_gradient(TREATMENTS[name], gated, "iwae", None, **options)
    torch.testing.assert_close(found, flat_gradient(bound, parameters), **CLOSE)


def test_the_bound_comes_closer_to_the_marginal_with_more_draws() -> None:
    p = problem(num_data=1)
    exact = float(p.exact("marginal").detach())
    gaps = [exact - float(p.exact("iwae", s).detach()) for s in (1, 2, 4, 6)]
    assert all(a > b > 0 for a, b in pairwise(gaps))


@pytest.mark.parametrize("objective", ["jensen", "elbo"])
def test_q_baseline_has_no_noise_where_it_has_learned_the_likelihood(objective: str) -> None:
    """Every draw gives the exact gradient of gate and guide."""
    p = problem(num_data=3)
    elbo = Treatment_ELBO("q_baseline", noise=Seeded(0), hidden=60)
    elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    ell = p.log_parts()[1].detach()
    features = log_joint(p.model, p.x, p.y).features()
    hidden = torch.relu(features @ elbo.state["hidden"] + elbo.state["hidden_bias"])
    mean = elbo.state["past"][0] / elbo.state["past"][1]
    learned = elbo.state | {"output": torch.linalg.pinv(hidden) @ (ell - mean)}
    learned["output_bias"] = torch.zeros(3)
    parameters = [*p.model.gate.parameters(), *p.amortised.parameters()]
    exact = flat_gradient(p.exact(objective), parameters)
    for seed in range(3):
        elbo = Treatment_ELBO("q_baseline", noise=Seeded(seed), hidden=60)
        elbo.state = learned
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        torch.testing.assert_close(flat_gradient(-loss, parameters), exact, rtol=0, atol=1e-8)


# Where Pyro's answer is another

NUM_DATA, NUM_EXPERTS = 16, 5


class Rows:
    """Sixteen data, five experts of fixed mean, a free guide."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.means = 1.5 * torch.randn(NUM_EXPERTS, generator=generator)
        self.y = torch.randn(NUM_DATA, generator=generator)
        self.phi = torch.randn(NUM_DATA, NUM_EXPERTS, generator=generator)

    def model(self, y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Categorical(logits=torch.zeros(len(y), NUM_EXPERTS)))
            pyro.sample("y", dist.Normal(self.means[z], 1.0), obs=y)

    def pyro_guide(self, y: Tensor) -> None:
        phi = pyro.param("phi", self.phi.clone())
        infer_baseline: Any = {"baseline": {"use_decaying_avg_baseline": True}}
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Categorical(logits=phi[: len(y)]), infer=infer_baseline)


class Guide(torch.nn.Module):
    """The same guide, its parameter in a module."""

    def __init__(self, phi: Tensor) -> None:
        super().__init__()
        self.phi = torch.nn.Parameter(phi.clone())

    def forward(self, y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Categorical(logits=self.phi[: len(y)]))


def test_pyros_multi_sample_bound_does_not_train_a_discrete_guide_and_vimco_does() -> None:
    rows = Rows()
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    bound = infer.RenyiELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    for _ in range(20):
        bound.loss_and_grads(rows.model, rows.pyro_guide, rows.y)
    of_pyro = pyro.get_param_store()._params["phi"].grad
    pyro.clear_param_store()
    assert of_pyro is None or float(of_pyro.abs().max()) == 0
    guide = Guide(rows.phi[:1])
    y = rows.y[:1]
    ell = dist.Normal(rows.means, 1.0).log_prob(y[:, None])
    phi = rows.phi[:1].clone().requires_grad_()
    log_q = phi.log_softmax(-1)
    log_w = ell - math.log(NUM_EXPERTS) - log_q
    total = torch.tensor(0.0)
    found = torch.zeros_like(phi)
    for i in range(NUM_EXPERTS):
        for j in range(NUM_EXPERTS):
            chance = (log_q[0, i] + log_q[0, j]).exp()
            total = total + chance * (log_w[0, [i, j]].logsumexp(-1) - math.log(2))
            noise = Replay(torch.tensor([[i], [j]]))
            elbo = Treatment_ELBO("vimco", noise=noise, num_samples=2)
            loss = elbo.differentiable_loss(rows.model, guide, y)
            (g,) = torch.autograd.grad(-loss, [guide.phi])
            found = found + chance.detach() * g
    (exact,) = torch.autograd.grad(total, [phi])
    torch.testing.assert_close(found, exact, **CLOSE)
    assert float(exact.norm()) > 0.1


def effective(weights: Tensor) -> Tensor:
    """The effective sample size of weights that sum to 1 over the first dimension."""
    return 1 / weights.square().sum(0)


def wake_error(step: Any, target: Tensor, repeats: int) -> float:
    """How far the mean of a guide's gradient is from the inclusive divergence's, relatively."""
    mean = sum((step() for _ in range(repeats)), torch.zeros_like(target)) / repeats
    return float((mean - target).norm() / target.norm())


def test_wake_sleep_weights_are_normalised_for_each_datum() -> None:
    """Over 16 data at once, as in Pyro, one of 20 particles has nearly all the weight."""
    rows = Rows()
    log_q = rows.phi.log_softmax(-1)
    ell = dist.Normal(rows.means, 1.0).log_prob(rows.y[:, None])
    joint = (ell - math.log(NUM_EXPERTS)) - log_q
    sizes = []
    for seed in range(200):
        z = Seeded(seed).categorical(log_q, 20)
        log_w = joint.gather(-1, z.T).T  # (S, N)
        together = effective(log_w.sum(-1).softmax(0))
        sizes.append(torch.stack([together, effective(log_w.softmax(0)).mean()]))
    jointly, apart = torch.stack(sizes).mean(0).tolist()
    assert jointly < 2
    assert apart > 7

    target = ell.softmax(-1) - log_q.exp()
    pyro.set_rng_seed(0)
    of_pyro = infer.ReweightedWakeSleep(
        num_particles=20, vectorize_particles=True, max_plate_nesting=1
    )

    def pyros() -> Tensor:
        pyro.clear_param_store()
        of_pyro.loss_and_grads(rows.model, rows.pyro_guide, rows.y)
        phi: Any = pyro.get_param_store()._params["phi"]
        gradient: Tensor = -phi.grad
        return gradient.clone()

    guide, noise = Guide(rows.phi), Seeded(0)
    elbo = Treatment_ELBO("reweighted_wake_sleep", noise=noise, num_samples=20)

    def ours() -> Tensor:
        loss = elbo.differentiable_loss(rows.model, guide, rows.y)
        return -torch.autograd.grad(loss, [guide.phi])[0]

    error = wake_error(ours, target, 200)
    assert error < 0.25
    assert wake_error(pyros, target, 200) > 2 * error
    pyro.clear_param_store()


def test_a_defensive_mixture_proposes_what_q_has_given_up() -> None:
    log_q = torch.tensor([[0.0, -200.0, -200.0], [0.0, -200.0, -torch.inf]]).log_softmax(-1)
    proposal = with_uniform(log_q, 0.3).exp()
    torch.testing.assert_close(proposal[0], torch.tensor([0.8, 0.1, 0.1]))
    torch.testing.assert_close(proposal[1], torch.tensor([0.85, 0.15, 0.0]))


@pytest.mark.parametrize(
    "name", ["reinforce_decaying_baseline", "stratified", "reinforce_neural_baseline", "q_baseline"]
)
def test_a_baseline_takes_a_short_last_batch_where_pyros_does_not(name: str) -> None:
    rows = Rows()
    guide, elbo = Guide(rows.phi), Treatment_ELBO(name, noise=Seeded(0))
    for batch in (rows.y, rows.y[:7], rows.y):
        loss = elbo.differentiable_loss(rows.model, guide, batch)
        assert loss.isfinite()
    pyro.clear_param_store()
    of_pyro = infer.TraceGraph_ELBO(max_plate_nesting=1)
    of_pyro.loss_and_grads(rows.model, rows.pyro_guide, rows.y)
    with pytest.raises(RuntimeError, match="size"):
        of_pyro.loss_and_grads(rows.model, rows.pyro_guide, rows.y[:7])
    pyro.clear_param_store()
