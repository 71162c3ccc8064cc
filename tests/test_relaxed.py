"""Treatments with Gumbel noise: unbiasedness by quadrature, and the Concrete density.

For relaxed treatments the exact side differentiates the density of the relaxed z, the treatment
the draw of z.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from problems import (
    EVERY,
    Corner,
    Problem,
    Replay,
    asks_for,
    flat_gradient,
    outcomes,
    problem,
    sum_of,
    warm_state,
)
from quadrature import (
    exact_logits,
    grid,
    log_density_of_differences,
    over_triangle,
    repeated,
    treated_gradient,
)

from pyromoe.guides import RelaxedOneHotCategorical, Seeded
from pyromoe.guides.concrete import concrete, log_density
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models.blend import Mix

MIXES: list[Mix] = ["parameters", "log_likelihoods", "likelihoods"]


def relaxed_gradient(p: Problem, objective: str, temperature: float, kl: str) -> Tensor:
    """The same, differentiating the density of z instead of the draw, (2, K)."""
    points, step = grid()
    log_p, _, log_q = (part.detach() for part in p.log_parts())
    gate = torch.zeros(3, requires_grad=True)
    guide = torch.zeros(3, requires_grad=True)
    a = (log_q if objective == "elbo" else log_p)[0] + guide
    prior = (log_p[0] + gate).log_softmax(-1) if objective == "elbo" else log_p[0]
    # Integrate over v = (log z_1 / z_3, log z_2 / z_3), where v = (difference + noise) / t.
    v = points / temperature
    difference = a[:2] - a[2]
    noise = temperature * v - difference
    density = log_density_of_differences(noise).exp() * step**2
    log_z = torch.cat([v, torch.zeros(len(v), 1)], -1).log_softmax(-1)
    many = repeated(p, len(v))
    with torch.no_grad():
        f = log_joint(many.model, many.x, many.y).likelihood(log_z.exp()[None])[0]
    if kl == "density":
        ratio = log_density(prior, log_z, temperature) - log_density(a, log_z, temperature)
        value = (density * (f + ratio)).sum()
    else:
        q = a.log_softmax(-1)
        value = (density * f).sum() - (q.exp() * (q - prior)).sum()
    both = torch.autograd.grad(value, [gate, guide], allow_unused=True)
    return torch.stack([torch.zeros(3) if g is None else g for g in both])


def deviation(
    treatment: Treatment[Any], objective: str, mix: Mix, temperature: float, kl: str
) -> float:
    p = problem(num_data=1, mix=mix)
    mean = treated_gradient(treatment, p, objective, temperature=temperature, kl=kl)
    exact = relaxed_gradient(p, objective, temperature, kl)
    return float((mean - exact).abs().max())


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("objective", ["jensen", "elbo"])
@pytest.mark.parametrize("kl", ["categorical", "density"])
def test_gumbel_softmax_is_unbiased_for_the_relaxed_objective(
    objective: str, mix: Mix, kl: str
) -> None:
    assert deviation(TREATMENTS["gumbel_softmax"], objective, mix, 1.0, kl) < 1e-7


@pytest.mark.parametrize("objective", ["jensen", "elbo"])
def test_a_temperature_off_by_a_thousandth_is_seen(objective: str) -> None:
    """A test of the test above."""
    right = TREATMENTS["gumbel_softmax"]

    def slightly_warm(j: Any, logits: Tensor, config: Any, state: Any, noise: Any) -> Any:
        warm = replace(config, temperature=1.001 * config.temperature)
        return right.objective(j, logits, warm, state, noise)

    wrong = replace(right, objective=slightly_warm)
    assert deviation(wrong, objective, "log_likelihoods", 1.0, "categorical") > 1e-6


# Score functions with a relaxed control variate

WITH_GUMBEL = [(n, o) for n, o in EVERY if TREATMENTS[n].unbiased and "gumbel" in asks_for(n, o)]
unbiased = pytest.mark.parametrize(("name", "objective"), WITH_GUMBEL)


def arbitrary_state(treatment: Treatment[Any], p: Problem, objective: str) -> Any:
    """A state of random numbers: what it has learned must not matter."""
    state = warm_state(treatment, p, objective, Seeded(1))
    generator = torch.Generator().manual_seed(0)
    if state is None:
        return None
    return {n: torch.randn(t.shape, generator=generator) for n, t in state.items()}


def mean_over_noise(treatment: Treatment[Any], p: Problem, objective: str) -> Tensor:
    """The expected gradient in the gate's and the guide's logits, (2, K)."""
    if "categorical" not in asks_for(treatment.name, objective):
        return over_triangle(treatment, p, objective)
    state = arbitrary_state(treatment, p, objective)
    log_q = p.log_parts()[2 if objective == "elbo" else 0].detach()
    return sum_of(
        log_q[0, z].exp() * treated_gradient(treatment, p, objective, z=z, state=state)
        for z in range(3)
    )


@unbiased
@pytest.mark.parametrize("mix", MIXES)
def test_a_control_variate_leaves_the_mean_alone(name: str, objective: str, mix: Mix) -> None:
    p = problem(num_data=1, mix=mix)
    mean = mean_over_noise(TREATMENTS[name], p, objective)
    assert float((mean - exact_logits(p, objective)).abs().max()) < 1e-7


@unbiased
def test_a_bias_of_a_thousandth_is_seen(name: str, objective: str) -> None:
    """A test of the test above: the score is 0.1% too large."""
    right = TREATMENTS[name]

    def wrong(j: Any, logits: Tensor, config: Any, state: Any, noise: Any) -> Any:
        larger = logits.detach() + 1.001 * (logits - logits.detach())
        return right.objective(j, larger, config, state, noise)

    p = problem(num_data=1)
    mean = mean_over_noise(replace(right, objective=wrong), p, objective)
    assert float((mean - exact_logits(p, objective)).abs().max()) > 1e-5


@unbiased
def test_the_experts_gradient_is_exact_whatever_the_gumbel_noise(name: str, objective: str) -> None:
    p = problem()
    state = arbitrary_state(TREATMENTS[name], p, objective)
    experts = list(p.model.experts.parameters())

    def of_experts(noise: Replay) -> Tensor:
        elbo = Treatment_ELBO(name, noise=noise)
        elbo.state = state
        loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
        return flat_gradient(-loss, experts)

    found = sum_of(q * g for q, g in outcomes(of_experts, Corner))
    exact = flat_gradient(p.exact(objective), experts)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-10)


# The Concrete density


def test_the_density_agrees_with_torch_where_torch_is_finite() -> None:
    logits, t = torch.randn(50, 4), torch.tensor(0.7)
    stock = torch.distributions.RelaxedOneHotCategorical(t, logits=logits)
    z = stock.rsample()
    jacobian = z.log().sum(-1)  # from z to log z
    ours = log_density(logits, z.log()[None], t)[0]
    torch.testing.assert_close(ours, stock.log_prob(z) + jacobian)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_the_density_is_finite_at_any_temperature(temperature: float) -> None:
    logits = (3 * torch.randn(4000, 10)).float().requires_grad_()
    log_z = concrete(logits.detach(), Seeded(0).gumbel(logits, 1), temperature)
    value = log_density(logits, log_z, temperature)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_the_stock_density_is_not() -> None:
    """The control of the test above, and the reason for our own density."""
    logits = (3 * torch.randn(4000, 10)).float()
    stock = torch.distributions.RelaxedOneHotCategorical(
        torch.tensor(0.1), logits=logits, validate_args=False
    )
    assert not stock.log_prob(stock.rsample()).isfinite().all()


def test_a_category_without_mass_leaves_the_density_of_the_others() -> None:
    logits = torch.tensor([[0.3, -torch.inf, -0.2]])
    gumbel = torch.randn(5, 1, 3)
    log_z = concrete(logits, gumbel, 0.5)
    without = log_density(logits[:, [0, 2]], log_z[..., [0, 2]], 0.5)
    torch.testing.assert_close(log_density(logits, log_z, 0.5), without)


def test_a_corner_has_no_density() -> None:
    relaxed = RelaxedOneHotCategorical(0.5, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no density"):
        relaxed.log_prob(torch.eye(3)[:2])
