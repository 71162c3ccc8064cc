"""Variances by their causes, quantiles and densities of new rows, against SciPy and simulation."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from families import _beta, _gamma, _multivariate, _negative_binomial, _skewed, _student, case
from scipy import integrate, optimize, special, stats  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference import density, fit, moments, predict
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.posterior import predictive
from pyromoe.inference.posterior.predictive import components, quantiles_of
from pyromoe.inference.posterior.smallest import smallest
from pyromoe.models import InputError, MixtureOfExperts, parse_spec
from pyromoe.models.blend import select
from pyromoe.models.data.encoding import Encoding, Extra, Target
from pyromoe.models.data.predictors import Numeric
from pyromoe.models.likelihoods import FAMILIES, Joint, Mixed, Noise, Normal, Poisson

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pyromoe.models.trace import Weights

K, N, DRAWS, TIMES = 3, 4, 5, 100_000
LEVELS = [0.01, 0.3, 0.5, 0.975]
CLASSES = {"bernoulli": ("a", "b"), "categorical": ("a", "b", "c"), "ordinal": ("a", "b", "c")}
COUNTS = {"binomial", "poisson", "negative_binomial", "zero_inflated_poisson"}
NOISY = {"negative_binomial", "zero_inflated_poisson"}
"""What the weights add to their variance is less than a simulation of this size can see."""
every = pytest.mark.parametrize("family", FAMILIES)
numbers = pytest.mark.parametrize("family", [f for f in FAMILIES if f not in CLASSES])
FROZEN: dict[str, Callable[[Any, Any, float], Any]] = {
    "normal": lambda eta, own, _: stats.norm(eta[0], own["scale"]),
    "student_t": lambda eta, own, _: _student(eta, own),
    "skew_normal": lambda eta, own, _: _skewed(eta, own),
    "binomial": lambda eta, _, n: stats.binom(n, special.expit(eta[0])),
    "poisson": lambda eta, *_: stats.poisson(np.exp(eta[0])),
    "negative_binomial": lambda eta, own, _: _negative_binomial(eta, own),
    "gamma": lambda eta, own, _: _gamma(eta, own),
    "beta": lambda eta, own, _: _beta(eta, own),
}


def fit_around(
    model: MixtureOfExperts, targets: tuple[Target, ...], spread: float = 0.3
) -> tuple[Fit, list[Weights]]:
    """A fit of a model, and draws of its weights, which scatter around its own."""
    parts = {"experts": model.experts, "gate": model.gate, "likelihood": model.likelihood}
    starts = {
        f"{name}.{n}": v for name, part in parts.items() for n, v in part.place_prior(1.0).items()
    }
    generator = torch.Generator().manual_seed(7)
    draws = [
        {n: v + spread * torch.randn(v.shape, generator=generator) for n, v in starts.items()}
        for _ in range(DRAWS)
    ]
    trials = ("trials",) if "trials" in model.extras else ()
    encoding = Encoding(
        predictors=tuple(Numeric(name=name) for name in "ab"),
        targets=targets,
        extras=tuple(Extra(role="trials", column=name) for name in trials),
    )
    spec: Any = SimpleNamespace(
        fit=SimpleNamespace(precision="float64"), families=[targets[0].families]
    )
    found = Fit(spec, encoding, model, None)  # type: ignore[arg-type]
    found.weight_draws = lambda: draws  # type: ignore[method-assign]
    return found, draws


def of_family(family: str) -> tuple[Fit, list[Weights], Tensor]:
    """A fit, draws of its weights, and rows."""
    example = case(family, K, N)
    names = ("y", "u") if family == "multivariate_normal" else ("y",)
    real = FAMILIES[family].in_units
    targets = tuple(
        Target(
            name=name,
            families=(family,),  # type: ignore[arg-type]
            mean=50.0 * real,
            sd=4.0 if real else 1.0,
            labels=CLASSES.get(family, ()),
        )
        for name in names
    )
    found, draws = fit_around(example.model(), targets)
    return found, draws, example.x(torch.Generator().manual_seed(2))


def by_hand(found: Fit, draws: list[Weights], x: Tensor) -> tuple[Any, Any, Any]:
    """Shares, means and variances of all S K components of the first response, (S, K, N, ...)."""
    each = [found.components(x, weights) for weights in draws]
    likelihood = found.model.likelihood
    mean = np.stack([likelihood.means(**p)[0].numpy() for _, p in each])
    variance = np.stack([likelihood.marginals(**p)[0].variance.numpy() for _, p in each])
    return np.stack([gate.T.numpy() for gate, _ in each]), mean, variance


# One expert


@pytest.mark.parametrize("family", FROZEN)
def test_laws_are_scipys(family: str) -> None:
    example = case(family, K, N)
    model, x = example.model(), example.x(torch.Generator().manual_seed(2))
    with torch.no_grad():
        eta = model.experts(x[:, :2]).numpy()
        (law,) = model.likelihood.marginals(**model.expert_parameters(x))
        variance = law.variance
        for k, own in enumerate(example.own):
            for n in range(N):
                known = FROZEN[family](eta[k, n], own, example.trial(n))
                assert float(variance[k, n]) == pytest.approx(known.var(), rel=1e-9)
                y = known.ppf([0.001, 0.2, 0.5, 0.8, 0.999])
                for value in [*y, y[0] - 0.5, y[-1] + 0.5, -1.0]:
                    at = float(law.cdf(torch.full((K, N), value))[k, n])
                    assert at == pytest.approx(known.cdf(value), rel=1e-8, abs=1e-12)


def test_counts_with_extra_zeros_and_correlated_responses_have_the_laws_of_their_densities() -> (
    None
):
    example = case("zero_inflated_poisson", K, N)
    model, x = example.model(), example.x(torch.Generator().manual_seed(2))
    with torch.no_grad():
        (law,) = model.likelihood.marginals(**model.expert_parameters(x))
        y = torch.arange(200.0)[:, None, None].expand(200, K, N)
        p = law.log_prob(y).exp()
        torch.testing.assert_close(p.cumsum(0), law.cdf(y))
        torch.testing.assert_close(law.cdf(y + 0.5), law.cdf(y))
        torch.testing.assert_close((p * (y - law.mean) ** 2).sum(0), law.variance)
    example = case("multivariate_normal", K, N)
    model, x = example.model(), example.x(torch.Generator().manual_seed(2))
    with torch.no_grad():
        eta, laws = model.experts(x), model.likelihood.marginals(**model.expert_parameters(x))
    for r, law in enumerate(laws):
        for k, own in enumerate(example.own):
            known = _multivariate(eta[k, 0].numpy(), own)
            sd = math.sqrt(known.cov[r, r])
            assert float(law.variance[k, 0]) == pytest.approx(sd**2)
            at = float(law.cdf(torch.full((K, N), 1.5))[k, 0])
            assert at == pytest.approx(stats.norm(known.mean[r], sd).cdf(1.5))


def test_where_there_is_no_variance_it_is_infinite_or_not_a_number() -> None:
    likelihood = FAMILIES["student_t"](num_experts=3)  # type: ignore[call-arg]
    log_df = torch.tensor([-800.0, 0.0, 30.0])
    (law,) = likelihood.marginals(loc=torch.zeros(3), scale=torch.ones(3), log_df=log_df)
    assert law.df.tolist()[:2] == [1, 2]
    assert law.variance[0].isnan()
    assert law.variance[1] == math.inf
    assert float(law.variance[2]) == pytest.approx(1)
    cauchy = stats.cauchy.cdf([-1e12, -2.0, 0.0, 3.0])
    found = [float(law.cdf(torch.full((3,), y))[0]) for y in (-1e12, -2.0, 0.0, 3.0)]
    np.testing.assert_allclose(found, cauchy, rtol=1e-12)
    found, draws, x = of_family("student_t")  # type: ignore[assignment]
    (of_y,) = moments(found, x, draws)  # type: ignore[arg-type]
    assert np.isinf(of_y.variance).all()
    assert np.isfinite(of_y.between).all()


# Variances


@every
def test_the_causes_add_up_to_the_variance(family: str) -> None:
    """The variance of all S K components at once, without the intermediate means."""
    found, draws, x = of_family(family)
    shares, mean, variance = by_hand(found, draws, x)
    if family == "student_t":  # a finite one
        for one in draws:
            one["likelihood.log_df"] = one["likelihood.log_df"].abs() + 0.5
        shares, mean, variance = by_hand(found, draws, x)
    if family in CLASSES:
        mean = np.stack([1 - mean, mean], -1) if family == "bernoulli" else mean
        shares, variance = shares[..., None], mean * (1 - mean)
    for number in (1, DRAWS):
        of_y = moments(found, x, draws[:number])[0]
        weight, m, v = shares[:number] / number, mean[:number], variance[:number]
        overall = (weight * m).sum((0, 1))
        total = (weight * (v + (m - overall) ** 2)).sum((0, 1))
        target = found.encoding.target
        np.testing.assert_allclose(of_y.variance, total * target.sd**2, rtol=1e-10)
        np.testing.assert_allclose(of_y.mean, overall * target.sd + target.mean, rtol=1e-12)
        assert (of_y.weights > 0).all() if number > 1 else (of_y.weights == 0).all()
        assert (of_y.within > 0).all()
        assert (of_y.between > 0).all()
        # Each expert's mean, given the expert: the gate mixes them to the whole.
        gate = shares[:number].mean(0)
        experts = (of_y.experts - target.mean) / target.sd
        np.testing.assert_allclose((gate * experts).sum(0), overall, rtol=1e-10)


def test_large_means_cost_no_digits() -> None:
    """Negative control: second moments less squared means fail."""
    found, draws, x = of_family("normal")
    for one in draws:
        one["experts.bias_0"] = one["experts.bias_0"] + 2.0**30
    shares, mean, variance = by_hand(found, draws, x)
    (large,) = moments(found, x, draws)
    for one in draws:
        one["experts.bias_0"] = one["experts.bias_0"] - 2.0**30
    (small,) = moments(found, x, draws)
    # Means near 2^30 are themselves rounded by 2^-23.
    np.testing.assert_allclose(large.variance, small.variance, rtol=1e-6)
    second = (shares / DRAWS * (variance + mean**2)).sum((0, 1))
    naive = 16 * (second - (shares / DRAWS * mean).sum((0, 1)) ** 2)
    assert not np.allclose(naive, small.variance, rtol=1e-2)


def test_an_expert_that_is_impossible_has_no_say() -> None:
    found, draws, x = of_family("student_t")
    for one in draws:
        one["likelihood.log_df"] = torch.tensor([-3.0, 2.0, 2.0])[:, None]  # the first infinite
        one["gate.bias_0"] = torch.tensor([-1e4, 0.0, 0.0]).expand_as(one["gate.bias_0"])
    (of_y,) = moments(found, x, draws)
    assert np.isfinite(of_y.variance).all()
    assert np.isfinite(of_y.experts).all()


@every
def test_moments_and_quantiles_are_those_of_draws(family: str) -> None:
    """Within 5 standard errors of 100,000 draws; half a percent of probability is seen."""
    found, draws, x = of_family(family)
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(4)
    drawn = []
    for weights in draws:
        gate, parameters = found.components(x, weights)
        z = torch.multinomial(gate, TIMES // DRAWS, replacement=True, generator=generator).T
        chosen = {name: select(z, value) for name, value in parameters.items()}
        drawn.append(found.model.likelihood.distribution(**chosen).sample())
    y = torch.cat(drawn).numpy()
    of_y = moments(found, x, draws)[0]
    if family in CLASSES:
        values = (y[..., None] == np.arange(len(CLASSES[family]))).astype(float)
    else:
        values = y[..., 0] if y.ndim > 2 else y
        values = found.encoding.decode(values)
        quantiles = quantiles_of(found, components(found, x, draws), LEVELS)[0]
        assert quantiles is not None
        for p, q in zip(LEVELS, quantiles, strict=True):
            error = 5 * math.sqrt(p * (1 - p) / TIMES)
            assert ((values <= q + 1e-9).mean(0) > p - error).all()
            assert ((values < q - 1e-9).mean(0) < p + error).all()
        off = np.quantile(values, 0.5, axis=0) + 0.1 * of_y.experts.std() + 0.1
        if family not in COUNTS:  # negative control: quantiles a little off are seen
            assert (abs((values <= off).mean(0) - 0.5) > 5 * 0.5 / math.sqrt(TIMES)).any()
    if family == "student_t":
        return  # no variance
    squares = (values - values.mean(0)) ** 2
    tolerance = 5 * squares.std(0) / math.sqrt(TIMES)
    assert (abs(values.mean(0) - of_y.mean) < 5 * values.std(0) / math.sqrt(TIMES) + 1e-12).all()
    assert (abs(squares.mean(0) - of_y.variance) < tolerance + 1e-12).all()
    # Negative control: without what the experts or the weights add, it would be seen.
    assert (abs(squares.mean(0) - of_y.within) > tolerance).any()
    if family not in NOISY:
        assert (abs(squares.mean(0) - of_y.within - of_y.between) > tolerance).any()


# Quantiles


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-300, -1e-300, 1e300, -1e300, math.pi])
def test_the_smallest_number_is_found_to_the_last_bit(value: float) -> None:
    found = smallest(lambda y: y >= value, (2,))
    assert found.tolist() == [value, value]
    assert math.copysign(1, float(found[0])) == (-1 if value < 0 else 1)


def test_what_never_or_always_holds_has_an_end() -> None:
    assert smallest(lambda y: y > math.inf, (1,)).tolist() == [math.inf]
    assert float(smallest(lambda y: y > -math.inf, (1,))[0]) == -torch.finfo(torch.float64).max


@numbers
def test_a_quantile_is_the_smallest_number_that_reaches_p(family: str) -> None:
    found, draws, x = of_family(family)
    each, target = components(found, x, draws), found.encoding.target
    shares, law = each.shares / DRAWS, found.model.likelihood.marginals(**each.parameters)[0]

    def cdf(y: Any) -> Any:
        return (shares * law.cdf(torch.from_numpy((y - target.mean) / target.sd))).sum((0, 1))

    found_quantiles = quantiles_of(found, each, LEVELS)[0]
    assert found_quantiles is not None
    assert found_quantiles.shape == (len(LEVELS), N)
    for p, q in zip(LEVELS, found_quantiles, strict=True):
        if family in COUNTS:
            assert (q == q.round()).all()
            assert (cdf(q) >= p - 1e-12).all()
            assert (cdf(q - 1) < p).all()
        else:
            np.testing.assert_allclose(cdf(q), p, atol=1e-7)
            assert (abs(cdf(q * (1 + 1e-4)) - p) > 1e-7).any()  # the tolerance can fail


def test_a_half_is_reached_where_it_is_only_just() -> None:
    """One of one trial: P(y <= 0) is 1/2, but for the rounding of the gate."""
    likelihood = FAMILIES["binomial"]()
    model = MixtureOfExperts(2, likelihood, 3, extras=["trials"])
    found, draws = fit_around(model, (Target(name="y", families=("binomial",)),))
    for one in draws:
        one["experts.weight_0"] = torch.zeros_like(one["experts.weight_0"])
        one["experts.bias_0"] = torch.zeros_like(one["experts.bias_0"])
    x = torch.cat([torch.randn(50, 2), torch.ones(50, 1)], -1)
    (found_quantiles,) = quantiles_of(found, components(found, x, draws), [0.5, 0.5001])
    np.testing.assert_array_equal(found_quantiles, np.repeat([[0.0], [1.0]], 50, 1))


def test_a_mixture_of_two_normals_in_closed_form() -> None:
    model = MixtureOfExperts(2, Normal(2), 2)
    found, (one, *_) = fit_around(model, (Target(name="y", families=("normal",), mean=3, sd=2),))
    one |= {n: torch.zeros_like(v) for n, v in one.items()}
    one["experts.bias_0"] = torch.tensor([-1.0, 2.0]).reshape(one["experts.bias_0"].shape)
    one["gate.bias_0"] = torch.tensor([0.3, 0.7]).log().reshape(one["gate.bias_0"].shape)
    one["likelihood.log_scale"] = torch.tensor([0.5, 1.5]).log()[:, None] - 0.0
    x = torch.zeros(1, 2)
    (of_y,) = moments(found, x, [one])
    sd = 2 * (np.array([0.5, 1.5]) + 1e-4)
    assert of_y.mean == pytest.approx(3 + 2 * (0.3 * -1 + 0.7 * 2))
    assert of_y.within == pytest.approx(0.3 * sd[0] ** 2 + 0.7 * sd[1] ** 2)
    assert of_y.between == pytest.approx(0.3 * 0.7 * (2 * 3) ** 2)

    def above(y: float) -> float:
        each = stats.norm([1.0, 7.0], sd).cdf(y) * [0.3, 0.7]
        return float(each.sum()) - 0.9

    (quantiles,) = quantiles_of(found, components(found, x, [one]), [0.9])
    assert quantiles is not None
    expected = optimize.brentq(above, 0, 20, xtol=1e-13)
    assert float(quantiles[0, 0]) == pytest.approx(expected, rel=1e-12)


# Several responses, families and groups


def test_responses_and_families_side_by_side_keep_their_own_laws() -> None:
    targets = (
        Target(name="y", families=("normal",), sd=2.0),
        Target(name="n", families=("poisson",)),
    )
    found, draws = fit_around(MixtureOfExperts(2, Joint([Normal(K), Poisson()]), K), targets)
    table = {"a": [0.1, -1.0], "b": [0.4, 2.0]}
    predicted = predict(found, table, quantiles=[0.5], per_expert=True)
    x = torch.tensor([table["a"], table["b"]]).T
    for r, name in enumerate(("y", "n")):
        of_y = moments(found, x, draws)[r]
        np.testing.assert_array_equal(predicted[f"{name}:variance"].to_numpy(), of_y.variance)
        np.testing.assert_array_equal(predicted[f"{name}:mean_1"].to_numpy(), of_y.experts[1])
        np.testing.assert_allclose(predicted[f"{name}:mean"].to_numpy(), of_y.mean)
    assert (predicted["n:q0.5"].to_numpy() % 1 == 0).all()
    rate = np.stack([found.components(x, one)[1]["1.log_rate"].exp().numpy() for one in draws])
    shares, *_ = by_hand(found, draws, x)
    np.testing.assert_allclose(
        predicted["n:variance_within"].to_numpy(), (shares * rate).sum(1).mean(0)
    )


def test_noise_is_uniform_within_its_range() -> None:
    likelihood = Mixed([Normal(2), Noise([-2.0], [4.0])], [0, 1, 0])
    target = Target(name="y", families=("normal", "normal", "normal"), levels=(0.0, 0.0, 0.0))
    found, draws = fit_around(MixtureOfExperts(2, likelihood, 3), (target,))
    x = torch.randn(N, 2, generator=torch.Generator().manual_seed(0))
    each = components(found, x, draws)
    (law,) = likelihood.marginals(**each.parameters)
    torch.testing.assert_close(law.variance[:, 1], torch.full((DRAWS, N), 3.0))
    torch.testing.assert_close(law.cdf(torch.ones(N))[:, 1], torch.full((DRAWS, N), 0.5))
    normal = stats.norm(each.parameters["0.loc"][:, 0], each.parameters["0.scale"][:, 0])
    np.testing.assert_allclose(law.variance[:, 0], normal.var())
    np.testing.assert_allclose(law.cdf(torch.ones(N))[:, 0], normal.cdf(1.0))
    outside = law.cdf(torch.full((N,), -9.0))[:, 1] + 1 - law.cdf(torch.full((N,), 9.0))[:, 1]
    assert (outside == 0).all()


def test_rows_of_groups_have_moments_of_their_own() -> None:
    found, draws, x = of_family("normal")
    x[1::2] = x[::2] + torch.tensor([0.0, 0.5])
    grouped = moments(found, x.reshape(N // 2, 2, 2), draws)[0]
    gate = torch.stack([found.components(x[::2], one)[0].T for one in draws])
    loc = torch.stack([found.components(x, one)[1]["loc"] for one in draws])
    expected = (gate.repeat_interleave(2, -1) * loc).sum(1).mean(0)
    np.testing.assert_allclose(grouped.mean, 50 + 4 * expected.numpy())


# Densities


@every
def test_densities_on_a_grid_are_those_of_the_rows(family: str) -> None:
    found, _, x = of_family(family)
    y = case(family, K, N).y
    trials = {"trials": x[:, 2].numpy()} if found.encoding.extras else {}
    table = {"a": x[:, 0].numpy(), "b": x[:, 1].numpy(), **trials}
    sd = found.encoding.target.sd
    names = [target.name for target in found.encoding.targets]
    columns = {n: c.numpy() for n, c in zip(names, y.T if y.dim() > 1 else [y], strict=True)}
    if family in CLASSES:
        columns = {"y": np.array(CLASSES[family])[columns["y"].astype(int)]}
    else:
        columns = {n: c * sd + found.encoding.target.mean for n, c in columns.items()}
    if family == "binomial":
        y = torch.zeros(N)
        columns = {"y": np.zeros(N)}
    whole, each = density(found, table, columns if len(names) > 1 else columns["y"])
    assert whole.shape == (N, N)
    assert each.shape == (N, K, N)
    joint = found.log_joint(x, y)  # row n with response n
    diagonal = np.arange(N)
    np.testing.assert_allclose(each[diagonal, :, diagonal], joint.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole[diagonal, diagonal], joint.logsumexp(-1).numpy(), rtol=1e-10)


def test_a_density_integrates_to_one_on_the_original_scale() -> None:
    found, _, x = of_family("skew_normal")
    grid = np.linspace(-150, 250, 8001)
    whole, _ = density(found, {"a": x[:, 0].numpy(), "b": x[:, 1].numpy()}, grid)
    np.testing.assert_allclose(integrate.simpson(np.exp(whole), x=grid), 1, rtol=1e-8)


def test_a_response_that_cannot_be_is_refused() -> None:
    found, _, x = of_family("poisson")
    with pytest.raises(InputError, match="grid: y: row 2: "):
        density(found, {"a": x[:, 0].numpy(), "b": x[:, 1].numpy()}, [1.0, 0.5])
    found, _, x = of_family("binomial")
    table = {"a": x[:, 0].numpy(), "b": x[:, 1].numpy(), "trials": x[:, 2].numpy()}
    with pytest.raises(InputError, match="grid: a response that the family cannot have"):
        density(found, table, [999.0])


# From a table


def spec_of(weights: str = "point", more: str = "family: normal") -> Any:
    text = f"""\
data: {{response: y, predictors: [x], split: {{test: 0.2}}}}
likelihood: {{{more}}}
experts: {{number: 2}}
guide: {{weights: {weights}}}
fit: {{restarts: 1, epochs: 20, batch_size: full}}
output: {{draws: 20}}
"""
    return parse_spec(text, "s").spec


def table(n: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return {"x": x, "y": np.where(x > 0, 2 + 2 * x, -1 - x) + 0.4 * rng.normal(size=n)}


@pytest.mark.parametrize("weights", ["point", "mean_field"])
def test_a_table_of_predictions_is_consistent(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit in single precision, from a table; in one portion and in many."""
    found: Fit = fit(spec_of(weights), table())
    predicted = predict(found, table(), quantiles=LEVELS, per_expert=True)
    column = {name: predicted[name].to_numpy() for name in predicted.column_names}
    causes = [column[f"variance_{name}"] for name in ("within", "between", "weights")]
    np.testing.assert_allclose(sum(causes), column["variance"], rtol=1e-10)
    assert (column["variance_weights"] > 0).all() == (weights == "mean_field")
    np.testing.assert_array_equal(column["sd"] ** 2 > 0, True)
    np.testing.assert_allclose(column["sd"] ** 2, column["variance"], rtol=1e-12)
    mixed = sum(column[f"gate_{k}"] * column[f"mean_{k}"] for k in range(2))
    np.testing.assert_allclose(mixed, column["mean"], rtol=1e-4, atol=1e-5)
    quantiles = np.stack([column[f"q{p}"] for p in LEVELS])
    assert (np.diff(quantiles, axis=0) > 0).all()
    below = np.mean(column["q0.01"] <= table()["y"])
    assert below > 0.9
    r = np.stack([column[f"responsibility_{k}"] for k in range(2)])
    np.testing.assert_allclose(column["entropy"], stats.entropy(r), rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(predictive, "CELLS", 2 * len(found.weight_draws()) * 7)
    in_parts = predict(found, table(), quantiles=LEVELS, per_expert=True)
    assert in_parts.column_names == predicted.column_names
    for name, values in column.items():
        np.testing.assert_allclose(in_parts[name].to_numpy(), values, rtol=1e-4, atol=1e-5)
    without = predict(found, {"x": table()["x"]})
    assert set(without.column_names) == {
        *("mean", "variance", "variance_within", "variance_between", "variance_weights", "sd"),
        *("gate_0", "gate_1"),
    }
    none = predict(found, {"x": np.empty(0)}, quantiles=[0.5])
    assert none.num_rows == 0


def test_one_draw_is_the_point_bit_for_bit() -> None:
    found: Fit = fit(spec_of(), table())
    assert found.data is not None
    x, y = to_tensors(found.data.train, found.spec)
    columns = {name: values[found.data.train.rows] for name, values in table().items()}
    predicted = predict(found, columns)
    gate, parameters = found.components(x)
    mean = torch.einsum("nk,kn->n", gate, found.model.likelihood.mean(**parameters))
    np.testing.assert_array_equal(predicted["mean"].to_numpy(), found.encoding.decode(mean.numpy()))
    np.testing.assert_array_equal(predicted["gate_0"].to_numpy(), gate[:, 0].numpy())
    joint = found.log_joint(x, y)
    np.testing.assert_array_equal(predicted["log_density"].to_numpy(), joint.logsumexp(-1).numpy())


def test_classes_have_probabilities_of_every_expert_and_no_quantiles() -> None:
    columns = table()
    columns["y"] = np.where(columns["y"] > 1, "high", "low")
    found: Fit = fit(spec_of(more="family: bernoulli"), columns)
    predicted = predict(found, columns, per_expert=True)
    assert not [n for n in predicted.column_names if n.startswith(("variance", "q", "sd"))]
    each = [predicted[f"p(high)_{k}"].to_numpy() for k in range(2)]
    gate = [predicted[f"gate_{k}"].to_numpy() for k in range(2)]
    mixed = sum(g * p for g, p in zip(gate, each, strict=True))
    np.testing.assert_allclose(mixed, predicted["p(high)"].to_numpy(), rtol=1e-5)
    with pytest.raises(InputError, match="classes have no quantiles"):
        predict(found, columns, quantiles=[0.5])


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        ([0.5, 0.0], "quantiles: 0 is not between 0 and 1; give numbers between 0 and 1, as in "),
        ([1], "quantiles: 1 is not between 0 and 1; "),
        ([1.2], "quantiles: 1.2 is not between 0 and 1; "),
        ([math.nan], "quantiles: nan is not between 0 and 1; "),
        ([0.5, 0.5], "quantiles: 0.5 is there twice; "),
    ],
)
def test_quantiles_that_cannot_be_are_refused(quantiles: list[float], message: str) -> None:
    found, _, _ = of_family("normal")
    with pytest.raises(InputError) as raised:
        predict(found, table(), quantiles=quantiles)
    assert str(raised.value).startswith(message)


def test_every_column_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "predictions.md").read_text()
    found: Fit = fit(spec_of(), table())
    predicted = predict(found, table(), quantiles=[0.5], per_expert=True)
    names = {n.replace("_0", "_k").replace("_1", "_k") for n in predicted.column_names}
    assert not [name for name in names if f"`{name}`" not in page]
