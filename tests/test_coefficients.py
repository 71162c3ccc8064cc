"""Parameters in the table's units, their standard errors, given ones, and labels."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import statsmodels.api as sm
import torch

from pyromoe.inference.commands.assign import assign
from pyromoe.inference.commands.evaluated import evaluated
from pyromoe.inference.fitting.derivatives import jacobian
from pyromoe.inference.fitting.labels import chains, match, matched, renumbered
from pyromoe.inference.fitting.natural import Natural, nulls, to_json
from pyromoe.inference.maximum_likelihood.bootstrap import bootstrap
from pyromoe.inference.maximum_likelihood.standard_errors import Surface, standard_errors
from pyromoe.inference.posterior.posterior import to_arviz, to_datatree
from pyromoe.inference.svi import fit
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec, read_spec

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.fitting.result import Fit

PLAIN = """\
priors: {experts: {kind: none}, gate: {kind: none}}
fit: {precision: float64, optimiser: lbfgs, restarts: 4}
output: {draws: 4}
"""
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(3, 2, 300)
W = GENERATOR.integers(0, 2, 300)
Z = GENERATOR.random(300) < 1 / (1 + np.exp(-(X - 3)))
Y = np.where(Z, 50 - 4 * X, 2 + 3 * X + W) + np.where(Z, 2.0, 1.0) * GENERATOR.normal(size=300)
TABLE: dict[str, Any] = {
    "x": X,
    "w": W,
    "y": Y,
    "count": GENERATOR.poisson(np.exp(0.3 + 0.2 * X)),
    "level": np.clip(np.round(X + GENERATOR.logistic(size=300)), 1, 4).astype(int),
    "light": 2 + X + GENERATOR.uniform(-1, 1, 300),
    "share": 1 / (1 + np.exp(-(X - 3) / 3 - 0.3 * GENERATOR.normal(size=300))),
}


def fitted(data: str, likelihood: str, number: int = 2, more: str = "") -> Fit:
    text = f"data: {{{data}, split: {{test: 0}}}}\nlikelihood: {likelihood}\n"
    return fit(parse_spec(f"{text}experts: {{number: {number}}}\n{more}{PLAIN}", "s").spec, TABLE)


def natural(found: Fit) -> dict[str, Any]:
    return {n: v.detach().numpy() for n, (_, v) in Natural(
        found.model, found.guide, found.encoding)().items()}  # fmt: skip


def errors(found: Fit, **options: Any) -> dict[str, Any]:
    return {n: v.numpy() for n, (_, v) in standard_errors(found, **options).items()}


# One expert is a regression: its errors are known


def test_one_normal_expert_is_ordinary_least_squares() -> None:
    found = fitted("response: y, predictors: [x, w]", "{family: normal}", 1)
    peer = sm.OLS(Y, sm.add_constant(np.column_stack([X, W]))).fit()
    values, wrong = natural(found), errors(found)
    np.testing.assert_allclose(values["expert_intercept"][0], peer.params[0], rtol=1e-6)
    np.testing.assert_allclose(values["expert_slope"][0], peer.params[1:], rtol=1e-6)
    of_likelihood = peer.bse * math.sqrt(peer.df_resid / peer.nobs)  # by the maximum likelihood
    np.testing.assert_allclose(wrong["expert_intercept"][0], of_likelihood[0], rtol=1e-3)
    np.testing.assert_allclose(wrong["expert_slope"][0], of_likelihood[1:], rtol=1e-3)
    scale = float(values["scale"][0])
    np.testing.assert_allclose(wrong["scale"], scale / math.sqrt(2 * 300), rtol=1e-3)
    robust = errors(found, method="sandwich")
    hc0 = peer.get_robustcov_results("HC0").bse
    np.testing.assert_allclose(robust["expert_slope"][0], hc0[1:], rtol=1e-3)
    assert np.abs(hc0 / peer.bse - 1).max() > 0.02


def test_one_poisson_expert_is_a_generalised_linear_model() -> None:
    found = fitted("response: count, predictors: [x, w]", "{family: poisson}", 1)
    design = sm.add_constant(np.column_stack([X, W]))
    peer = sm.GLM(TABLE["count"], design, family=sm.families.Poisson()).fit(tol=1e-12)
    values, wrong = natural(found), errors(found)
    np.testing.assert_allclose(values["expert_slope"][0], peer.params[1:], rtol=1e-5)
    np.testing.assert_allclose(wrong["expert_slope"][0], peer.bse[1:], rtol=1e-4)
    np.testing.assert_allclose(wrong["expert_intercept"][0], peer.bse[0], rtol=1e-4)
    assert found.metrics["log_likelihood"]["train"] == pytest.approx(peer.llf, abs=1e-8)


def test_the_bootstrap_agrees_with_the_sandwich() -> None:
    """Two experts that are far apart; the sandwich is what the bootstrap tends to."""
    found = fitted("response: y, predictors: [x]", "{family: normal}")
    drawn = {n: v.numpy() for n, (_, v) in bootstrap(found, 60, lambda done, text: None).items()}
    expected = errors(found, method="sandwich")
    for name in ("expert_slope", "expert_intercept", "gate_slope"):
        moves = expected[name] > 0
        ratio = drawn[name][moves] / expected[name][moves]
        assert ratio.min() > 0.6, name
        assert ratio.max() < 1.7, name
    assert drawn["gate_slope"].min() == expected["gate_slope"].min() == 0  # of the first expert


def test_what_rows_add_to_a_gaussian_gates_terms_is_in_the_sandwich() -> None:
    """Without a prior the rows' slopes cancel at the maximum; of log p(y | x) alone they do not."""
    gate = "gate: {kind: gaussian, covariance: full}"
    found = fitted("response: y, predictors: [x]", "{family: normal}", more=gate + "\n")
    surface = Surface(found)
    at = surface.values()
    assert {*natural(found)} >= {"gate_weight", "gate_mean", "gate_sd"}
    whole, part = (jacobian(of, at).sum(0).norm() for of in (surface.terms, surface.each))
    assert float(whole) < 1e-2 < 1 < float(part)
    named, robust = natural(found), errors(found, method="sandwich")
    n, share = len(Y), named["gate_weight"]
    for k in range(2):  # sd / sqrt(n) of a mean, as far as the rows' experts are known
        ratio = robust["gate_mean"][k] * np.sqrt(n * share[k]) / named["gate_sd"][k]
        assert 0.8 < float(ratio[0]) < 3


def test_what_is_no_maximum_has_no_standard_errors() -> None:
    found = fitted("response: y, predictors: [x]", "{family: normal}", 1)
    standard_errors(found)
    with torch.no_grad():
        found.model.likelihood.log_scale.add_(3.0)
    with pytest.raises(InputError, match="not at a maximum"):
        standard_errors(found)


def test_experts_that_are_the_same_have_no_standard_errors() -> None:
    """Two lines explain these rows better than one twice: that point is a saddle."""
    found = fitted("response: y, predictors: [x]", "{family: normal}")
    with torch.no_grad():
        for parameter in (*found.model.experts.parameters(), *found.model.likelihood.parameters()):
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
        for parameter in found.model.gate.parameters():
            parameter.zero_()
    one = fitted("response: y, predictors: [x]", "{family: normal}", 1)
    with torch.no_grad():
        for name, value in one.model.named_parameters():
            if not name.startswith("gate"):
                target = dict(found.model.named_parameters())[name]
                target.copy_(value.expand_as(target))
    with pytest.raises(InputError, match="not at a maximum"):
        errors(found)


def test_a_direction_without_information_has_no_finite_error() -> None:
    """Errors with tails lighter than a normal's: the degrees of freedom have no end."""
    found = fitted("response: light, predictors: [x]", "{family: student_t}", 1)
    wrong = errors(found)
    assert np.isinf(wrong["df"]).all()
    assert np.isfinite(wrong["expert_slope"]).all()
    assert np.isfinite(wrong["scale"]).all()
    given, total = natural(found), found.metrics["log_likelihood"]["train"]
    assert given["df"][0] > 1e4
    again = fitted("response: light, predictors: [x]", "{family: student_t}", 1)
    with torch.no_grad():
        again.model.likelihood.log_df.fill_(2.0)
    predictor = {"x": given["expert_slope"][:, 0].tolist()}
    values = {n: v.tolist() for n, v in given.items()} | {"expert_slope": predictor}
    values["gate_slope"] = {"x": given["gate_slope"][:, 0].tolist()}
    assign(again, values, "p.json")
    assert again.data is not None
    x, y = (torch.from_numpy(np.asarray(v)) for v in (again.data.train.x, again.data.train.y))
    assert float(again.log_likelihood(x, y).sum()) == pytest.approx(total, rel=1e-8)


# Out and in again

FAMILIES: list[tuple[str, str, str]] = [
    ("response: y, predictors: [x, w]", "{family: normal}", ""),
    ("response: y, predictors: [x], standardise: none", "{family: normal, scale: shared}", ""),
    ("response: y, predictors: [x]", "{family: student_t}", ""),
    ("response: y, predictors: [x]", "{family: skew_normal}", ""),
    ("response: count, predictors: [x, w]", "{family: negative_binomial}", ""),
    ("response: count, predictors: [x]", "{family: zero_inflated_poisson}", ""),
    ("response: level, predictors: [x]", "{family: ordinal}", ""),
    ("response: level, predictors: [x, w], categorical: [w]", "{family: categorical}", ""),
    ("response: share, predictors: [x]", "{family: beta}", "gate: {kind: equal}\n"),
    ("response: [y, share], predictors: [x]", "{family: multivariate_normal}", ""),
    ("response: [y, count], predictors: [x, w]", "[{family: normal}, {family: poisson}]",
     ""),
    ("response: y, predictors: [x, w]", "{family: normal}", "SHARED"),
    ("response: y, predictors: [x]",
     "{family: mixed, experts: [{family: student_t}, {family: normal}]}", ""),
    ("response: [y, share], predictors: [x]", "{family: normal}", "NOISE"),
]  # fmt: skip


EXPERTS = {"SHARED": ", shared: [w], intercept: shared", "NOISE": ", noise: true"}


def of_experts(more: str) -> str:
    """The part of a spec for two experts, and what else is asked for."""
    return f"experts: {{number: 2{EXPERTS.get(more, '')}}}\n{more * (more not in EXPERTS)}"


@pytest.mark.parametrize(("data", "likelihood", "more"), FAMILIES)
def test_parameters_that_are_shown_can_be_given(
    data: str, likelihood: str, more: str, tmp_path: Path
) -> None:
    """To the same log-likelihood, on the table's own scale; another number gives another."""
    columns = ",".join(TABLE)
    lines = (",".join(str(v) for v in row) for row in zip(*TABLE.values(), strict=True))
    (tmp_path / "data.csv").write_text("\n".join([columns, *lines]) + "\n")
    text = f"data: {{file: data.csv, {data}, split: {{test: 0.1}}}}\nlikelihood: {likelihood}\n"
    text += of_experts(more)
    text += PLAIN.replace("lbfgs, restarts: 4", "adam, restarts: 1, epochs: 5")
    (tmp_path / "spec.yaml").write_text(text)
    found = fit(read_spec(tmp_path / "spec.yaml"))
    named = Natural(found.model, found.guide, found.encoding)()
    columns_of = {
        "expert_predictor": [found.encoding.columns[c] for c in found.model.expert_columns],
        "gate_predictor": [found.encoding.columns[c] for c in found.model.gate_columns],
    }
    values = to_json(named, columns_of)
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps(values))
    lines_of = list(evaluated(read_spec(tmp_path / "spec.yaml"), path))
    for line, part in zip(lines_of, ("train", "test"), strict=True):
        total = float(line.split(": ")[1].split(" nats")[0])
        assert total == pytest.approx(found.metrics["log_likelihood"][part], rel=1e-7)
    changed = 1.3 * np.asarray(values["expert_intercept"], dtype=float) + 0.1
    path.write_text(json.dumps(values | {"expert_intercept": nulls(changed.tolist())}))
    (other, _) = evaluated(read_spec(tmp_path / "spec.yaml"), path)
    assert other != lines_of[0]


def test_given_parameters_that_cannot_be_are_refused(tmp_path: Path) -> None:
    lines = [f"{x},{y}" for x, y in zip(X, Y, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    text = "data: {file: data.csv, response: y}\nlikelihood: {family: normal}\n"
    (tmp_path / "spec.yaml").write_text(text + "experts: {number: 2}\n")
    good: dict[str, Any] = {
        "expert_intercept": [1.0, 2.0],
        "expert_slope": {"x": [0.5, 0.1]},
        "scale": [1.0, 2.0],
        "gate_intercept": [0.0, 1.0],
        "gate_slope": {"x": [0.0, 0.2]},
    }
    path = tmp_path / "p.json"

    def message(values: Any) -> str:
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        with pytest.raises(InputError) as caught:
            list(evaluated(read_spec(tmp_path / "spec.yaml"), path))
        return str(caught.value).replace(f"{path}: ", "")

    path.write_text(json.dumps(good))
    assert len(list(evaluated(read_spec(tmp_path / "spec.yaml"), path))) == 2
    assert message([1]) == "must be an object of parameters"
    assert message("{").startswith("cannot be read")
    assert message({k: v for k, v in good.items() if k != "scale"}).startswith("scale: required")
    assert message(good | {"scal": [1.0]}).startswith("scal: unknown parameter; did you mean")
    assert message(good | {"scale": [1.0]}).startswith("scale: has the shape (1,), not (2,)")
    assert message(good | {"scale": [1.0, -1.0]}).startswith("scale: is not possible")
    assert message(good | {"scale": ["a", "b"]}) == "scale: must be numbers"
    assert message(good | {"gate_intercept": [0, 1e999]}).endswith("is not a finite number)")
    assert message(good | {"gate_intercept": [0, None]}).startswith("gate_intercept: has null")
    assert message(good | {"scale": [None, 1]}).startswith("scale: has null")
    assert message(good | {"expert_slope": [0.5, 0.1]}).startswith("expert_slope: must give")
    assert message(good | {"expert_slope": {"u": [1, 2]}}).startswith("expert_slope.u: no such")
    assert message(good | {"expert_slope": {}}).startswith("expert_slope.x: required")


# Labels


def test_experts_are_matched_by_the_rows_they_share() -> None:
    generator = np.random.default_rng(0)
    r = generator.dirichlet(np.full(5, 0.3), 200)
    order = generator.permutation(5)
    other = r[:, np.argsort(order)] * 0.9 + 0.02
    np.testing.assert_array_equal(other[:, match(r, other)].argmax(-1), r.argmax(-1))
    many = [r[:, generator.permutation(5)] for _ in range(6)]
    numbered = [one[:, o] for one, o in zip(many, matched(many), strict=True)]
    for one in numbered:
        np.testing.assert_array_equal(one, many[0])
    assert any(not np.array_equal(one, many[0]) for one in many)


def test_fits_become_the_chains_of_one_posterior() -> None:
    """Restarts of two experts under other numbers: stacked as they are, their means would blur."""
    found = fitted("response: y, predictors: [x]", "{family: normal}")
    tree = to_datatree(found)
    swapped = renumbered(tree, np.array([1, 0]))
    whole = to_arviz([found, found])
    assert whole.posterior["z"].shape == (2, *tree["posterior"]["z"].shape[1:])
    both = chains([tree, swapped, tree])
    posterior = both["posterior"].to_dataset()
    assert posterior.sizes["chain"] == 3
    slope, z, r = (posterior[name].to_numpy() for name in ("expert_slope", "z", "resp"))
    for c in (1, 2):
        np.testing.assert_array_equal(slope[c], slope[0])
        np.testing.assert_array_equal(z[c], z[0])
        np.testing.assert_array_equal(r[c], r[0])
    raw = swapped["posterior"].to_dataset()
    assert not np.array_equal(raw["expert_slope"].to_numpy()[0], slope[0])
    np.testing.assert_array_equal(raw["z"].to_numpy(), 1 - z[:1])
    assert both["log_likelihood"]["y"].sizes["chain"] == 3
    assert "chain" not in both["constant_data"]["x"].sizes
    fewer = renumbered(tree, np.array([0, 1])).isel(obs=slice(10))
    with pytest.raises(ValueError, match="same rows"):
        chains([tree, fewer])


@pytest.mark.parametrize(("data", "likelihood", "more"), FAMILIES)
def test_the_parameters_that_are_counted_can_be_told_apart(
    data: str, likelihood: str, more: str
) -> None:
    """As many as log p(y | x) of the rows has independent derivatives."""
    spec = f"data: {{{data}, split: {{test: 0}}}}\nlikelihood: {likelihood}\n"
    spec += of_experts(more)
    spec += PLAIN.replace("lbfgs, restarts: 4", "adam, restarts: 1, epochs: 3")
    found = fit(parse_spec(spec, "s").spec, TABLE)
    surface = Surface(found)
    generator = torch.Generator().manual_seed(0)
    values = surface.values()
    values = values + torch.randn(values.shape, generator=generator, dtype=values.dtype)
    derivatives = jacobian(surface.each, values)
    rank = int(torch.linalg.matrix_rank(derivatives, rtol=1e-9))
    assert found.metrics["parameters"] == rank
    assert found.metrics["aic"] == pytest.approx(
        2 * rank - 2 * found.metrics["log_likelihood"]["train"]
    )
