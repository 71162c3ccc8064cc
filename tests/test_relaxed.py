"""Relaxed treatments: the expectation over continuous noise, by quadrature.

Three experts and one datum leave two noise variables, the differences of three Gumbels, whose
density is 2 exp(-a-b) / (1 + exp(-a) + exp(-b))^3. The trapezoid rule converges exponentially
for a smooth integrand, so the comparison below is not a matter of luck: it sees a bias of 1e-7.
The exact side differentiates the density of the relaxed z, the treatment the draw of z.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from problems import Problem, Replay, problem

from pyromoe.guides import RelaxedOneHotCategorical, Seeded
from pyromoe.guides.concrete import concrete, log_density
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models.blend import Mix

MIXES: list[Mix] = ["parameters", "log_likelihoods", "likelihoods"]


def grid(step: float = 0.2, reach: float = 36.0) -> tuple[Tensor, float]:
    """Points (M, 2) and their spacing."""
    line = torch.arange(-reach, reach, step)
    return torch.cartesian_prod(line, line), step


def log_density_of_differences(d: Tensor) -> Tensor:
    """Of (g_1 - g_3, g_2 - g_3), three standard Gumbels; d is (M, 2)."""
    zeros = torch.zeros(len(d), 1)
    total: Tensor = -d.sum(-1) - 3 * torch.cat([zeros, -d], -1).logsumexp(-1)
    return total + torch.log(torch.tensor(2.0))


def repeated(p: Problem, times: int) -> Problem:
    """The same datum many times, one row for each point of the grid."""
    return replace(p, x=p.x.expand(times, 1), y=p.y.expand(times))


def treated_gradient(
    treatment: Treatment[Any], p: Problem, objective: str, step: float = 0.2, reach: float = 36.0
) -> Tensor:
    """The expected gradient in the gate's and the guide's logits, (2, K)."""
    points, step = grid(step, reach)
    weights = log_density_of_differences(points).exp() * step**2
    gumbel = torch.cat([points, torch.zeros(len(points), 1)], -1)[None]
    gate = torch.zeros(len(points), 3, requires_grad=True)
    guide = torch.zeros(len(points), 3, requires_grad=True)
    many = repeated(p, len(points))

    def shifted(log_joint: Any, logits: Tensor, config: Any, state: Any, noise: Any) -> Any:
        # In the Jensen bound the guide is the gate, so only one of the two is moved.
        prior = log_joint.log_prior
        moved = log_joint.with_prior((prior + gate).log_softmax(-1))
        joint = log_joint if objective == "jensen" else moved
        logits = (logits.detach() + guide).log_softmax(-1)
        return treatment.objective(joint, logits, config, state, noise)

    elbo = Treatment_ELBO(replace(treatment, objective=shifted), noise=Replay(gumbel=gumbel))
    elbo.config = replace(elbo.config, **OPTIONS)
    value = -elbo.differentiable_loss(many.model, many.guide(objective), many.x, many.y)
    both = torch.autograd.grad(value, [gate, guide], allow_unused=True)
    rows = [torch.zeros_like(gate) if g is None else g for g in both]
    return torch.stack([(weights[:, None] * g).sum(0) for g in rows])


OPTIONS: dict[str, Any] = {}


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
    OPTIONS.clear()
    OPTIONS.update({"temperature": temperature, "kl": kl})
    mean = treated_gradient(treatment, p, objective)
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


def exact_jensen(p: Problem) -> Tensor:
    log_p, ell, _ = (part.detach()[0] for part in p.log_parts())
    return log_p.exp() * (ell - (log_p.exp() * ell).sum())


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through_gumbel_softmax"])
def test_the_linear_continuation_has_a_bias_of_second_order(name: str) -> None:
    """Half the temperature, a quarter of the bias; the treatments say they are biased."""
    p = problem(num_data=1)
    errors = []
    for temperature in (0.3, 0.15):
        OPTIONS.clear()
        OPTIONS["temperature"] = temperature
        mean = treated_gradient(TREATMENTS[name], p, "jensen", step=0.08, reach=20.0)[1]
        errors.append(float((mean - exact_jensen(p)).norm()))
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert errors[0] > 1e-3


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
