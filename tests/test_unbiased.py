"""Unbiasedness, exactly: the expectation over discrete noise is a finite sum."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

import pytest
import torch
from problems import (
    EVERY,
    Replay,
    asks_for,
    exact_gradient,
    expected_gradient,
    flat_gradient,
    gradient,
    number_weighted,
    problem,
    small,
    warm_state,
)

from pyromoe.guides import Seeded, log_prob
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import log_joint
from pyromoe.models.blend import Mix

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint

TOLERANCE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-10}
unbiased = pytest.mark.parametrize(
    ("name", "objective"),
    [(n, o) for n, o in EVERY if TREATMENTS[n].unbiased and asks_for(n, o) <= {"categorical"}],
)


def deviation(treatment: Treatment[Any], objective: str) -> float:
    p, options = problem(), small(treatment)
    state = warm_state(treatment, p, objective, Seeded(1), **options)
    expected = expected_gradient(treatment, p, objective, state, **options)
    exact = exact_gradient(p, objective, number_weighted(treatment, options))
    return float((expected - exact).abs().max())


@unbiased
def test_expected_gradient_is_the_exact_gradient(name: str, objective: str) -> None:
    """Treatments whose noise is continuous are in test_relaxed."""
    assert deviation(TREATMENTS[name], objective) < 1e-10


@pytest.mark.parametrize("num_samples", [1, 3])
def test_more_draws_stay_unbiased(num_samples: int) -> None:
    reinforce = TREATMENTS["reinforce"]
    p = problem()

    class Fixed(reinforce.config):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(num_samples=num_samples)

    treatment = replace(reinforce, config=Fixed)
    expected = expected_gradient(treatment, p, "elbo", None)
    torch.testing.assert_close(expected, exact_gradient(p, "elbo"), **TOLERANCE)


def mutant(name: str, **changes: Any) -> Treatment[Any]:
    return replace(TREATMENTS[name], **changes)


def scaled_score(
    log_joint: LogJoint, logits: Tensor, config: Any, state: None, noise: Noise
) -> tuple[Tensor, None]:
    """leave_one_out whose score term is 0.1% too large."""
    z = noise.categorical(logits, config.num_samples)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    others = (f.sum(0) - f) / (config.num_samples - 1)
    score = 1.001 * (f - others).detach() * (log_q - log_q.detach())
    return (f + score).mean(0).sum(), state


def baseline_sees_z(
    log_joint: LogJoint, logits: Tensor, config: Any, state: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """A decaying baseline updated with the current draw before it is used."""
    z = noise.categorical(logits, config.num_samples)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    seen = torch.stack([f.detach().mean(), torch.ones(())])
    state = torch.lerp(seen, state, 0.999)
    score = (f - state[0] / state[1]).detach() * (log_q - log_q.detach())
    return (f + score).mean(0).sum(), state


def forgets_the_entropy(
    log_joint: LogJoint, logits: Tensor, config: Any, state: None, noise: Noise
) -> tuple[Tensor, None]:
    """Score function of log p(y, z) without log q(z)."""
    z = noise.categorical(logits, config.num_samples)
    log_q = log_prob(logits, z)
    f = log_joint(z)
    return (f + f.detach() * (log_q - log_q.detach())).mean(0).sum(), state


def weighted_enumeration(
    log_joint: LogJoint, logits: Tensor | None, config: Any, state: None, noise: Noise
) -> tuple[Tensor, None]:
    """A marginal that counts the first expert 0.1% too often."""
    joint = log_joint.enumerate()
    weights = torch.ones(len(joint), 1)
    weights[0] = 1.001
    return (joint + weights.log()).logsumexp(0).sum(), state


MUTANTS = [
    (mutant("leave_one_out", objective=scaled_score), "jensen"),
    (mutant("leave_one_out", objective=scaled_score), "elbo"),
    (mutant("reinforce_decaying_baseline", objective=baseline_sees_z), "elbo"),
    (mutant("reinforce", objective=forgets_the_entropy), "elbo"),
    (mutant("enumerate", objective=weighted_enumeration), "marginal"),
]


@pytest.mark.parametrize(("treatment", "objective"), MUTANTS)
def test_a_small_bias_is_seen(treatment: Treatment[Any], objective: str) -> None:
    """A test of the test above: each mutant is off by about 0.1% or less, and fails it."""
    assert deviation(treatment, objective) > 1e-6


@unbiased
def test_the_level_of_the_likelihood_does_not_matter(name: str, objective: str) -> None:
    """100 nats more for every expert leave the mean gradient as it was."""
    p = problem()
    treatment = TREATMENTS[name]

    def shifted(
        log_joint: LogJoint, logits: Tensor, config: Any, state: Any, noise: Noise
    ) -> tuple[Tensor, Any]:
        stand_in: Any = Shifted(log_joint)
        return treatment.objective(stand_in, logits, config, state, noise)

    moved, options = replace(treatment, objective=shifted), small(treatment)
    state = warm_state(treatment, p, objective, Seeded(1), **options)
    expected = expected_gradient(moved, p, objective, state, **options)
    exact = exact_gradient(p, objective, number_weighted(treatment, options))
    torch.testing.assert_close(expected, exact, rtol=0, atol=1e-10)


class Shifted:
    """log p(y, z | x) + 100."""

    def __init__(self, log_joint: LogJoint) -> None:
        self.log_joint = log_joint
        self.features = log_joint.features

    @property
    def log_prior(self) -> Tensor:
        return self.log_joint.log_prior

    def __call__(self, z: Tensor) -> Tensor:
        return self.log_joint(z) + 100

    def likelihood(self, z: Tensor) -> Tensor:
        return self.log_joint.likelihood(z) + 100

    def enumerate(self) -> Tensor:
        return self.log_joint.enumerate() + 100

    def enumerate_likelihood(self) -> Tensor:
        return self.log_joint.enumerate_likelihood() + 100


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_decaying_baseline_is_the_decaying_mean_of_the_past(decay: float) -> None:
    """b_t = sum_{i < t} decay^(t - 1 - i) mean f_i / sum_{i < t} decay^(t - 1 - i), and b_0 = 0.

    Read off the gradient of each step, so that when b is updated counts as well.
    """
    treatment = TREATMENTS["reinforce_decaying_baseline"]
    config = treatment.config(num_samples=2, decay=decay)
    logits = torch.tensor([[0.2, -0.3, 0.1]] * 4).log_softmax(-1).requires_grad_()
    z = torch.tensor([[0, 1, 2, 1], [2, 2, 1, 0]])  # (S, N)
    sequence = 5 * torch.randn(6, *z.shape, generator=torch.Generator().manual_seed(0))
    log_q = log_prob(logits, z)
    following = iter(sequence.unbind())

    def log_joint(z: Tensor) -> Tensor:
        return next(following) + log_q.detach()

    joint: Any = log_joint
    state = treatment.init(config, joint, logits, Replay(z))
    means: list[float] = []
    for t, f in enumerate(sequence):
        value, state = treatment.objective(joint, logits, config, state, Replay(z))
        past = [decay ** (t - 1 - i) for i in range(t)]
        b = sum(w * m for w, m in zip(past, means, strict=True)) / sum(past) if past else 0.0
        expected = ((f - b) * log_q).mean(0).sum()
        found, right = (flat_gradient(v, [logits]) for v in (value.sum(), expected))
        torch.testing.assert_close(found, right, **TOLERANCE)
        means.append(float(f.mean()))


def test_the_level_moves_a_plug_in_that_is_not_unbiased() -> None:
    """The control of the test above: a picked component moves with the level."""
    p = problem()

    def picked(
        log_joint: LogJoint, logits: Tensor, config: Any, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        z = noise.categorical(logits, 1)
        probability = log_prob(logits, z).exp()
        f = log_joint(z).detach()
        return (f * probability).sum(), state

    def shifted(
        log_joint: LogJoint, logits: Tensor, config: Any, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        stand_in: Any = Shifted(log_joint)
        return picked(stand_in, logits, config, state, noise)

    low, high = (
        expected_gradient(mutant("reinforce", objective=f), p, "jensen", None)
        for f in (picked, shifted)
    )
    assert float((low - high).abs().max()) > 1.0


def test_straight_through_is_exact_for_the_linear_continuation() -> None:
    """sum_k z_k log p(y | z = k) is linear in z, and the derivative of a line is the line's."""
    treatment = TREATMENTS["straight_through"]
    for objective in treatment.objectives:
        p = problem()
        expected = expected_gradient(treatment, p, objective, None)
        torch.testing.assert_close(expected, exact_gradient(p, objective), **TOLERANCE)


def test_straight_through_is_biased_where_parameters_are_mixed() -> None:
    treatment = TREATMENTS["straight_through"]
    p = problem(mix="parameters")
    expected = expected_gradient(treatment, p, "jensen", None)
    exact = exact_gradient(p, "jensen")
    assert float((expected - exact).norm() / exact.norm()) > 0.05


@pytest.mark.parametrize("objective", ["marginal", "jensen", "elbo"])
def test_the_oracle_is_right(objective: str) -> None:
    """The closed form used above, against finite differences of itself."""
    p = problem()
    parameters = p.parameters(objective)
    exact, numeric = flat_gradient(p.exact(objective), parameters), []
    with torch.no_grad():
        fixed = p.model.gate_logits(p.x).log_softmax(-1)  # q sees the gate as a constant
        for parameter in parameters:
            for i in range(parameter.numel()):
                values = []
                for step in (1e-6, -1e-6):
                    parameter.view(-1)[i] += step
                    log_p, ell, _ = p.log_parts()
                    log_q = (fixed + p.network()).log_softmax(-1)
                    values.append(
                        {
                            "marginal": (log_p + ell).logsumexp(-1).sum(),
                            "jensen": (log_p.exp() * ell).sum(),
                            "elbo": (log_q.exp() * (log_p + ell - log_q)).sum(),
                        }[objective]
                    )
                    parameter.view(-1)[i] -= step
                numeric.append(float(values[0] - values[1]) / 2e-6)
    torch.testing.assert_close(exact, torch.tensor(numeric), rtol=1e-5, atol=1e-7)


def test_gradients_of_one_draw_differ_between_draws() -> None:
    """The expectation is not trivially one outcome's value."""
    p = problem()
    draws = [gradient(TREATMENTS["reinforce"], p, "elbo", Seeded(s)) for s in range(10)]
    assert any(not torch.equal(draws[0], other) for other in draws[1:])


@pytest.mark.parametrize("mix", get_args(Mix))
def test_reinmax_is_the_trapezoid_rule_of_each_pair(mix: Mix) -> None:
    """E[grad] = sum_{i<j} q_i q_j (e_i - e_j) . (f'(e_i) + f'(e_j)) / 2 (e_i - e_j)."""
    p = problem(num_data=1, mix=mix)
    gate = p.log_parts()[0].detach().requires_grad_()
    logits = gate.log_softmax(-1)  # (1, K)
    k = logits.shape[-1]
    corners = torch.eye(k)[:, None].requires_grad_()  # (K, 1, K)
    f = log_joint(p.model, p.x, p.y).likelihood(corners)
    slopes = torch.autograd.grad(f.sum(), corners)[0][:, 0]  # (K, K), f'(e_i)
    q = logits.detach().exp()[0]
    expected = torch.zeros(k)
    for i, j in product(range(k), repeat=2):
        edge = torch.eye(k)[i] - torch.eye(k)[j]
        trapezoid = (slopes[i] + slopes[j]) @ edge / 2
        expected = expected + q[i] * q[j] / 2 * trapezoid * edge
    total = torch.zeros(1, k)
    for z in range(k):
        noise = Replay(torch.tensor([[z]]))
        joint = log_joint(p.model, p.x, p.y).with_prior(logits.detach())
        treatment = TREATMENTS["reinmax"]
        value, _ = treatment.objective(joint, logits, treatment.config(), None, noise)
        total = total + q[z] * torch.autograd.grad(value.sum(), gate, retain_graph=True)[0]
    torch.testing.assert_close(total[0], expected, rtol=0, atol=1e-10)
