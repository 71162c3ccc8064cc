"""The families of the response: densities in the tails, limits, gradients, fits, bad responses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyro
import pytest
import scipy.special  # type: ignore[import-untyped]  # no stubs
import scipy.stats as stats  # type: ignore[import-untyped]
import torch
from families import Case, case, made, skewed

from pyromoe.guides import AmortisedGuide, PriorGuide
from pyromoe.inference import fit
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.fitting.build import build
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.posterior.prediction import predict
from pyromoe.inference.steps.step import Step
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError, MixtureOfExperts, log_joint
from pyromoe.models.data.data import encode_table, from_table, load
from pyromoe.models.likelihoods import FAMILIES
from pyromoe.models.likelihoods.likelihood import stirling
from pyromoe.models.likelihoods.skew_normal import LARGEST_SKEWNESS, shape_of
from pyromoe.models.specs.spec_file import parse_spec, read_spec
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.blend import Mix
    from pyromoe.models.specs.spec import Spec

K, N = 3, 8
expit = scipy.special.expit
families = pytest.mark.parametrize("family", FAMILIES)
OFFSETS = [name for name, f in FAMILIES.items() if f.offset_places]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def t(value: Any) -> Tensor:
    return torch.tensor(np.asarray(value, dtype=np.float64))


def density(family: str, y: Any, **parameters: Any) -> Any:
    """The library's log density, of numbers."""
    tensors = {name: t(value) for name, value in parameters.items()}
    values: Tensor = made(family, 1).distribution(**tensors).log_prob(t(y))
    return values.numpy()


def assert_close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_every_family_of_one_response_is_simulated() -> None:
    assert set(GENERATE) == {name for name, r in RESPONSES.items() if not r.vector}


def test_the_table_without_torch_says_what_the_families_say() -> None:
    assert set(RESPONSES) == set(FAMILIES)
    for name, family in FAMILIES.items():
        response = RESPONSES[name]  # type: ignore[index]  # any name
        assert response.vector or (response.link is not None) == bool(family.offset_places)
        assert response.trials == ("trials" in family.required)
        assert response.standardised == family.in_units


# Densities in the tails

REAL = np.array([-1e3, -40.0, -5.0, -1.0, 0.0, 0.3, 2.0, 30.0, 1e4])
COUNTS = np.array([0.0, 1, 2, 5, 50, 1e3, 1e5])


@pytest.mark.parametrize("nu", [1.001, 2, 3.3, 15, 19.99, 20.01, 30, 1e3, 1e6])
def test_student_t_is_scipys(nu: float) -> None:
    found = density("student_t", REAL, loc=0.3, scale=0.7, log_df=math.log(nu - 1))
    assert_close(found, stats.t(nu, 0.3, 0.7).logpdf(REAL))


@pytest.mark.parametrize("skew", [-3.0, -0.5, -1e-3, 1e-6, 0.1, 0.5, 1.0, 2.0])
def test_skew_normal_is_scipys(skew: float) -> None:
    found = density("skew_normal", REAL, loc=0.3, scale=0.7, skew=skew)
    alpha, xi, omega = skewed(skew)
    scipys = stats.skewnorm(alpha, 0.3 + 0.7 * xi, 0.7 * omega)
    assert_close(found[1:-1], scipys.logpdf(REAL[1:-1]))
    # Beyond, by the formula: scipy's skewnorm itself goes to -inf there.
    far = (REAL - 0.3 - 0.7 * xi) / (0.7 * omega)
    expected = stats.norm.logpdf(far) - math.log(0.7 * omega / 2)
    assert_close(found, expected + scipy.special.log_ndtr(alpha * far))
    mean, variance, skewness = scipys.stats("mvs")
    assert_close([mean, variance], [0.3, 0.49])
    assert_close(skewness, LARGEST_SKEWNESS * math.tanh(skew), 1e-8)


def test_the_shape_of_the_skew_normal_stays_finite() -> None:
    skew = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4], dtype=torch.float32, requires_grad=True)
    alpha = shape_of(skew)
    assert alpha[2] == 0
    assert 1900 < float(alpha.detach().abs().max()) < 2100
    (slope,) = torch.autograd.grad(alpha.sum(), skew)
    assert slope.isfinite().all()


@pytest.mark.parametrize("alpha", [1e-4, 0.02, 0.1, 1, 30])
@pytest.mark.parametrize("mu", [1e-3, 1, 30, 1e4])
def test_negative_binomial_is_scipys(alpha: float, mu: float) -> None:
    logs = {"log_mean": math.log(mu), "log_dispersion": math.log(alpha)}
    found = density("negative_binomial", COUNTS, **logs)
    assert_close(found, stats.nbinom(1 / alpha, 1 / (1 + alpha * mu)).logpmf(COUNTS))


@pytest.mark.parametrize("share", [1e-6, 0.3, 0.999])
@pytest.mark.parametrize("rate", [1e-3, 1, 60])
def test_zero_inflated_poisson_is_scipys(share: float, rate: float) -> None:
    logs = {"log_rate": math.log(rate), "zero_logit": scipy.special.logit(share)}
    found = density("zero_inflated_poisson", COUNTS[:-1], **logs)
    positive = math.log1p(-share) + stats.poisson(rate).logpmf(COUNTS[:-1])
    expected = np.where(COUNTS[:-1] == 0, np.logaddexp(math.log(share), positive), positive)
    assert_close(found, expected)


@pytest.mark.parametrize("k", [1e-2, 1, 5, 100, 1e4])
def test_gamma_is_scipys(k: float) -> None:
    y = np.array([1e-8, 1e-3, 1, 2, 2.01, 30, 1e4])
    found = density("gamma", y, log_mean=0.7, log_shape=math.log(k))
    assert_close(found, stats.gamma(k, scale=math.exp(0.7) / k).logpdf(y))


@pytest.mark.parametrize("phi", [1e-2, 1, 10, 1e4])
@pytest.mark.parametrize("eta", [-20.0, -3.0, 0.0, 2.0, 12.0])
def test_beta_is_scipys(phi: float, eta: float) -> None:
    y = np.array([1e-8, 1e-3, 0.3, 0.5, 0.99, 1 - 1e-8])
    found = density("beta", y, logits=eta, log_precision=math.log(phi))
    assert_close(found, stats.beta(phi * expit(eta), phi * expit(-eta)).logpdf(y))


@pytest.mark.parametrize("trials", [0, 1, 20, 5000])
@pytest.mark.parametrize("eta", [-30.0, -1.0, 0.0, 12.0])
def test_binomial_is_scipys(trials: int, eta: float) -> None:
    y = np.unique(np.linspace(0, trials, 5).round())
    found = density("binomial", y, logits=np.full(len(y), eta), trials=np.full(len(y), trials))
    log_p, log_q = -np.log1p(np.exp(-eta)), -np.log1p(np.exp(eta))
    choose = scipy.special.gammaln([trials + 1, *(y + 1), *(trials - y + 1)])
    by_hand = choose[0] - choose[1 : len(y) + 1] - choose[len(y) + 1 :]
    assert_close(found, by_hand + y * log_p + (trials - y) * log_q)
    if abs(eta) < 5:
        assert_close(found, stats.binom(trials, expit(eta)).logpmf(y))


@pytest.mark.parametrize("eta", [-300.0, -20.0, 0.4, 20.0, 300.0])
def test_ordinal_is_a_difference_of_logistics(eta: float) -> None:
    cutpoints = np.array([-1.5, -0.2, 1.7])
    y = np.arange(4)
    stacked = {"location": np.full(4, eta), "cutpoints": np.tile(cutpoints, (4, 1))}
    found = density("ordinal", y, **stacked)
    edges = np.array([-np.inf, *cutpoints, np.inf]) - eta
    # By the side on which it is small, so that the difference keeps its digits.
    left, right = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    log_left = np.where(left > 0, stats.logistic.logsf(right), stats.logistic.logcdf(left))
    log_right = np.where(left > 0, stats.logistic.logsf(left), stats.logistic.logcdf(right))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = log_right + np.log1p(-np.exp(log_left - log_right))
    assert_close(found, expected, 1e-9)
    if abs(eta) < 5:
        assert_close(found, np.log(np.diff(stats.logistic.cdf(edges))))


def test_a_predicted_scale_is_the_second_output() -> None:
    outputs = torch.randn(K, N, 2)
    for name in ("normal", "student_t", "skew_normal"):
        predicted = made(name, K, scale="predicted")
        assert (predicted.outputs, "log_scale" in dict(predicted.named_parameters())) == (2, False)
        parameters = predicted.parameters_of(outputs)
        expected = np.log1p((math.e - 1) * np.exp(outputs[..., 1].numpy())) + 1e-4
        assert_close(parameters["scale"].numpy(), expected)
        assert torch.equal(parameters["loc"], outputs[..., 0])


WRONG: dict[str, Callable[[Any], Any]] = {
    "a dispersion that is its inverse": lambda y: (
        density("negative_binomial", y, log_mean=1.0, log_dispersion=0.7),
        stats.nbinom(math.exp(0.7), 1 / (1 + math.exp(1 - 0.7))).logpmf(y),
    ),
    "a gamma's mean that is its scale": lambda y: (
        density("gamma", y + 1, log_mean=1.0, log_shape=0.7),
        stats.gamma(math.exp(0.7), scale=math.e).logpdf(y + 1),
    ),
    "a skew to the other side": lambda y: (
        density("skew_normal", y, loc=0.0, scale=1.0, skew=1.0),
        density("skew_normal", y, loc=0.0, scale=1.0, skew=-1.0),
    ),
    "degrees of freedom without their floor": lambda y: (
        density("student_t", y, loc=0.0, scale=1.0, log_df=1.0),
        stats.t(math.e).logpdf(y),
    ),
    "a mean of the wrong class of logits": lambda y: (
        density("beta", (y + 1) / 9, logits=0.5, log_precision=1.0),
        stats.beta(math.e * expit(-0.5), math.e * expit(0.5)).logpdf((y + 1) / 9),
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_comparison_finds_another_parametrisation(mistake: str) -> None:
    found, other = WRONG[mistake](np.array([0.0, 1, 3, 7]))
    with pytest.raises(AssertionError):
        assert_close(found, other, 1e-3)


# Digits


def test_stirlings_remainder() -> None:
    a = np.array([1e-8, 1e-3, 0.5, 1, 3, 9.99, 10.0, 10.01, 50, 1e4])
    expected = scipy.special.gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * math.log(2 * math.pi)
    assert_close(stirling(t(a)).numpy()[:-1], expected[:-1], 1e-12)
    assert_close(stirling(t([1e4, 1e9])).numpy(), [1 / 12e4, 1 / 12e9], 1e-9)
    x = t(a).requires_grad_()
    (slope,) = torch.autograd.grad(stirling(x).sum(), x)
    by_hand = scipy.special.digamma(a) - np.log(a) + 0.5 / a
    assert_close(slope.numpy(), by_hand, 1e-8)


NEARLY: dict[str, tuple[Any, dict[str, float]]] = {
    "student_t": ([-1.0, 0.5, 3.0], {"loc": 0.0, "scale": 1.0, "log_df": math.log(2.0**23)}),
    "negative_binomial": ([0.0, 3.0, 12.0], {"log_mean": 1.0, "log_dispersion": -16.0}),
    "gamma": ([0.9990234375, 1.0, 1.0009765625], {"log_mean": 0.0, "log_shape": 14.0}),
    "beta": ([0.4990234375, 0.5, 0.5009765625], {"logits": 0.0, "log_precision": 14.0}),
}


@pytest.mark.parametrize("family", NEARLY)
def test_single_precision_suffices_near_the_limit(family: str) -> None:
    """Where a family is nearly its limit, numbers of 1e7 would be subtracted from each other."""
    y, parameters = NEARLY[family]
    exact = density(family, y, **parameters)
    single = {name: torch.tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    fn = made(family, 1).distribution(**single)
    found = fn.log_prob(torch.tensor(y, dtype=torch.float32))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), exact, atol=3e-3)


# Limits: what a family contains


def test_students_t_contains_the_normal() -> None:
    y = np.linspace(-5, 5, 41)
    found = density("student_t", y, loc=0.0, scale=1.0, log_df=math.log(1e6 - 1))
    difference = np.abs(found - density("normal", y, loc=0.0, scale=1.0))
    assert difference.max() < 2e-4
    assert difference[np.abs(y) < 4].max() < 1e-4


def test_the_skew_normal_contains_the_normal() -> None:
    found = density("skew_normal", REAL, loc=0.3, scale=2.0, skew=0.0)
    assert_close(found, density("normal", REAL, loc=0.3, scale=2.0), 1e-12)


def test_overdispersed_and_inflated_counts_contain_the_poisson() -> None:
    poisson = density("poisson", COUNTS[:-2], log_rate=1.3)
    spread = density("negative_binomial", COUNTS[:-2], log_mean=1.3, log_dispersion=-30.0)
    inflated = density("zero_inflated_poisson", COUNTS[:-2], log_rate=1.3, zero_logit=-40.0)
    assert_close(spread, poisson, 1e-8)
    assert_close(inflated, poisson, 1e-12)


def test_two_ordered_classes_are_a_bernoulli() -> None:
    ordinal = case("ordinal", K, N, 2)
    outputs = torch.randn(K, N, 1)
    parameters = ordinal.likelihood.parameters_of(outputs)
    found = ordinal.likelihood.mean(**parameters)[..., 1]
    torch.testing.assert_close(found, outputs[..., 0].sigmoid())


def test_a_fit_of_students_t_from_the_normals_is_not_below_it() -> None:
    """The check that fails where nu is never updated."""
    x = torch.randn(200, 1)
    y = 0.7 * x[:, 0] + t(stats.t(2.5).rvs(200, random_state=np.random.default_rng(0)))
    values: dict[str, float] = {}
    state: dict[str, Tensor] = {}
    for name in ("normal", "student_t"):
        model = MixtureOfExperts(1, made(name, 1), 1, generator=torch.Generator().manual_seed(0))
        if state:
            missing = model.load_state_dict(state, strict=False).missing_keys
            assert missing == ["likelihood.log_df"]
            with torch.no_grad():
                model.likelihood.log_df.fill_(math.log(1e6))
            start = total(model, x, y)
            assert start == pytest.approx(values["normal"], abs=1e-3)
            with torch.no_grad():  # the gradient in nu is nearly 0 there
                model.likelihood.log_df.fill_(math.log(30.0))
        train(model, x, y, 300)
        values[name], state = total(model, x, y), model.state_dict()
    assert values["student_t"] > values["normal"] + 5


def train(model: MixtureOfExperts, x: Tensor, y: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        (-log_joint(model, x, y).enumerate().logsumexp(0).mean()).backward()
        optimiser.step()


def total(model: MixtureOfExperts, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(log_joint(model, x, y).enumerate().logsumexp(0).sum())


# Gradients, chosen experts, offsets


@families
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    example = case(family, K, N)
    own = dict(example.likelihood.named_parameters())
    outputs = torch.randn(K, N, example.likelihood.outputs, requires_grad=True)
    extras = {"trials": example.trials} if example.trials is not None else {}

    def value(outputs: Tensor, *values: Tensor) -> Tensor:
        for (name, _), tensor in zip(own.items(), values, strict=True):
            object.__setattr__(example.likelihood, name, tensor)
            example.likelihood._parameters.pop(name, None)
        parameters = example.likelihood.parameters_of(outputs, None, extras)
        log_density: Tensor = example.likelihood.distribution(**parameters).log_prob(example.y)
        return log_density

    starts = [p.detach().clone().requires_grad_() for p in own.values()]
    assert torch.autograd.gradcheck(value, (outputs, *starts), rtol=1e-5, atol=1e-7)


EXTREME = [-60.0, -20.0, 0.0, 20.0, 60.0]


@families
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_far_out(family: str, dtype: torch.dtype) -> None:
    example = case(family, K, N)
    likelihood = example.likelihood.to(dtype)
    extras = {"trials": example.trials.to(dtype)} if example.trials is not None else {}
    y = example.y.to(dtype) if example.y.is_floating_point() else example.y
    for level in EXTREME:
        outputs = torch.full((K, N, likelihood.outputs), level, dtype=dtype)
        outputs = (outputs * torch.linspace(0.5, 1, likelihood.outputs)).requires_grad_()
        parameters = likelihood.parameters_of(outputs.to(dtype), None, extras)
        log_density = likelihood.distribution(**parameters).log_prob(y)
        assert log_density.dtype == dtype
        gradients = torch.autograd.grad(log_density.sum(), [outputs, *likelihood.parameters()])
        assert all(g.isfinite().all() for g in gradients), (family, level)


@families
def test_chosen_experts_have_the_parameters_of_all(family: str) -> None:
    example = case(family, K, N)
    outputs = torch.randn(K, N, example.likelihood.outputs)
    extras = {} if example.trials is None else {"trials": example.trials}
    every = example.likelihood.parameters_of(outputs, None, extras)
    z = torch.randint(K, (2, N))
    rows = torch.arange(N)
    chosen = example.likelihood.parameters_of(outputs[z, rows], z, extras)
    assert set(chosen) == set(every)
    for name, values in every.items():
        assert values.shape[:2] == (K, N)
        torch.testing.assert_close(chosen[name], values[z, rows], rtol=0, atol=0)


def with_offset(family: str, offset: Tensor) -> tuple[Case, MixtureOfExperts, Tensor]:
    example = case(family, K, N)
    generator = torch.Generator().manual_seed(1)
    extras = [*example.extras, "offset"]
    model = MixtureOfExperts(2, example.likelihood, K, extras=extras, generator=generator)
    return example, model, torch.cat([example.x(), offset[:, None]], -1)


@pytest.mark.parametrize("family", OFFSETS)
def test_an_offset_is_added_to_the_linear_predictor(family: str) -> None:
    offset = torch.linspace(-1, 1, N)
    example, model, x = with_offset(family, offset)
    found = log_joint(model, x, example.y).enumerate_likelihood()
    outputs = model.experts(x[:, :2]).detach()
    eta = torch.cat([outputs[..., :1] + offset[:, None], outputs[..., 1:]], -1).numpy()
    expected = [
        [example.log_density(eta[k, n], example.response(n), own, example.trial(n))
         for n in range(N)]
        for k, own in enumerate(example.own)
    ]  # fmt: skip
    assert_close(found.detach().numpy(), np.array(expected, dtype=float))
    moved = x.clone()
    moved[:, -1] += 1
    assert torch.equal(model.gate_logits(moved), model.gate_logits(x))
    assert not torch.allclose(log_joint(model, moved, example.y).enumerate_likelihood(), found)
    guide = AmortisedGuide(model, [4])
    assert guide.logits(x, example.y, None, {}).shape == (N, K)
    assert model.features(x, example.y).shape == (N, model.num_features)


def test_extras_that_do_not_fit_the_family_are_refused() -> None:
    for name, extras, message in [
        ("categorical", ["offset"], "family categorical can do nothing with 'offset'"),
        ("binomial", [], "family binomial needs 'trials'"),
        ("poisson", ["trials"], "family poisson can do nothing with 'trials'"),
    ]:
        with pytest.raises(ValueError, match=message):
            MixtureOfExperts(2, made(name, K), K, extras=extras)


# Steps


@families
def test_every_treatment_takes_a_finite_step(family: str) -> None:
    example = case(family, K, N)
    model, x = example.model(), example.x()
    amortised = AmortisedGuide(model, [2])
    for name, treatment in TREATMENTS.items():
        objective = treatment.objectives[0]
        guide: Any = amortised if objective in ("elbo", "iwae") else PriorGuide(model)
        guide = no_guide if objective == "marginal" else guide
        parameters = [*model.parameters(), *amortised.parameters()]
        loss = Treatment_ELBO(name).differentiable_loss(model, guide, x, example.y)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        assert loss.isfinite(), name
        assert all(g.isfinite().all() for g in found if g is not None), name


def no_guide(*args: object, **kwargs: object) -> None:
    """A guide without sites: z is left to be summed out."""


CAPTURED: list[tuple[str, Mix]] = [
    ("enumerate", "log_likelihoods"),
    ("gumbel_softmax", "parameters"),
]


@families
@pytest.mark.parametrize(("name", "mix"), CAPTURED)
def test_a_captured_step_has_the_bits_of_an_eager_one(family: str, name: str, mix: Mix) -> None:
    results = []
    for mode in ("eager", "captured"):
        torch.manual_seed(0)
        example = case(family, K, N)
        model, x = example.model(mix=mix), example.x()
        marginal = TREATMENTS[name].objectives[0] == "marginal"
        guide: Any = no_guide if marginal else AmortisedGuide(model, [2])
        torch.manual_seed(1)
        step = Step(Treatment_ELBO(name), model, guide, mode=mode)
        results.append([float(step(x, example.y)) for _ in range(2)])
        assert (step.mode, step.note) == (mode, "")
    assert results[0] == results[1]
    assert np.isfinite(results[0]).all()


# From a table to predictions

SLOPES, INTERCEPTS = np.array([0.8, -0.6]), np.array([0.4, 1.0])
LEVELS = ["low", "mid", "high"]
GENERATE: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "normal": lambda g, eta, z, n: eta + np.array([0.3, 0.6])[z] * g.normal(size=len(z)),
    "student_t": lambda g, eta, z, n: eta + 0.3 * g.standard_t(np.array([3.0, 3.0])[z]),
    "skew_normal": lambda g, eta, z, n: (
        eta + 0.7 * stats.skewnorm(np.array([5.0, -5.0])[z]).rvs(random_state=g)
    ),
    "bernoulli": lambda g, eta, z, n: (g.random(len(z)) < expit(eta)).astype(float),
    "binomial": lambda g, eta, z, n: g.binomial(n, expit(eta)),
    "categorical": lambda g, eta, z, n: np.where(
        g.random(len(z)) < 0.1, 2, g.random(len(z)) < expit(eta)
    ),
    "ordinal": lambda g, eta, z, n: np.array(LEVELS)[
        ((eta + g.logistic(size=len(z)))[:, None] > np.array([-0.5, 1.5])).sum(-1)
    ],
    "poisson": lambda g, eta, z, n: g.poisson(np.exp(eta)),
    "negative_binomial": lambda g, eta, z, n: g.poisson(
        np.exp(eta) * g.gamma(np.array([1.0, 4.0])[z]) / np.array([1.0, 4.0])[z]
    ),
    "zero_inflated_poisson": lambda g, eta, z, n: (
        g.poisson(np.exp(eta + 1)) * (g.random(len(z)) > np.array([0.1, 0.5])[z])
    ),
    "gamma": lambda g, eta, z, n: (
        np.exp(eta) * g.gamma(np.array([2.0, 8.0])[z]) / np.array([2.0, 8.0])[z]
    ),
    "beta": lambda g, eta, z, n: g.beta(20 * expit(eta), 20 * expit(-eta)),
}
# p(y = c) given an expert, (2, N, C).
SHARES: dict[str, Callable[[Any], Any]] = {
    "bernoulli": lambda eta: np.stack([expit(-eta), expit(eta)], -1),
    "categorical": lambda eta: np.stack(
        [0.9 * expit(-eta), 0.9 * expit(eta), np.full(eta.shape, 0.1)], -1
    ),
    "ordinal": lambda eta: np.diff(expit(np.array([-np.inf, -0.5, 1.5, np.inf]) - eta[..., None])),
}
# What is learned beside the networks, experts in the order of their slopes, and how far it may be
# from the truth, in proportion; about three standard errors.
TRUTH: dict[str, tuple[str, list[float], float]] = {
    "normal": ("scale", [0.6, 0.3], 0.25),
    "student_t": ("df", [3.0, 3.0], 0.6),
    "skew_normal": ("shape", [-5.0, 5.0], 0.6),
    "negative_binomial": ("dispersion", [0.25, 1.0], 0.6),
    "zero_inflated_poisson": ("zero_probability", [0.5, 0.1], 0.5),
    "gamma": ("shape", [8.0, 2.0], 0.35),
    "beta": ("precision", [20.0, 20.0], 0.35),
}
ROWS = 600


def table_of(family: str) -> tuple[dict[str, Any], Any]:
    """A table of rows, and the linear predictor of both experts, (2, N)."""
    generator = np.random.default_rng(3)
    rows = 4 * ROWS if family == "negative_binomial" else ROWS  # it says least of a slope
    x = generator.uniform(-2, 2, rows)
    z = (generator.random(rows) < expit(6 * x)).astype(int)
    offset = 0.4 * generator.normal(size=rows) * (family in OFFSETS)
    trials = generator.integers(5, 30, rows)
    steep = 3 if family in SHARES else 1  # a class says less than a number
    both = steep * (INTERCEPTS[:, None] + SLOPES[:, None] * x) + offset
    y = GENERATE[family](generator, both[z, np.arange(rows)], z, trials)
    extras = {"offset": offset} if family in OFFSETS else {}
    return {"x": x, **extras, "n": trials, "y": np.asarray(y)}, both


def spec_of(family: str, standardise: str = "none", more: str = "") -> Spec:
    extras = ", offset: offset" if family in OFFSETS else ""
    extras += ", trials: n" if "trials" in FAMILIES[family].required else ""
    levels = f", levels: [{', '.join(LEVELS)}]" if family == "ordinal" else ""
    text = f"""\
data: {{response: y, predictors: [x], standardise: {standardise}, split: {{test: 0.1}}{extras}}}
likelihood: {{family: {family}{levels}}}
experts: {{number: 2}}
priors: {{experts: {{kind: none}}, gate: {{kind: none}}}}
fit: {{optimiser: lbfgs, restarts: 8}}
output: {{draws: 20}}
seed: 1
{more}"""
    return parse_spec(text, "s.yaml").spec


@pytest.mark.parametrize("family", GENERATE)
def test_a_fit_finds_what_the_rows_were_drawn_from(family: str) -> None:
    """Exact enumeration, from the table to predictions on the original scale."""
    table, eta = table_of(family)
    found: Fit = fit(spec_of(family), table)
    assert found.metrics["mode"].startswith("captured")
    assert set(found.metrics) & {"accuracy", "rmse"} == (
        {"accuracy"} if found.encoding.num_classes else {"rmse"}
    )
    tree = to_datatree(found)
    posterior = tree["posterior"].to_dataset()
    order = posterior["expert_slope"].values[0, 0].reshape(2, -1)[:, 0].argsort()
    if family in TRUTH:
        name, expected, tolerance = TRUTH[family]
        values = posterior[name].values[0, 0][order]
        np.testing.assert_allclose(values, expected, rtol=tolerance)
        assert not np.allclose(values[::-1], expected, rtol=0.1) or expected[0] == expected[1]
    if family in SHARES:
        x = table["x"]
        gate = np.stack([1 - expit(6 * x), expit(6 * x)])
        expected_shares = (gate[..., None] * SHARES[family](eta)).sum(0)
        shares = shares_of(predict(found, table), found)
        error = np.abs(shares - expected_shares).mean()
        assert error < 0.06 < np.abs(expected_shares - expected_shares.mean(0)).mean() / 2
    else:
        slopes = posterior["expert_slope"].values[0, 0].ravel()[order]
        np.testing.assert_allclose(slopes, np.sort(SLOPES), atol=0.3)
    check_predictions(found, table)
    drawn = tree["posterior_predictive"].to_dataset()["y"].values
    assert drawn.shape == (1, 20, len(found.data.train.rows))  # type: ignore[union-attr]
    if not found.encoding.num_classes:
        observed = tree["observed_data"].to_dataset()["y"].values
        spread = observed.std() / math.sqrt(drawn.size / 20)
        assert abs(drawn.mean() - observed.mean()) < 6 * spread


def shares_of(predicted: pa.Table, found: Fit) -> Any:
    """The predicted probabilities of the classes, (N, C)."""
    labels = found.encoding.target.labels
    return np.stack([predicted[f"p({label})"].to_numpy() for label in labels], -1)


def check_predictions(found: Fit, table: dict[str, Any]) -> None:
    predicted = predict(found, {name: values[:50] for name, values in table.items()})
    x, y = encode_table(found.encoding, {name: values[:50] for name, values in table.items()})
    assert y is not None
    assert np.isfinite(predicted["log_density"].to_numpy()).all()
    if found.encoding.num_classes:
        assert_close(shares_of(predicted, found).sum(-1), np.ones(50))
    else:
        gate, parameters = found.components(torch.from_numpy(x))
        means = found.model.likelihood.mean(**parameters).numpy()
        expected = found.encoding.decode((gate.numpy() * means.T).sum(-1))
        assert_close(predicted["mean"].to_numpy(), expected)


def test_without_its_offset_or_trials_new_rows_are_refused() -> None:
    for family, column in (("poisson", "offset"), ("binomial", "n")):
        table, _ = table_of(family)
        encoding = from_table(spec_of(family), table).encoding
        del table[column]
        with pytest.raises(InputError, match=f"new: {column}: no such column; columns: x, "):
            encode_table(encoding, table, "new")


@pytest.mark.parametrize("family", [n for n in OFFSETS if FAMILIES[n].in_units])
def test_densities_do_not_depend_on_standardising(family: str) -> None:
    """The offset is in the units of the response, and divided by its spread as the response is."""
    table, _ = table_of(family)
    table["y"], table["offset"] = 100 + 50 * table["y"], 50 * table["offset"]
    data = from_table(spec_of(family, "predictors_and_response"), table)
    target = data.encoding.target
    assert target.sd > 20
    rows = data.train.rows
    assert_close(data.train.x[:, -1] * target.sd, table["offset"][rows])
    x, y = (torch.from_numpy(a) for a in (data.train.x, np.asarray(data.train.y)))
    likelihood = made(family, 2)
    model = MixtureOfExperts(1, likelihood, 2, extras=["offset"])
    found = log_joint(model, x, y).enumerate_likelihood() + data.encoding.log_jacobian
    parameters = dict(model.expert_parameters(x))
    by_hand = (parameters["loc"] - x[:, -1]) * target.sd + target.mean + t(table["offset"][rows])
    parameters |= {"loc": by_hand, "scale": parameters["scale"] * target.sd}
    expected = likelihood.distribution(**parameters).log_prob(t(table["y"][rows]))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_exposure_is_the_logarithm_of_a_column() -> None:
    population = [10.0, 20, 1]
    table = {"x": [1.0, 2, 3], "pop": population, "y": [1, 0, 2]}
    text = "data: {response: y, exposure: pop, split: {test: 0}}\nlikelihood: {family: poisson}\n"
    data = from_table(parse_spec(text, "s").spec, table)
    assert data.encoding.columns == ("x",)
    assert_close(data.train.x[:, 1], np.log(population))


def test_experts_start_at_the_level_of_the_response() -> None:
    """The link of the mean, of the training rows alone; experts far from it are lost on the way."""
    population = np.array([10.0, 20, 1])
    columns = {"x": [1.0, 2, 3], "pop": population, "share": [0.2, 0.5, 0.1], "y": [1, 0, 2]}
    for family, data, level in [
        ("poisson", "response: y", 0.0),
        ("poisson", "response: y, exposure: pop", math.log(3 / 31)),
        ("gamma", "response: pop", math.log(31 / 3)),
        ("binomial", "response: y, trials: 5", math.log(3.5 / 12.5)),
        ("beta", "response: share", math.log(1.3 / 2.7)),
        ("normal", "response: pop, standardise: none", 0.0),
    ]:
        text = f"data: {{{data}, predictors: [x], split: {{test: 0}}}}\n"
        text += f"likelihood: {{family: {family}}}\nexperts: {{kind: mlp, hidden: [3]}}\n"
        file = parse_spec(text, "s")
        encoding = from_table(file.spec, columns).encoding
        assert encoding.target.levels == pytest.approx((level,), abs=1e-12)
        file = parse_spec(text + "priors: {experts: {kind: none}}\n", "s")
        biases = []
        for moved in (0.0, 1.5):
            target = encoding.target.model_copy(update={"levels": (moved,)})
            at = encoding.model_copy(update={"targets": (target,)})
            model, _ = build(file.spec, None, at, torch.Generator().manual_seed(0))
            biases.append(dict(model.experts.named_parameters())["bias_1"].detach())
        assert_close((biases[1] - biases[0]).numpy(), np.full((4, 1, 1), 1.5), 1e-6)


def test_the_units_of_a_positive_response_do_not_matter() -> None:
    """Started at 0, a fit in thousandths ended a nat a row below."""
    found = []
    for units in (1.0, 1000.0):
        table, _ = table_of("gamma")
        table["y"] = table["y"] * units
        rows = fit(spec_of("gamma"), table).metrics
        found.append(rows["log_likelihood"]["train"] / rows["n"]["train"] + math.log(units))
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_a_number_of_trials_needs_no_column() -> None:
    text = "data: {response: y, trials: 3, split: {test: 0}}\nlikelihood: {family: binomial}\n"
    data = from_table(parse_spec(text, "s").spec, {"x": [1.0, 2], "y": [0, 3]})
    assert data.train.x[:, 1].tolist() == [3, 3]
    with pytest.raises(InputError, match="y: row 2: 4 successes in 3 trials"):
        encode_table(data.encoding, {"x": [1.0, 2], "y": [0, 4]})


def test_ordered_levels() -> None:
    def learned(y: Any, levels: str = "") -> Any:
        text = f"data: {{response: y, split: {{test: 0}}}}\nlikelihood: {{family: ordinal{levels}}}"
        return from_table(parse_spec(text, "s").spec, {"x": np.arange(len(y)), "y": y})

    numbers = learned([10, 2, 0.5, 2])
    assert numbers.encoding.target.labels == ("0.5", "2", "10")
    assert numbers.train.y.tolist() == [2, 1, 0, 1]
    named = learned(["mid", "low", "high"], ", levels: [low, mid, high, highest]")
    assert named.encoding.target.labels == ("low", "mid", "high", "highest")
    assert named.train.y.tolist() == [1, 0, 2]


BAD = [
    ("poisson", "", "1\n-2\n", "y: row 3: -2.0 is not a count; counts are 0, 1, 2, ...; for other "
     "numbers set likelihood.family: normal"),
    ("negative_binomial", "", "1\n2.5\n", "y: row 3: 2.5 is not a count; counts are 0, 1, 2, ...; "
     "for other numbers set likelihood.family: normal"),
    ("zero_inflated_poisson", "", "1\nmany\n", "y: row 3: 'many' is not a number; correct it, or "
     "set likelihood.family: categorical"),
    ("gamma", "", "1\n0\n", "y: row 3: 0.0 is not above 0; correct it; for other numbers set "
     "likelihood.family: normal"),
    ("gamma", "", "1\n1e-60\n", "y: row 3: 1e-60 is not above 0; correct it; for other numbers set "
     "likelihood.family: normal"),
    ("beta", "", "0.5\n1\n", "y: row 3: 1.0 is not strictly between 0 and 1; correct it, or move "
     "it inwards by what it was rounded by; for other numbers set likelihood.family: normal"),
    ("beta", "", "0.5\n0.99999999999\n", "y: row 3: 0.99999999999 is not strictly between 0 and 1; "
     "correct it, or move it inwards by what it was rounded by; for other numbers set "
     "likelihood.family: normal"),
    ("binomial", "trials: 4, ", "3\n5\n", "y: row 3: 5 successes in 4 trials; correct it, or "
     "data.trials"),
    ("binomial", "trials: x, ", "0\n3\n", "y: row 3: 3 successes in 2 trials; correct it, or "
     "column 'x'"),
    ("binomial", "trials: w, ", "0\n1\n", "w: row 3: 1.5 is not a count; counts are 0, 1, 2, ...; "
     "correct it, or name another column under data.trials"),
    ("poisson", "exposure: v, ", "0\n1\n", "v: row 2: 0.0 is not above 0; correct it; a row "
     "without exposure tells nothing, and can be removed"),
    ("poisson", "offset: u, ", "0\n1\n", "u: row 2: 'a' is not a number; correct it"),
    ("ordinal", "", "low\nhigh\n", "y: row 3: 'high' is not a number, so the order of its classes "
     "is not known; write them from the lowest, as in likelihood: {levels: [low, mid, high]}"),
    ("ordinal", "", "1\n1\n", "y: has one class only, '1'; check the column"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "data", "y", "message"), BAD)
def test_a_bad_response_has_exactly_this_message(
    family: str, data: str, y: str, message: str, tmp_path: Path
) -> None:
    rows = ["x,w,v,u,y", *(f"{n},1.5,{n - 1},a,{v}" for n, v in enumerate(y.split(), 1))]
    rows[1] = rows[1].replace(",1.5,", ",1,")
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "s.yaml").write_text(
        f"data: {{file: a.csv, response: y, predictors: [x], {data}split: {{test: 0}}}}\n"
        f"likelihood: {{family: {family}}}\n"
    )
    with pytest.raises(InputError) as caught:
        load(read_spec(tmp_path / "s.yaml"))
    assert str(caught.value).replace(f"{tmp_path}/", "") == f"a.csv: {message}"


def test_a_level_that_is_not_listed_is_named() -> None:
    text = "data: {response: y, split: {test: 0}}\nlikelihood: {family: ordinal, levels: [lo, hi]}"
    with pytest.raises(
        InputError, match=r"y: row 3: 'hj' is not one of likelihood.levels; levels: lo"
    ):
        from_table(parse_spec(text, "s").spec, {"x": [1, 2, 3], "y": ["lo", "hi", "hj"]})


def test_columns_that_play_no_part_are_named() -> None:
    table = pa.table({"x": [1.0, 2], "y": [1.0, 2]})
    for data, message in [
        ("offset: o", "data.offset: no column 'o' in table; columns: x, y"),
        ("offset: y", "data.offset: 'y' is the response; name another column"),
        ("exposure: z", "data.exposure: no column 'z' in table; columns: x, y"),
    ]:
        text = f"data: {{response: y, {data}}}\nlikelihood: {{family: poisson}}\n"
        with pytest.raises(InputError, match=message):
            from_table(parse_spec(text, "s").spec, table)
