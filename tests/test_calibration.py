"""Draws are from the posterior: NUTS beside integrals, and calibration, which sees what is not."""

from __future__ import annotations

import math
from typing import Any

import arviz
import numpy as np
import pyro
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # no stubs
from test_benchmarks import FOLDER, benchmark

from pyromoe.guides import LaplaceGuide, Seeded
from pyromoe.inference import fit
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.nuts import chain_from, evaluated
from pyromoe.inference.fitting.weights import LogPosterior, curve
from pyromoe.inference.posterior.calibration import calibrated, positions, uniformity
from pyromoe.inference.steps import graph
from pyromoe.models import parse_spec
from pyromoe.models.data.data import from_table

Array = np.ndarray[Any, Any]
SCALE, OF_NOISE = 0.8, 0.5
"""Of the priors: of coefficients, and of the logarithm of the noise."""


def spec_of(weights: str, priors: str, draws: int = 600) -> Any:
    """One linear expert."""
    text = f"""
data: {{response: y, split: {{test: 0.0}}, standardise: none}}
likelihood: {{family: normal}}
experts: {{number: 1}}
gate: {{kind: equal}}
priors: {{{priors}}}
guide: {{weights: {weights}, warmup: 80}}
fit: {{restarts: 2, mode: captured, optimiser: lbfgs, precision: float64}}
output: {{draws: {draws}}}
"""
    return parse_spec(text, "s").spec


def table(n: int = 12) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    return {"x": x, "y": 0.6 - 0.5 * x + 0.7 * rng.normal(size=n)}


def posterior_of(spec: Any, rows: dict[str, Array]) -> LogPosterior:
    data = from_table(spec, rows)
    model, guide = build(spec, None, data.encoding, torch.Generator().manual_seed(0))
    return LogPosterior(model, guide, data, spec)


# NUTS beside a quadrature

NORMAL = f"experts: {{kind: normal, scale: {SCALE}}}, scales: {{kind: none}}"
LEARNED = NORMAL.replace("none", f"normal, scale: {OF_NOISE}")


def moments(rows: dict[str, Array]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of every weight: given the noise, coefficients are normal."""
    x, y = rows["x"], rows["y"]
    design = np.stack([x, np.ones(len(x))], 1)
    logs = np.linspace(-3, 3, 2001)
    noise = np.exp(logs) + 1e-4
    precision = design.T @ design / noise[:, None, None] ** 2 + np.eye(2) / SCALE**2
    covariance = np.linalg.inv(precision)
    mean = np.einsum("hij,jn,n->hi", covariance, design.T, y) / noise[:, None] ** 2
    square = (y @ y) / noise**2 - np.einsum("hi,hij,hj->h", mean, precision, mean)
    level = stats.norm.logpdf(logs, scale=OF_NOISE) - len(y) * np.log(noise) - square / 2
    level = level - np.linalg.slogdet(precision)[1] / 2
    p = np.exp(level - level.max())
    p /= p.sum()
    found = {"likelihood.log_scale": (p @ logs, p @ logs**2)}
    for i, name in enumerate(("experts.weight_0", "experts.bias_0")):
        found[name] = p @ mean[:, i], p @ (mean[:, i] ** 2 + covariance[:, i, i])
    return {n: (float(m), float(np.sqrt(s - m**2))) for n, (m, s) in found.items()}


def distances(draws: dict[str, Array], known: dict[str, tuple[float, float]]) -> list[float]:
    """Differences of means and standard deviations, in Monte Carlo standard errors."""
    return [
        abs(float(found) - true) / float(arviz.mcse(draws[name], method=what))
        for name, pair in known.items()
        for what, found, true in zip(
            ("mean", "sd"), (draws[name].mean(), draws[name].std()), pair, strict=True
        )
    ]


@pytest.mark.slow
def test_nuts_draws_from_the_posterior() -> None:
    """Six moments within 4 Monte Carlo standard errors: by luck, one seed in 2,600 would fail.

    A mean that is off by a third of a standard deviation, or a spread too small by a quarter, is
    seen.
    """
    rows = table()
    found = fit(spec_of("nuts", LEARNED), rows)
    assert found.metrics["nuts"]["mode"] == "captured"
    each = found.weight_draws()
    draws = {n: np.array([float(d[n]) for d in each]).reshape(4, -1) for n in each[0]}
    known = moments(rows)
    assert max(distances(draws, known)) < 4
    moved = {n: v + known[n][1] / 3 for n, v in draws.items()}
    assert min(distances(moved, known)[::2]) > 4
    narrow = {n: v.mean() + 0.75 * (v - v.mean()) for n, v in draws.items()}
    assert min(distances(narrow, known)[1::2]) > 4


def test_the_log_posterior_is_scipys() -> None:
    """With scales above 0, whose logarithm is drawn: the Jacobian counts."""
    rows = table()
    hierarchical = NORMAL.replace("normal", "hierarchical")
    posterior = posterior_of(spec_of("nuts", hierarchical), rows)
    v = torch.randn(4, generator=torch.Generator().manual_seed(0))
    u, log_spread = dict[str, float](), dict[str, float]()
    for name, value in zip(posterior.weights.names, v.tolist(), strict=True):
        of, _, end = name.removeprefix("experts.").partition("_0")
        (log_spread if end else u)[of] = value
    slope, intercept = (u[n] * math.exp(log_spread[n]) for n in ("weight", "bias"))
    expected = stats.norm.logpdf(rows["y"], intercept + slope * rows["x"], 1 + 1e-4).sum()
    expected += stats.norm.logpdf([*u.values()]).sum()
    for value in log_spread.values():
        expected += stats.halfnorm.logpdf(math.exp(value), scale=SCALE) + value
    assert float(posterior(v).detach()) == pytest.approx(expected, abs=1e-10)


# Calibration

SIMULATIONS, DRAWS, NOISE = 4000, 50, 0.7
AT = 1.5


def simulated(spread: float, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Quantities at the truth, (n,), and at draws of the Laplace guide, (n, L), in closed form.

    With a known noise the posterior is normal, the guide exact, and its mode one Newton step away
    for every y.

    Args:
        spread: of the draws around the mode, 1 where they are from the posterior.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=8)
    posterior = posterior_of(spec_of("laplace", NORMAL), {"x": x, "y": rng.normal(size=8)})
    guide = posterior.weights
    assert isinstance(guide, LaplaceGuide)
    scale: Any = posterior.model.likelihood.log_scale
    scale.data.fill_(math.log(NOISE - 1e-4))
    curve(posterior, guide)
    true = SCALE * rng.normal(size=(SIMULATIONS, 2))  # slope, intercept
    y = true[:, :1] * x + true[:, 1:] + NOISE * rng.normal(size=(SIMULATIONS, 8))

    def of_rows(v: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        posterior.y = y
        return posterior.with_slope(v)

    v = guide.vector().detach()
    with pyro.validation_enabled(False):
        one = graph.capture(of_rows, [v, posterior.y])
    with torch.no_grad():
        _, slopes = graph.side_by_side(one, [True, False])(v, torch.from_numpy(y))
    mode = v + slopes @ guide.root @ guide.root.mT
    around, _ = guide.draws(Seeded(seed), SIMULATIONS * DRAWS)
    drawn = mode[:, None] + spread * (around - v).reshape(SIMULATIONS, DRAWS, 2)
    return quantities(true[:, None], x, y), quantities(drawn.numpy(), x, y)


def quantities(beta: Array, x: Array, y: Array) -> dict[str, Array]:
    """Functions of coefficients, (n, L, 2), each (n, L)."""
    slope, intercept = beta[..., 0], beta[..., 1]
    loc = slope[..., None] * x + intercept[..., None]
    return {
        "slope": slope,
        "mean": slope * AT + intercept,
        "log_likelihood": stats.norm.logpdf(y[:, None], loc, NOISE).sum(-1),
    }


def test_calibration_passes_the_posterior_and_refuses_one_a_tenth_too_narrow() -> None:
    """Nine tests at 0.001 together: the exact posterior fails for one seed in a thousand.

    With 4,000 simulations, draws that spread a tenth too little are refused for more than 99 seeds
    in 100: the mean square of their normal scores is then 8 standard errors above 1, and 4 are
    enough.
    """
    for spread, expected in ((1.0, True), (0.9, False)):
        true, draws = simulated(spread, 0)
        rng = np.random.default_rng(0)
        tests = {n: uniformity(positions(true[n][:, 0], draws[n], rng)) for n in true}
        assert calibrated(tests) is expected, tests


def test_positions_break_ties_at_random() -> None:
    rng = np.random.default_rng(0)
    ones = np.ones(20_000)
    tied = uniformity(positions(ones, np.ones((20_000, 9)), rng))
    assert calibrated({"tied": tied})
    first = positions(np.array([0.5, -1.0, 9.0]), np.array([[0.0, 1.0, 2.0]] * 3), rng)
    assert [int(4 * u) for u in first] == [1, 0, 3]


def test_each_test_of_uniformity_sees_what_it_is_for() -> None:
    u = (np.arange(1000) + 0.5) / 1000
    good = uniformity(u)
    assert abs(good.mean) < 1e-9
    assert abs(good.variance) < 0.5
    assert good.p_bins == pytest.approx(1.0)
    assert uniformity(stats.norm.cdf(stats.norm.ppf(u) + 0.2)).p_mean < 1e-9
    assert uniformity(stats.norm.cdf(1.25 * stats.norm.ppf(u))).p_variance < 1e-6
    assert uniformity(stats.norm.cdf(0.75 * stats.norm.ppf(u))).p_variance < 1e-6
    assert uniformity(np.where(u < 0.05, u + 0.05, u)).p_bins < 1e-6


def test_the_benchmark_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("calibration", monkeypatch)
    for name, value in {"WARMUP": 12, "KEPT": 5, "THIN": 2, "SEARCHES": 1}.items():
        monkeypatch.setattr(module, name, value)
    found = module.main("--simulations 3 --processes 1 --mode captured".split())
    lines = capsys.readouterr().out.splitlines()
    end = "calibrated" if found else "NOT calibrated"
    assert lines[-1] == f"3 simulations, 30 tests at 0.001 together: {end}"
    assert [line for line in lines if line.startswith("residual scale")]


def test_the_coverage_of_guides_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    module = benchmark("coverage", monkeypatch)
    for name, value in {"EPOCHS": 3, "DRAWS": 20}.items():
        monkeypatch.setattr(module, name, value)
    shown = module.main("--simulations 2 --processes 1 --guides low_rank".split())
    assert [*shown] == ["low_rank"]
    assert all(0 <= a <= b <= 1 for c in shown.values() for a, b in (c[:2], c[2:]))
    assert len(capsys.readouterr().out.splitlines()) == 3


# How f is evaluated


@pytest.mark.parametrize(
    ("mode", "transitions", "expected"),
    [
        ("auto", 999, "captured"),
        ("auto", 1000, "compiled"),
        ("compiled", 1, "compiled"),
        ("eager", 1000, "eager"),
    ],
)
def test_long_runs_are_compiled(
    mode: str, transitions: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    posterior = posterior_of(spec_of("nuts", LEARNED), table())
    monkeypatch.setattr(graph, "compiled", lambda captured, given: captured)
    v = torch.tensor([0.3, -0.2, 0.1])
    with pyro.validation_enabled(False):
        run, ran = evaluated(posterior.with_slope, v, mode, transitions)
    assert ran == expected
    for one, other in zip(run(v), posterior.with_slope(v), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_without_a_compiler_graphs_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("no compiler here")

    monkeypatch.setattr(graph, "compiled", refuse)
    posterior = posterior_of(spec_of("nuts", LEARNED), table())
    with pyro.validation_enabled(False):
        _, ran = evaluated(posterior.with_slope, torch.zeros(3), "compiled", 1)
    assert ran == "captured"


@pytest.mark.compiler
def test_a_compiled_graph_is_given_its_constants() -> None:
    """Rows and priors are constants, and some of them expanded; the numbers are the same."""
    posterior = posterior_of(spec_of("nuts", LEARNED), table())
    v = torch.tensor([0.3, -0.2, 0.1])
    with pyro.validation_enabled(False):
        run, ran = evaluated(posterior.with_slope, v, "compiled", 1)
    assert ran == "compiled"
    for at in (v, v + 0.5):
        for one, other in zip(run(at), posterior.with_slope(at), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_chain_without_a_density_is_named() -> None:
    def nowhere(v: torch.Tensor) -> list[torch.Tensor]:
        return [v.new_tensor(math.nan), torch.full_like(v, math.nan)]

    with pytest.raises(NumericalError, match=r"nuts: chain 3 .*narrower prior"):
        chain_from(nowhere, torch.zeros(2), spec_of("nuts", LEARNED), (2, 10))


def test_nuts_starts_at_the_mode_of_what_it_draws() -> None:
    """Of the logarithms of scales, not of the scales: theirs may be at 0, where no density is."""
    hierarchical = NORMAL.replace("normal", "hierarchical")
    found = fit(spec_of("nuts", hierarchical, 16), table())
    assert found.data is not None
    posterior = LogPosterior(found.model, found.guide, found.data, found.spec)
    _, slope = posterior.with_slope(found.guide.weights.vector())
    assert float(slope.abs().max()) < 1e-3


def test_a_step_over_a_cliff_is_kept_as_diverged() -> None:
    def cliff(v: torch.Tensor) -> list[torch.Tensor]:
        return [-(v.square().sum() / 2 + 1e6 * (v.abs() > 1).any()), -v]

    for level, expected in ((cliff, True), (lambda v: [-v.square().sum() / 2, -v], False)):
        _, diverged = chain_from(level, torch.zeros(2), spec_of("nuts", LEARNED), (0, 50))
        assert diverged.shape == (50,)
        assert bool(diverged.any()) == expected
