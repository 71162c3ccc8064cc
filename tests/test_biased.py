"""Every biased treatment, held to the mean gradient that its docstring states.

The expectation over discrete noise is a finite sum; that over Gumbel noise is an integral over one
or two variables. Both are compared with the formula, written here by hand.
"""

from __future__ import annotations

import math
import re
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args

import pytest
import torch
from problems import (
    Problem,
    Replay,
    expected_gradient,
    flat_gradient,
    gradient,
    problem,
    sum_of,
)
from quadrature import exact_logits, mean_given, picked_mean, treated_gradient

from pyromoe.guides import Seeded, one_hot
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import log_joint
from pyromoe.models.blend import Mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


BIASED = [t.name for t in TREATMENTS.values() if not t.unbiased]


@pytest.mark.parametrize("name", BIASED)
def test_the_mean_gradient_is_as_stated(name: str) -> None:
    """A biased treatment without an entry in the table below fails here."""
    PINNED[name](name)


@pytest.mark.parametrize("name", list(TREATMENTS))
def test_the_description_says_whether_there_is_a_bias(name: str) -> None:
    said = TREATMENTS[name].description
    wanted = "Unbiased|Exact" if TREATMENTS[name].unbiased else "[Bb]ias|Not an estimate"
    assert re.search(wanted, said)


# Where noise is discrete, or there is none


def assert_mean(
    name: str, objective: str, value: Callable[[Problem], Tensor], mix: Mix, **options: Any
) -> None:
    """The mean gradient is that of a value in closed form, and not the exact one."""
    p = problem(mix=mix)
    found = expected_gradient(TREATMENTS[name], p, objective, None, **options)
    parameters = p.parameters(objective)
    torch.testing.assert_close(found, flat_gradient(value(p), parameters), rtol=0, atol=1e-10)
    exact = flat_gradient(p.exact(objective, 2), parameters)
    assert float((found - exact).norm() / exact.norm()) > 0.01


def hard_expectation_maximisation(name: str) -> None:
    def largest(p: Problem) -> Tensor:
        log_p, ell, _ = p.log_parts()
        return (log_p + ell).amax(-1).sum()

    assert_mean(name, "marginal", largest, "parameters")


def truncated_enumeration(name: str) -> None:
    def favoured(p: Problem) -> Tensor:
        log_p, ell, _ = p.log_parts()
        least = one_hot(log_p.argmin(-1)[None], 3, log_p)[0] == 1
        return (log_p + ell).masked_fill(least, -torch.inf).logsumexp(-1).sum()

    assert_mean(name, "marginal", favoured, "parameters", num_evaluated=2)


def sparse_marginal(name: str) -> None:
    """The best point of every face of the simplex, in closed form; the best face."""

    def sparsemax(a: Tensor) -> tuple[Tensor, Tensor]:
        s = a - (a.sum() - 1) / len(a)
        return s, (s * a).sum() - s.square().sum() / 2  # |s - a|^2, less |a|^2 of all experts

    def entmax(a: Tensor) -> tuple[Tensor, Tensor]:
        h, n = a / 2, len(a)
        root = (h.sum().square() - n * (h.square().sum() - 1)).clamp_min(0).sqrt()
        threshold = (h.sum() - root) / n
        s = (h - threshold).clamp_min(0).square()
        s = torch.where(h > threshold, s, -1.0)
        return s, (s * a).sum() + 4 / 3 * (1 - s.clamp_min(0).pow(1.5).sum())

    def marginal(p: Problem, gate: Any) -> Tensor:
        log_p, ell, _ = p.log_parts()
        total = torch.tensor(0.0)
        for a, values in zip(log_p, ell, strict=True):
            faces = [list(f) for size in (1, 2, 3) for f in combinations(range(3), size)]
            points = [(face, *gate(a[face])) for face in faces]
            valid = [point for point in points if bool(((point[1] > 0) & (point[1] <= 1)).all())]
            face, s, _ = max(valid, key=lambda point: float(point[2].detach()))
            total = total + (s.log() + values[face]).logsumexp(-1)
        return total

    for kind, gate in (("sparsemax", sparsemax), ("entmax", entmax)):
        assert_mean(name, "marginal", partial(marginal, gate=gate), "parameters", gate=kind)


def pairs(log_w: Tensor, log_r: Tensor) -> Tensor:
    """The expected weight of each expert, (N, K), in two self-normalised draws from r."""
    w, r = log_w.detach().exp(), log_r.detach().exp()
    shares = w[:, :, None] / (w[:, :, None] + w[:, None, :])
    return 2 * r * (r[:, None, :] * shares).sum(-1)


def self_normalised_posterior_score(name: str) -> None:
    def weighted(p: Problem) -> Tensor:
        log_p, ell, _ = p.log_parts()
        return (pairs(ell, log_p) * (log_p + ell)).sum()

    assert_mean(name, "marginal", weighted, "parameters", num_samples=2)


def reweighted_wake_sleep(name: str) -> None:
    for share in (0.0, 0.3):

        def weighted(p: Problem, share: float = share) -> Tensor:
            log_p, ell, log_q = p.log_parts()
            r = ((1 - share) * log_q.exp() + share / 3).log()
            return (pairs(log_p + ell - r, r) * (log_p + ell + log_q)).sum()

        assert_mean(name, "iwae", weighted, "parameters", num_samples=2, defensive=share)


def straight_through_mean(
    soft: Callable[[Tensor, int], Tensor], law: Callable[[Tensor], Tensor] = torch.Tensor.exp
) -> Callable[[Problem], Tensor]:
    """Sum_z law_z (f(e_z) + f'(e_z) . soft_z) for soft_z(log q), an (N, K) function of log q."""

    def value(p: Problem) -> Tensor:
        log_p, _, log_q = p.log_parts()
        corners = torch.eye(3)[:, None].expand(3, len(p.x), 3).clone().requires_grad_()
        f = log_joint(p.model, p.x, p.y).likelihood(corners)  # (K, N)
        slopes = torch.autograd.grad(f.sum(), corners, retain_graph=True)[0]
        weights = law(log_q.detach())
        moved = torch.stack([soft(log_q, z) for z in range(3)])  # (K, N, K)
        through = f + (slopes * (moved - moved.detach())).sum(-1)
        kl = (log_q.exp() * (log_q - log_p)).sum()
        return (weights.T * through).sum() - kl

    return value


def straight_through(name: str) -> None:
    assert_mean(name, "elbo", straight_through_mean(lambda a, z: a.exp()), "parameters")


def cooled(a: Tensor, z: int, t: float) -> Tensor:
    return (a / t).softmax(-1)


def decoupled_straight_through(name: str) -> None:
    for forward, backward in ((1.0, 0.5), (2.0, 0.7)):
        mean = straight_through_mean(partial(cooled, t=backward), partial(cooled, z=0, t=forward))
        options = {"forward_temperature": forward, "backward_temperature": backward}
        assert_mean(name, "elbo", mean, "parameters", **options)


def gapped_straight_through(name: str) -> None:
    def soft(a: Tensor, z: int, gap: float, t: float) -> Tensor:
        largest = a.detach().amax(-1)
        columns = []
        for k in range(3):
            wanted = largest if k == z else torch.minimum(a[:, k].detach(), largest - gap)
            columns.append(a[:, k] - a[:, k].detach() + wanted)
        return (torch.stack(columns, -1) / t).softmax(-1)

    for gap, t in ((1.0, 1.0), (0.5, 0.4)):
        mean = straight_through_mean(partial(soft, gap=gap, t=t))
        assert_mean(name, "elbo", mean, "parameters", gap=gap, temperature=t)


def reinmax(name: str) -> None:
    """2 J_m - J_q / 2 at the middle m; that it is the trapezoid rule is in test_unbiased."""

    def jacobian(at: Tensor, a: Tensor) -> Tensor:
        return at * (a - (at * a).sum(-1, keepdim=True))

    def soft(a: Tensor, z: int) -> Tensor:
        q = a.detach().exp()
        middle = (q + torch.eye(3)[z]) / 2
        return 2 * jacobian(middle, a) - jacobian(q, a) / 2

    p = problem(mix="parameters")
    found = expected_gradient(TREATMENTS[name], p, "elbo", None)
    right = flat_gradient(straight_through_mean(soft)(p), p.parameters("elbo"))
    torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


def sparse_mixer(name: str) -> None:
    def value(p: Problem) -> Tensor:
        log_p, ell, log_q = p.log_parts()
        with torch.no_grad():
            scale = p.model.expert_parameters(p.x)["scale"]
            loc = p.model.expert_parameters(p.x)["loc"]
            # d/ds of log Normal(y; s loc, s scale) at s = 1/2.
            m, sd = loc / 2, scale / 2
            slope = (p.y - m) / sd**2 * loc + ((p.y - m) ** 2 / sd**3 - 1 / sd) * scale
        kl = (log_q.exp() * (log_q - log_p)).sum()
        return (log_q.exp().detach() * ell + log_q.exp() * slope.T).sum() - kl

    assert_mean(name, "elbo", value, "parameters")
    p = problem(mix="log_likelihoods")
    found = expected_gradient(TREATMENTS[name], p, "jensen", None)
    exact = flat_gradient(p.exact("jensen"), p.parameters("jensen"))
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-10)  # the score function itself


def switch(name: str) -> None:
    def value(p: Problem) -> Tensor:
        log_p, ell, _ = p.log_parts()
        z = log_p.argmax(-1)
        chosen = sum(log_p[n, k] + ell[n, k] for n, k in enumerate(z))
        penalty = torch.tensor(-1.0)
        for k in range(3):
            penalty = penalty + 3 * (z == k).double().mean() * log_p.exp()[:, k].mean()
        return chosen - len(p.x) * 0.3 * penalty

    assert_mean(name, "marginal", value, "parameters", balance=0.3)


def noisy_top_k(name: str) -> None:
    """With the noise held fixed: at nothing, and at one draw."""
    for p, noise in ((problem(4), torch.zeros(4, 3)), (problem(4, seed=1), torch.randn(4, 3))):

        class Fixed(Replay):
            def normal(self, logits: Tensor, num_samples: int, noise: Tensor = noise) -> Tensor:
                return noise[None]

        sigma, balance = 0.4, 0.3
        log_p, ell, _ = p.log_parts()
        h = log_p + sigma * noise
        total, use, chance = torch.tensor(0.0), torch.zeros(3), torch.zeros(3)
        for n in range(4):
            out = int(h[n].argmin())
            kept = [k for k in range(3) if k != out]
            w = h[n, kept].softmax(-1)
            total = total + (w.log() + ell[n, kept]).logsumexp(-1)
            for k, weight in zip(kept, w, strict=True):
                use = use + weight * torch.eye(3)[k]
            for k in range(3):
                needed = sorted(float(h[n, j].detach()) for j in range(3) if j != k)[0]
                normal = torch.distributions.Normal(needed, sigma)
                chance = chance + normal.cdf(log_p[n, k]) * torch.eye(3)[k]
        for each in (use, chance):
            total = total - 4 * balance * each.var(unbiased=False) / each.mean().square()
        options = {"standard_deviation": sigma, "balance": balance, "num_evaluated": 2}
        found = gradient(TREATMENTS[name], p, "marginal", Fixed(), None, **options)
        right = flat_gradient(total, p.parameters("marginal"))
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


# Gumbel noise


def second_order(name: str) -> None:
    """The bias of the linear continuation falls by four when the temperature is halved."""
    p, errors = problem(num_data=1), []
    for temperature in (0.3, 0.15):
        mean = treated_gradient(
            TREATMENTS[name], p, "jensen", step=0.08, reach=20.0, temperature=temperature
        )
        errors.append(float((mean - exact_logits(p, "jensen"))[1].norm()))
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert errors[0] > 1e-3


def gumbel_rao(name: str) -> None:
    """The mean of straight-through Gumbel-softmax, whatever the number of perturbations."""
    for mix in get_args(Mix)[:2]:
        p = problem(num_data=1, num_experts=2, mix=mix)
        plain = picked_mean(TREATMENTS["straight_through_gumbel_softmax"], p, 0.5)
        q = p.log_parts()[0].detach()[0].exp()
        options = {"temperature": 0.5, "num_perturbations": 1}
        mean = sum_of(q[z] * mean_given(TREATMENTS[name], p, z, **options) for z in range(2))
        assert float(mean - plain) == pytest.approx(0, abs=1e-9)
        assert abs(float(plain)) > 1e-3
    p = problem(5)
    same = torch.randn(1, 5, 3)
    z = torch.tensor([[0, 1, 2, 1, 0]])
    runs = [
        gradient(
            TREATMENTS[name],
            p,
            "elbo",
            Replay(z, gumbel=same.expand(r, 5, 3)),
            num_perturbations=r,
        )
        for r in (1, 4)
    ]
    torch.testing.assert_close(*runs, rtol=0, atol=1e-12)


def sum_of_components(name: str) -> None:
    p = problem(5)
    for seed in range(3):
        found = gradient(TREATMENTS[name], p, "jensen", Seeded(seed))
        names = [n for n, _ in p.model.named_parameters()]
        sizes = [t.numel() for t in p.model.parameters()]
        parts = dict(zip(names, found.split(sizes), strict=True))
        assert all(float(g.abs().max()) < 1e-12 for n, g in parts.items() if n.startswith("gate"))
        assert float(parts["experts.weight_0"].abs().max()) > 1e-3


def picked_component(name: str) -> None:
    """E = g/2 + t ln 2 (l_1 + l_2) p_1 p_2 (2 p_1 - 1) + O(t^2) for two experts."""
    p = problem(num_data=1, num_experts=2)
    log_p, ell, _ = (part.detach()[0] for part in p.log_parts())
    p_1, p_2 = log_p.exp()
    exact = p_1 * p_2 * (ell[0] - ell[1])
    errors = []
    for t in (0.01, 0.005):
        level = t * math.log(2) * ell.sum() * p_1 * p_2 * (2 * p_1 - 1)
        errors.append(float(picked_mean(TREATMENTS[name], p, t) - exact / 2 - level))
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert float(picked_mean(TREATMENTS[name], p, 1e-7) / exact) == pytest.approx(0.5, abs=1e-6)


def picked_log_component(name: str) -> None:
    p = problem(num_data=1, num_experts=2)
    log_p, ell, _ = (part.detach()[0] for part in p.log_parts())
    exact = log_p.exp().prod() * (ell[0] - ell[1])
    far, near = (float(picked_mean(TREATMENTS[name], p, t) / exact) for t in (2e-7, 1e-7))
    assert near == pytest.approx(math.log(2), abs=1e-6)
    assert (far - math.log(2)) / (near - math.log(2)) == pytest.approx(2.0, rel=0.05)


def linear_straight_through(name: str) -> None:
    second_order(name)
    p = problem(num_data=1, num_experts=2)
    log_p, ell, _ = (part.detach()[0] for part in p.log_parts())
    product = log_p.exp().prod()
    exact = product * (ell[0] - ell[1])
    t = 0.01
    stated = exact * (1 + t**2 * math.pi**2 / 6 * (1 - 6 * product))
    assert float(picked_mean(TREATMENTS[name], p, t) / stated) == pytest.approx(1.0, abs=1e-6)


PINNED: dict[str, Callable[[str], None]] = {
    "decoupled_straight_through": decoupled_straight_through,
    "gapped_straight_through": gapped_straight_through,
    "gumbel_rao": gumbel_rao,
    "gumbel_softmax": second_order,
    "hard_expectation_maximisation": hard_expectation_maximisation,
    "linear_straight_through": linear_straight_through,
    "noisy_top_k": noisy_top_k,
    "picked_component": picked_component,
    "picked_log_component": picked_log_component,
    "reinmax": reinmax,
    "reweighted_wake_sleep": reweighted_wake_sleep,
    "self_normalised_posterior_score": self_normalised_posterior_score,
    "sparse_marginal": sparse_marginal,
    "sparse_mixer": sparse_mixer,
    "straight_through": straight_through,
    "straight_through_gumbel_softmax": second_order,
    "sum_of_components": sum_of_components,
    "switch": switch,
    "truncated_enumeration": truncated_enumeration,
}
