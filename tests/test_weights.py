"""Posteriors over weights: densities, priors, guides, and what is handed on of them."""

from __future__ import annotations

import math
from typing import Any

import arviz
import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from scipy import stats  # type: ignore[import-untyped]  # no stubs
from torch import Tensor

from pyromoe.guides import (
    WEIGHT_GUIDES,
    DrawnGuide,
    LaplaceGuide,
    PointGuide,
    Seeded,
    WeightedGuide,
)
from pyromoe.guides.gaussian import WeightGuide, log_normal
from pyromoe.inference import Treatment_ELBO, fit, moments, predict, to_arviz
from pyromoe.inference.files.arviz_versions import pareto_k
from pyromoe.inference.files.verified import seal
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.probabilities import log_probabilities, to_tensors
from pyromoe.inference.fitting.weights import LogPosterior, curve, number_alike
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.runs.store import load_fit, save_fit
from pyromoe.models import InputError, MixtureOfExperts, Networks, log_joint, parse_spec
from pyromoe.models.gates import Equal, Linear
from pyromoe.models.likelihoods import Normal
from pyromoe.models.priors import PRIORS, is_positive
from pyromoe.models.trace import Standardised, log_density_of_weights, run_given, trace_of

K, D, N = 3, 2, 12
guides = pytest.mark.parametrize("kind", WEIGHT_GUIDES)
priors = pytest.mark.parametrize("prior", PRIORS)


def values() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(2, 3, generator=generator).double()
    return {"a": free, "b.c_spread": torch.rand(2, generator=generator).double() + 0.1}


def guide_of(kind: str) -> WeightGuide:
    made = WEIGHT_GUIDES[kind](values(), ["b.c_spread"], torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator).double())
    return made


@guides
def test_the_density_is_that_of_the_transported_noise(kind: str) -> None:
    made = guide_of(kind)
    e = torch.randn(made.size + made.more, generator=torch.Generator().manual_seed(3)).double()
    v, density = made.transport(e)
    if made.more:
        variances = (2 * made.log_scale).exp()
        law: Any = torch.distributions.LowRankMultivariateNormal
        known = law(made.loc, made.factor, variances).log_prob(v)
    else:
        jacobian: Any = torch.autograd.functional.jacobian(lambda e: made.transport(e)[0], e)
        known = log_normal(e[None])[0] - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(density + log_normal(e[None])[0], known, rtol=1e-10, atol=1e-10)
    again, log_q = made.draws(_Fixed(e), 1)
    torch.testing.assert_close(again[0], v)
    torch.testing.assert_close(log_q[0], known, rtol=1e-10, atol=1e-10)


class _Fixed(Seeded):
    """Noise that is known."""

    def __init__(self, e: Tensor) -> None:
        super().__init__(0)
        self.e = e

    def normal(self, logits: Tensor, num_samples: int) -> Tensor:
        return self.e.expand(num_samples, *logits.shape)


@guides
def test_a_guides_sites_have_the_density_of_the_vector(kind: str) -> None:
    """Its trace sums to log q(v) less the Jacobian of what is above 0."""
    made = guide_of(kind)
    e = torch.randn(made.size + made.more, generator=torch.Generator().manual_seed(3)).double()
    trace = trace_of(Standardised(lambda like: e)(made))
    _, log_q = made.draws(_Fixed(e), 1)
    positive: Any = trace.nodes["b.c_spread"]["value"]
    found = torch.as_tensor(log_density_of_weights(trace))
    torch.testing.assert_close(found, log_q[0] - positive.log().sum(), rtol=1e-10, atol=1e-10)


def bayesian(kind: str) -> tuple[MixtureOfExperts, WeightedGuide, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = MixtureOfExperts(D, Normal(K), K, gate=Linear, generator=generator).double()
    starts = {f"experts.{n}": v for n, v in model.experts.place_prior(1.3).items()}
    starts |= {f"gate.{n}": v for n, v in model.gate.place_prior(0.7).items()}
    starts |= {f"likelihood.{n}": v for n, v in model.likelihood.place_prior(0.5).items()}
    x = torch.randn(N, D, generator=generator).double()
    y = torch.randn(N, generator=generator).double()
    return model, WeightedGuide(WEIGHT_GUIDES[kind](starts, (), generator), None), x, y


@guides
def test_the_elbo_is_pyros(kind: str) -> None:
    model, guide, x, y = bayesian(kind)
    weights = guide.weights
    assert isinstance(weights, WeightGuide)
    e = torch.randn(weights.size + weights.more, generator=torch.Generator().manual_seed(3))
    ours = Treatment_ELBO(noise=_Fixed(e.double())).loss(model, guide, x, y)
    drawn = Standardised(lambda like: e.double())(guide)
    pyros = TraceEnum_ELBO(max_plate_nesting=1).loss(model, drawn, x, y)
    assert ours == pytest.approx(pyros, abs=1e-9)


@priors
def test_a_prior_leaves_the_weights_where_they_are(prior: Any) -> None:
    bank = Networks(K, [D, 4, 1], generator=torch.Generator().manual_seed(0)).double()
    before = [t.detach().clone() for pair in bank.layers() for t in pair]
    model = MixtureOfExperts(D, Normal(K), K, gate=Equal)
    model.experts = bank
    starts = {f"experts.{n}": v for n, v in bank.place_prior(1.3, prior).items()}
    after = [t for pair in run_given(model.layers, starts) for t in pair]
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def _log_prior(prior: str, w: dict[str, np.ndarray[Any, Any]], scale: float) -> float:
    """The log density of linear experts' weights by SciPy."""
    normal, total = stats.norm.logpdf, 0.0
    if prior in ("laplace", "horseshoe"):
        total += float(normal(w["bias_0"], scale=scale).sum())
    if prior == "normal":
        return float(sum(normal(v, scale=scale).sum() for v in w.values()))
    if prior == "laplace":
        return total + float(stats.laplace.logpdf(w["weight_0"], scale=scale).sum())
    if prior == "horseshoe":
        total += float(normal(w["weight_0"]).sum())
        total += float(stats.halfcauchy.logpdf(w["weight_0_local"]).sum())
        return total + float(stats.halfcauchy.logpdf(w["weight_0_global"], scale=0.1))
    for name in ("weight_0", "bias_0"):
        total += float(normal(w[name]).sum() + normal(w[f"{name}_mean"], scale=scale).sum())
        total += float(stats.halfnorm.logpdf(w[f"{name}_spread"], scale=scale / 25))
    return total


@priors
def test_a_priors_density_is_scipys(prior: Any) -> None:
    model = MixtureOfExperts(D, Normal(K), K, gate=Equal).double()
    starts = model.experts.place_prior(1.3, prior)
    generator = torch.Generator().manual_seed(5)
    w = {n: torch.randn(v.shape, generator=generator).double() for n, v in starts.items()}
    w = {n: v.abs() if is_positive(n) else v for n, v in w.items()}
    x, y = torch.zeros(N, D).double(), torch.zeros(N).double()
    joint = log_joint(model, x, y, weights={f"experts.{n}": v for n, v in w.items()})
    expected = _log_prior(prior, {n: v.numpy() for n, v in w.items()}, 1.3)
    assert float(joint.log_prior_of_weights) == pytest.approx(expected, abs=1e-10)


# Fits


def table(n: int = 60, k: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    second = (rng.random(n) < 1 / (1 + np.exp(-2 * x))) & (k > 1)
    return {"x": x, "y": np.where(second, 2 + 2 * x, -1 - x) + 0.4 * rng.normal(size=n)}


def spec_of(weights: str, more: str = "", **sections: str) -> Any:
    known = {
        "data": "response: y, split: {test: 0.2}",
        "likelihood": "family: normal",
        "experts": "number: 2",
        "priors": "scales: {kind: normal}",
        "guide": f"weights: {weights}, warmup: 40",
        "fit": "restarts: 2, epochs: 30, batch_size: full",
        "output": "draws: 20",
    } | sections
    lines = [f"{name}: {{{text}}}" for name, text in known.items()]
    return parse_spec("\n".join([*lines, more]), "s").spec


KINDS = ("mean_field", "low_rank", "full_rank", "flow", "laplace", "nuts")
every = pytest.mark.parametrize("weights", KINDS)


@every
def test_a_fit_has_draws_and_hands_them_on(weights: str, tmp_path: Any) -> None:
    found = fit(spec_of(weights), table())
    draws = found.weight_draws()
    assert len(draws) == 20
    assert not torch.equal(draws[0]["experts.weight_0"], draws[1]["experts.weight_0"])
    tree = to_datatree(found)
    chains = 4 if weights == "nuts" else 1
    n = len(found.data.train.rows) if found.data else 0
    assert tree["posterior"]["resp"].shape == (chains, 20 // chains, n, 2)
    assert tree["posterior"]["scale"].std().item() > 0
    total = tree["log_likelihood"]["y"]
    assert total.dims == ("chain", "draw", "obs")
    assert found.data is not None
    x, y = to_tensors(found.data.train, found.spec)
    for draw in (0, 3):
        joint = log_joint(found.model, x, y, weights=draws[draw]).enumerate().logsumexp(0)
        sd = found.encoding.target.sd
        expected = joint.detach().numpy() - math.log(sd)
        at = total.stack(sample=("chain", "draw")).transpose("sample", "obs")[draw]
        np.testing.assert_allclose(at.to_numpy(), expected, rtol=1e-5, atol=1e-5)
    (tmp_path / "run").mkdir()
    save_fit(found, tmp_path / "run", tmp_path / "run")
    seal(tmp_path / "run")
    again = load_fit(tmp_path / "run")
    for one, other in zip(draws, again.weight_draws(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert predict(again, {"x": [0.1, 0.2], "y": [0.0, 1.0]}).num_rows == 2
    said = {"nuts": "nuts"}.get(weights, "pareto_k")
    assert said in found.metrics


def test_draws_of_nuts_number_the_experts_as_the_point_does(tmp_path: Any) -> None:
    """Half of the chains have the same weights with the experts in the other order."""
    short = {"guide": "weights: nuts, warmup: 10", "output": "draws: 16"}
    found = fit(spec_of("nuts", **short), table())
    weights, data = found.guide.weights, found.data
    assert data is not None
    assert isinstance(weights, DrawnGuide)
    x, y = to_tensors(data.train, found.spec)
    experts_last = {n: n.startswith("gate.") for n in weights.names}
    other = {n: v.flip(-1 if experts_last[n] else 0) for n, v in weights.tensors().items()}
    weights.kept[:] = weights.vector()
    weights.kept[2:] = torch.cat([other[n].detach().reshape(-1) for n in weights.names])
    weights.order[:] = torch.tensor([0, 1])
    mixed = found.gate(x)
    number_alike(LogPosterior(found.model, found.guide, data, found.spec), weights)
    assert weights.order[:, 0].tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]
    gate, parameters = found.components(x)
    assert (mixed - gate).abs().max() > 0.1
    torch.testing.assert_close(found.gate(x), gate)
    shares = log_probabilities(found.model, found.weights, x, y).softmax(-1)
    torch.testing.assert_close(found.responsibilities(x, y), shares, check_dtype=False)
    (means,) = found.model.likelihood.means(**parameters)
    of_experts = moments(found, x)[0].experts
    np.testing.assert_allclose(of_experts, found.encoding.decode(means.numpy()), rtol=1e-5)
    posterior = to_datatree(found)["posterior"]
    for name in ("resp", "expert_slope", "gate_slope", "scale"):
        each = posterior[name].stack(sample=("chain", "draw")).transpose("sample", ...)
        np.testing.assert_allclose(each.std("sample"), 0, atol=1e-6)
    (tmp_path / "run").mkdir()
    save_fit(found, tmp_path / "run", tmp_path / "run")
    seal(tmp_path / "run")
    torch.testing.assert_close(load_fit(tmp_path / "run").gate(x), gate)


@pytest.mark.parametrize("treatment", ["enumerate", "leave_one_out", "gumbel_softmax"])
@guides
def test_every_treatment_goes_with_every_guide_and_a_graph_keeps_the_bits(
    kind: str, treatment: str
) -> None:
    found = []
    for mode in ("eager", "captured"):
        settings = f"restarts: 1, epochs: 3, batch_size: 16, mode: {mode}, precision: float64"
        spec = spec_of(kind, f"treatment: {treatment}", fit=settings)
        found.append(fit(spec, table()).metrics["parameters_sha256"])
    assert found[0] == found[1]


@pytest.mark.compiler
def test_a_fit_with_priors_is_compiled() -> None:
    settings = "restarts: 1, epochs: 3, batch_size: full, precision: float64, mode: "
    eager, found = (
        fit(spec_of("mean_field", fit=settings + mode), table()) for mode in ("eager", "compiled")
    )
    assert found.metrics["mode"] == "compiled"
    for name, value in found.tensors().items():
        torch.testing.assert_close(value, eager.tensors()[name], rtol=1e-9, atol=1e-12)


def test_the_laplace_guide_is_exact_for_a_normal_posterior() -> None:
    """One linear expert with a known scale: the covariance is (X'X / sd^2 + I / s^2)^-1."""
    spec = spec_of(
        "laplace",
        experts="number: 1",
        gate="kind: equal",
        priors="experts: {kind: normal, scale: 0.8}, scales: {kind: none}",
        data="response: y, split: {test: 0.0}",
    )
    found = fit(spec, table(k=1))
    assert found.data is not None
    x, _ = to_tensors(found.data.train, found.spec)
    sd = float(found.model.likelihood.log_scale.detach().exp()) + 1e-4
    design = torch.cat([x, torch.ones_like(x)], 1)
    order = found.guide.weights.names
    assert order == ["experts.weight_0", "experts.bias_0"]
    precision = design.T @ design / sd**2 + torch.eye(2) / 0.8**2
    root = found.guide.weights.root
    torch.testing.assert_close(root @ root.mT, torch.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    # And so the guide is the posterior: importance ratios are constant.
    assert found.metrics["pareto_k"] < 0.5


class _Bowl:
    """A log posterior whose curvature at the mode is the same in every direction but the last."""

    def __init__(self, weights: LaplaceGuide, last: float) -> None:
        self.weights, self.mode = weights, weights.vector().detach()
        self.sizes = torch.ones_like(self.mode)
        self.sizes[-1] = last

    def __call__(self, v: Tensor) -> Tensor:
        return -(self.sizes * (v - self.mode).square()).sum() / 2


@pytest.mark.parametrize(
    ("last", "said"), [(1.0, None), (1e-7, "nearly flat"), (0.0, "maximum"), (-1.0, "maximum")]
)
def test_a_posterior_without_an_end_has_no_curvature_to_draw_from(
    last: float, said: str | None
) -> None:
    weights = LaplaceGuide(values(), ["b.c_spread"])
    posterior: Any = _Bowl(weights, last)
    if said is None:
        curve(posterior, weights)
        torch.testing.assert_close(weights.root @ weights.root.mT, torch.eye(8).double())
        return
    with pytest.raises(NumericalError, match=said):
        curve(posterior, weights)


def test_leave_one_out_agrees_with_refitting() -> None:
    """elpd_loo of the Laplace draws against the exact one, within its standard error."""
    rows = table(30, 1)

    def fitted(columns: dict[str, Any], draws: int) -> Any:
        spec = spec_of(
            "laplace",
            experts="number: 1",
            gate="kind: equal",
            data="response: y, split: {test: 0.0}, standardise: none",
            output=f"draws: {draws}",
        )
        return fit(spec, columns)

    loo = arviz.loo(to_arviz(fitted(rows, 400)))
    exact = []
    for i in range(30):
        one = fitted({n: np.delete(v, i) for n, v in rows.items()}, 50)
        row = predict(one, {n: v[i : i + 1] for n, v in rows.items()})
        exact.append(row["log_density"][0].as_py())
    assert abs(float(loo.elpd_loo) - sum(exact)) < float(loo.se)
    assert abs(float(loo.elpd_loo) - sum(exact)) < 1.0  # nats, of about 20


def test_paretos_k_knows_a_guide_that_is_too_narrow() -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=2000)
    near = stats.norm.logpdf(v) - stats.norm.logpdf(v, scale=1.05)
    v = 0.3 * v
    narrow = stats.norm.logpdf(v) - stats.norm.logpdf(v, scale=0.3)
    assert pareto_k(near) < 0.5
    assert pareto_k(narrow) > 0.7


@pytest.mark.parametrize(
    ("weights", "sections", "said"),
    [
        ("mean_field", {"priors": "experts: {kind: none}, gate: {kind: none}"}, "no weight has"),
        ("mean_field", {"fit": "optimiser: lbfgs"}, "finds a mode"),
        ("nuts", {"treatment": "name: leave_one_out"}, "nuts sums z out"),
        ("nuts", {"output": "draws: 15"}, "take 16 or more"),
        ("other", {}, "weights"),
    ],
)
def test_what_cannot_be_is_refused(weights: str, sections: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(spec_of(weights, **sections), table())


def test_points_above_zero_are_trained_by_their_logarithm() -> None:
    made = PointGuide(values(), ["b.c_spread"])
    torch.testing.assert_close(made.values()["b.c_spread"], values()["b.c_spread"])
    torch.testing.assert_close(made.weights_at(made.vector())["a"], values()["a"])
