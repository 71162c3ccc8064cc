"""Maximum likelihood until the gradient vanishes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy.optimize import rosen, rosen_der  # type: ignore[import-untyped]

from pyromoe.inference import compare, fit
from pyromoe.inference.commands.fit import fit as fit_command
from pyromoe.inference.commands.inspection import summary_lines
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.choice import RESTARTS, settle
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.restart import VANISHED
from pyromoe.inference.fitting.restarts import start
from pyromoe.inference.maximum_likelihood import climb, maximise as search
from pyromoe.inference.maximum_likelihood.climb import Climb
from pyromoe.inference.maximum_likelihood.maximise import maximise
from pyromoe.inference.maximum_likelihood.modes import Faults, distinct, faults
from pyromoe.inference.maximum_likelihood.nested import nested_in
from pyromoe.inference.maximum_likelihood.score import Score
from pyromoe.inference.maximum_likelihood.starts import Starts, initialisations
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.summaries.assignments import assignments_of
from pyromoe.inference.summaries.run import of_run
from pyromoe.models import InputError
from pyromoe.models.data.data import from_table
from pyromoe.models.likelihoods import FAMILIES
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.inference.maximum_likelihood.bfgs import Function, Search
    from pyromoe.models.specs.spec_file import SpecFile

SPEC = """
data: {file: none.csv, response: y, split: {test: 0}, DATA}
likelihood: {LIKELIHOOD}
experts: {number: K, EXPERTS}
gate: {GATE}
priors: {experts: {kind: none}, gate: {kind: none}}
fit: {precision: float64, FIT}
seed: SEED
"""
QUICK = "restarts: 3, optimiser: lbfgs, initialisation: [kmeans_xy, quantile, random]"


def spec(
    likelihood: str = "family: normal",
    k: int = 2,
    fit: str = "",
    seed: int = 0,
    *,
    data: str = "",
    gate: str = "",
    experts: str = "",
    more: str = "",
    response: str = "y",
) -> SpecFile:
    text = (
        SPEC.replace("response: y", f"response: {response}")
        .replace("LIKELIHOOD", likelihood)
        .replace("K", str(k), 1)
    )
    for name, value in {"DATA": data, "FIT": fit, "GATE": gate, "EXPERTS": experts}.items():
        text = text.replace(name, value)
    return parse_spec(text.replace("SEED", str(seed)) + more, "s.yaml")


@cache
def engel() -> dict[str, Any]:
    """Food expenditure in hundreds, as y, and income."""
    table = sm.datasets.engel.load_pandas().data
    return {"income": table["income"].to_numpy(), "y": table["foodexp"].to_numpy() / 100}


@cache
def lines() -> dict[str, Any]:
    """Two noisy lines that cross, and counts about them."""
    chance = np.random.default_rng(1)
    x = chance.normal(size=80)
    mean = np.where(chance.random(80) < 0.5, 1 + x, 1 - x)
    values = {"x": x, "y": mean + 0.2 * chance.normal(size=80)}
    return values | {"count": chance.poisson(np.exp(mean / 2)), "sure": mean > 0.8}


def columns(y: str = "y") -> dict[str, Any]:
    return {"x": lines()["x"], "y": lines()[y]}


def total(result: Fit) -> float:
    value: float = result.metrics["log_likelihood"]["train"]
    return value


def climb_of(file: SpecFile, table: dict[str, Any]) -> Climb:
    data = from_table(file.spec, table)
    plan = make_plan(file)
    plan = replace(plan, spec=settle(plan.spec, len(data.train.rows)))
    begun = [start(plan, data, r) for r in range(plan.spec.fit.restarts)]
    seeds = [order.initial_seed() for _, _, order in begun]
    restarts = [restart for restart, _, _ in begun]
    return Climb(plan, data, restarts, seeds, len(restarts), None, lambda done, text: None)


# What is reached


@pytest.mark.slow
@pytest.mark.parametrize(("k", "least"), [(2, -287.3503), (3, -265.9107)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_known_likelihood_of_engel_is_reached(k: int, least: float, seed: int) -> None:
    result = fit(spec(k=k, seed=seed), engel())
    assert result.spec.fit.optimiser == "lbfgs"
    assert len(result.metrics["restarts"]) in (RESTARTS, RESTARTS + 1)
    assert total(result) >= least
    assert total(result) < least + 2  # a spike would be far above
    assert not [w for w in result.metrics["warnings"] if w["name"] in ("spike", "not_converged")]


def test_the_command_reaches_it_from_a_plain_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = np.column_stack([engel()["income"], engel()["y"]])
    np.savetxt(tmp_path / "none.csv", table, delimiter=",", header="income,y", comments="")
    text = SPEC.replace("LIKELIHOOD", "family: normal").replace("K", "2", 1).replace("SEED", "0")
    for name in ("DATA", "FIT", "GATE", "EXPERTS"):
        text = text.replace(name, "restarts: 6" if name == "FIT" else "")
    (tmp_path / "s.yaml").write_text(text)
    fit_command(tmp_path / "s.yaml", out=tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["log_likelihood"]["train"] >= -287.3503
    shown = capsys.readouterr().out
    assert "lbfgs from 6 starts, 6 converged" in shown
    assert f"-287.3462 nats from {metrics['modes'][0]['hits']} of 6 starts" in shown


def test_the_gradient_vanishes_where_it_is_said_to() -> None:
    result = fit(spec(fit=QUICK), columns())
    best = min(r["gradient"] for r in result.metrics["restarts"] if r["converged"])
    x, y = to_tensors(from_table(result.spec, columns()).train, result.spec)
    loss = -Score([(result.model, result.guide)], x, y, 1).joints[0](x, y)[0].logsumexp(0).sum()
    found = torch.autograd.grad(loss, list(result.model.parameters()))
    norm = float(torch.cat([g.flatten() for g in found]).norm()) / len(x)
    assert norm <= VANISHED
    assert best <= VANISHED
    assert all(r["converged"] == (r["gradient"] <= VANISHED) for r in result.metrics["restarts"])


@pytest.mark.parametrize("optimiser", ["em", "lbfgs"])
def test_em_never_lowers_the_likelihood(optimiser: str) -> None:
    file = spec(fit=f"optimiser: {optimiser}, restarts: 6")
    result = fit(file, columns())
    for number in range(6):
        rows = [h["log_likelihood"] for h in result.history if h["restart"] == number]
        assert len(rows) >= climb.SHORT
        last = result.metrics["restarts"][number]["log_likelihood"] / 80
        gains = np.diff([*rows, last])
        assert gains.min() >= -1e-12
        assert gains.max() > 1e-3  # it does something
    long = max(h["epoch"] for h in result.history)
    assert long > climb.SHORT if optimiser == "em" else long <= climb.SHORT


def test_em_and_quasi_newton_end_at_the_same_maximum() -> None:
    fits = [fit(spec(fit=QUICK.replace("lbfgs", name)), columns()) for name in ("em", "lbfgs")]
    assert total(fits[0]) == pytest.approx(total(fits[1]), abs=1e-6)


def test_one_normal_expert_is_least_squares() -> None:
    result = fit(spec(k=1, fit="restarts: 2"), engel())
    x = sm.add_constant(engel()["income"])
    exact = sm.OLS(engel()["y"], x).fit()
    assert total(result) == pytest.approx(exact.llf, abs=1e-6)
    sd = engel()["y"].std()
    # The floor of the scale is added to what is learned.
    scale = float(result.model.likelihood.constants()["scale"][0].detach())
    assert scale * sd == pytest.approx(math.sqrt(exact.ssr / 235), rel=1e-6)
    assert result.metrics["restarts"][0]["converged"]


@pytest.mark.parametrize(
    ("likelihood", "y", "family", "data"),
    [
        ("family: poisson", "count", sm.families.Poisson(), ""),
        ("family: bernoulli", "sure", sm.families.Binomial(), ""),
        ("family: binomial", "count", sm.families.Binomial(), "trials: 20"),
    ],
)
def test_one_expert_is_a_generalised_linear_model(
    likelihood: str, y: str, family: Any, data: str
) -> None:
    result = fit(spec(likelihood, 1, "restarts: 1", data=data), columns(y))
    response = columns(y)["y"].astype(float)
    given = np.column_stack([response, 20 - response]) if data else response
    exact = sm.GLM(given, sm.add_constant(columns()["x"]), family=family).fit(tol=1e-12)
    assert total(result) == pytest.approx(exact.llf, abs=1e-6)


def test_a_deep_gate_and_a_fixed_scale_converge() -> None:
    file = spec(
        "family: normal, scale: shared", fit=QUICK, gate="kind: mlp, hidden: [3], activation: tanh"
    )
    result = fit(file, columns())
    simple = fit(spec("family: normal, scale: shared", fit=QUICK, gate="kind: constant"), columns())
    assert total(result) > total(simple)


def test_a_prior_counts() -> None:
    text = spec(fit=QUICK).spec.model_dump()
    text["priors"] = {"experts": {"kind": "normal", "scale": 0.1}, "gate": {"kind": "none"}}
    with_prior = type(spec().spec).model_validate(text)
    narrow = fit(with_prior, columns())
    assert all(r["converged"] for r in narrow.metrics["restarts"])
    wide = fit(spec(fit=QUICK), columns())
    size = [
        float(
            sum(w.square().sum() for n, w in f.tensors().items() if n.startswith("experts.weight"))
        )
        for f in (narrow, wide)
    ]
    assert size[0] < size[1]
    assert total(narrow) < total(wide)


@pytest.mark.parametrize("k", [1, 2])
def test_the_units_of_a_predictor_do_not_matter(k: int) -> None:
    far = engel() | {"income": 1e6 + 1e3 * engel()["income"]}
    first = fit(spec(k=k, fit=QUICK, data="standardise: predictors"), engel())
    for standardise in ("none", "predictors"):
        result = fit(spec(k=k, fit=QUICK, data=f"standardise: {standardise}"), far)
        assert result.metrics["restarts"][0]["converged"]
        assert total(result) == pytest.approx(total(first), abs=1e-5)


# The search itself


def quadratic(size: int) -> tuple[Tensor, Function]:
    half = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).double()
    hessian = half @ half.T + 0.1 * torch.eye(size)
    top = torch.arange(1.0, size + 1).double()

    def function(values: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        away = (values - top) @ hessian
        return -0.5 * (away * (values - top)).sum(-1), -away

    return top, function


def banana(values: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    rows = [(rosen(v), rosen_der(v)) for v in values.numpy()]
    return tuple(torch.tensor(np.array([-r[i] for r in rows])) for i in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize("largest", [2**22, 200, 10])
def test_a_search_ends_at_the_top(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one batch, in several, and by SciPy one by one."""
    monkeypatch.setattr(search, "LARGEST", largest)
    top, function = quadratic(4)
    values = torch.zeros(30, 4).double() + torch.arange(30)[:, None]
    found = maximise(function, values, tolerance=1e-8, iterations=200)
    assert torch.allclose(found.values, top.expand(30, 4), atol=1e-6)
    assert (found.norm <= 1e-8).all()
    far = torch.tensor([[-1.2, 1.0, -0.5], [2.0, -1.0, 3.0], [1.0, 1.0, 1.0]]).double()
    found = maximise(banana, far, tolerance=1e-7, iterations=500)
    assert torch.allclose(found.values, torch.ones(3, 3).double(), atol=1e-5)
    assert found.iterations[2] == 0  # it was there


def test_a_search_is_bounded_and_never_descends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watch(at: Search) -> bool:
        seen.append(at.value.clone())
        return True

    far = torch.tensor([[-1.2, 1.0, -0.5], [2.0, -1.0, 3.0]]).double()
    found = maximise(banana, far, tolerance=0.0, iterations=torch.tensor([3, 7]), watch=watch)
    assert found.iterations.tolist() == [3, 7]
    values = torch.stack([*seen, found.value])
    assert (values.diff(dim=0) >= 0).all()
    stopped = maximise(banana, far, tolerance=0.0, iterations=100, watch=lambda at: at.calls < 5)
    assert stopped.calls == 5


def test_what_is_not_defined_teaches_nothing() -> None:
    """Neither the vector that went there, nor those that took a step at the same call."""
    begun = torch.tensor([[-1.2, 1.0, -0.5], [2.0, -1.0, 3.0], [0.0, 0.5, -2.0]]).double()
    ends, met = [], 0
    for gradient in (math.nan, 0.0):

        def function(
            values: Tensor, which: Tensor, gradient: float = gradient
        ) -> tuple[Tensor, Tensor]:
            nonlocal met
            value, slope = banana(values, which)
            beyond = (values[:, 1] < -0.02) & (which != 1)
            met += int(beyond.any() and not beyond.all())
            return (
                torch.where(beyond, -math.inf, value),
                torch.where(beyond[:, None], gradient, slope),
            )

        ends.append(maximise(function, begun, tolerance=1e-7, iterations=500))
    one, other = ends
    assert met >= 2  # in each of the two searches, while others took a step
    assert one.calls == other.calls
    assert one.inverse is not None
    assert other.inverse is not None
    assert torch.equal(one.inverse, other.inverse)
    assert torch.equal(one.values, other.values)


def test_a_search_goes_round_what_is_not_defined() -> None:
    def function(values: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        return (values.log() - values).sum(-1), 1 / values - 1  # not a number below 0

    found = maximise(function, torch.full((1, 2), 30.0).double(), tolerance=1e-9, iterations=100)
    assert torch.allclose(found.values, torch.ones(1, 2).double())


def test_the_score_is_the_same_in_python_and_as_a_graph() -> None:
    file = spec("family: gamma", fit=QUICK)
    c = climb_of(file, {"x": lines()["x"], "y": np.exp(lines()["y"])})
    r = c.score(c.score.values).responsibilities
    for given in (None, r.roll(1, 0)):
        one = c.score(c.score.values, given)
        assert c.score.captured
        c.score.captured, c.score._graphs = False, {}
        other = c.score(c.score.values, given)
        c.score.captured = True
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)
    few = c.score(c.score.values[:1], r[:1])  # a graph of its own
    assert torch.allclose(few.value, c.score(c.score.values, r).value[:1], rtol=1e-12)
    expected = (r * c.score(c.score.values).joint).sum((1, 2))
    assert torch.allclose(c.score(c.score.values, r).value, expected, rtol=1e-12)


# Starts


@pytest.mark.parametrize(
    "kind", ["kmeans_x", "kmeans_xy", "kmeans_residuals", "quantile", "random_partition"]
)
def test_a_first_assignment_follows_the_seed(kind: Any) -> None:
    c = climb_of(spec(k=3, fit=QUICK), engel())
    starts = Starts(c.restarts[0].model, c.score.x, c.score.y)
    first, again, other = (starts(kind, 1, seed) for seed in (0, 0, 5))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.allclose(first.sum(0), torch.ones(235).double())
    assert (first.argmax(0).bincount(minlength=3) > 0).all()


def test_quantiles_are_those_of_the_response() -> None:
    c = climb_of(spec(k=4, fit=QUICK), engel())
    first = Starts(c.restarts[0].model, c.score.x, c.score.y)("quantile", 0, 0)
    assert first is not None
    cuts = np.quantile(engel()["y"], [0.25, 0.5, 0.75])
    assert (first.argmax(0).numpy() == np.searchsorted(cuts, engel()["y"])).mean() > 0.98


def test_residuals_are_those_of_one_line() -> None:
    c = climb_of(spec(fit=QUICK), engel())
    starts = Starts(c.restarts[0].model, c.score.x, c.score.y)
    exact = sm.OLS(engel()["y"], sm.add_constant(engel()["income"])).fit().resid
    assert np.allclose(starts.residuals[:, 0], exact / engel()["y"].std())


def test_initialisations_take_turns_and_change_the_fit() -> None:
    assert initialisations(["quantile", "random"], 3) == ["quantile", "random", "quantile"]
    result = fit(spec(fit="restarts: 7, optimiser: lbfgs"), columns())
    begun = [r["initialisation"] for r in result.metrics["restarts"]]
    assert begun[:7] == [*result.spec.fit.initialisation, "random"]  # type: ignore[misc]
    again = fit(spec(fit="restarts: 7, optimiser: lbfgs"), columns())
    assert again.fingerprint() == result.fingerprint()
    other = fit(spec(fit="restarts: 7, optimiser: lbfgs", seed=1), columns())
    assert other.metrics["restarts"] != result.metrics["restarts"]


# Simpler models


@pytest.mark.parametrize(
    ("larger", "simpler", "y"),
    [
        ("family: student_t", "family: normal", "y"),
        ("family: skew_normal", "family: normal", "y"),
        ("family: normal", "family: normal, scale: shared", "y"),
        ("family: normal, scale: predicted", "family: normal", "y"),
        ("family: negative_binomial", "family: poisson", "count"),
        ("family: zero_inflated_poisson", "family: poisson", "count"),
    ],
)
def test_a_model_is_as_good_as_a_simpler_one(larger: str, simpler: str, y: str) -> None:
    result, lower = (fit(spec(f, fit=QUICK), columns(y)) for f in (larger, simpler))
    assert total(result) >= total(lower) - 1e-4
    assert all(total(result) >= n["log_likelihood"] - 1e-4 for n in result.metrics["nested"])


@pytest.mark.parametrize(
    ("larger", "simpler", "name", "y"),
    [
        ("family: student_t", "family: normal", "normal", "y"),
        ("family: skew_normal", "family: normal", "normal", "y"),
        ("family: normal, scale: predicted", "family: normal", "scale: per_expert", "y"),
        ("family: negative_binomial", "family: poisson", "poisson", "count"),
        ("family: zero_inflated_poisson", "family: poisson", "poisson", "count"),
    ],
)
def test_a_restricted_model_is_the_simpler_one(
    larger: str, simpler: str, name: str, y: str
) -> None:
    """With one expert, whose likelihood has one maximum."""
    result, exact = (fit(spec(f, 1, "restarts: 1"), columns(y)) for f in (larger, simpler))
    reached = {n["model"]: n["log_likelihood"] for n in result.metrics["nested"]}
    assert reached[name] == pytest.approx(total(exact), abs=1e-5)
    assert total(result) >= total(exact) - 1e-6


def test_a_search_that_missed_a_simpler_model_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free restarts are left where they begin: only the simpler models are searched."""
    monkeypatch.setattr(Climb, "free", lambda self: self.end(self.kinds, self.score.values))
    file = spec("family: student_t", fit=QUICK)
    result = fit(file, columns())
    warned = {w["name"]: w for w in result.metrics["warnings"]}
    assert "simpler_model_better" in warned
    assert result.metrics["restarts"][-1]["initialisation"].startswith("nested: ")
    reached = {n["model"]: n["log_likelihood"] for n in result.metrics["nested"]}
    assert total(result) >= reached["normal"] - 1e-6
    monkeypatch.setattr(Climb, "nested", lambda self: None)
    alone = fit(file, columns())
    assert total(alone) < reached["normal"] - 1
    assert "simpler_model_better" not in [w["name"] for w in alone.metrics["warnings"]]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_restriction_is_kept(family: str) -> None:
    """Entering twice is entering once, and a step along a projected gradient stays inside."""
    y = {"beta": "y", "binomial": "count"}.get(family, "sure" if family == "bernoulli" else "count")
    table = columns(y)
    if family == "beta":
        table = table | {"y": 1 / (1 + np.exp(-table["y"]))}
    if family == "gamma":
        table = table | {"y": table["y"] + 0.5}
    data = "trials: 20" if family == "binomial" else ""
    response = "y"
    if family == "multivariate_normal":
        table, response = lines(), "[y, count]"
        table = {name: table[name] for name in ("x", "y", "count")}
    c = climb_of(spec(f"family: {family}", 3, QUICK, data=data, response=response), table)
    kinds = nested_in(c.restarts[0].model, c.restarts[0].guide, c.score)
    assert kinds is not None
    assert kinds.names[-2:] == ["1 expert", "2 experts"]
    values = kinds.enter(c.score.values[:1].expand(len(kinds.names), -1))
    assert torch.equal(kinds.enter(values), values)
    moved = values + 0.1 * kinds.project(torch.randn_like(values))
    assert torch.allclose(kinds.enter(moved), moved, rtol=0, atol=1e-12)
    assert not torch.equal(moved, values)
    found = c.score(values[-2:])
    own = found.joint[0] - found.log_gate[0].T
    assert torch.equal(own[0], own[2])  # one expert: all the same
    assert float(found.log_gate[1, :, -1].max()) < -29  # two experts: the last is left out


# What is wrong with a solution


def joint_of(own: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    return own + gate.T, gate


def test_faults_are_named_and_a_sound_solution_has_none() -> None:
    chance = torch.Generator().manual_seed(0)
    own = torch.randn(3, 40, generator=chance).double()
    gate = torch.randn(40, 3, generator=chance).double().log_softmax(-1)
    no = torch.zeros(3, dtype=torch.bool)

    def of(own: Tensor, gate: Tensor, *, floor: Tensor = no, density: bool = True) -> Faults:
        joint = joint_of(own, gate)
        return faults(*joint, continuous=density, needed=2, at_floor=floor)

    assert of(own, gate) == Faults()
    tied = own.clone()
    tied[2] = own[0] + 1e-5
    assert of(tied, gate) == Faults(tied=[(0, 2)])
    alone = gate.clone()
    alone[:, 1] = -40.0
    assert of(own, alone.log_softmax(-1)).dead == [1]
    spike = own.clone()
    spike[1] = -50.0
    spike[1, :2] = 9.0
    assert of(spike, gate).spikes == [1]
    assert of(spike, gate, density=False).spikes == []
    assert of(own, gate, floor=torch.tensor([False, True, False])).spikes == [1]
    step = torch.where(torch.arange(40)[:, None] < 20, torch.tensor([[60.0, 0.0]]), 0.0).double()
    step[20:, 1] = 60.0
    hard = of(own[:2], step.log_softmax(-1), floor=no[:2])
    assert hard.hard == [(0, 1)]
    soft = of(own[:2], (step / 10).log_softmax(-1), floor=no[:2])
    assert soft.hard == []


def test_modes_are_counted_and_a_spike_comes_last() -> None:
    scores = torch.tensor([-10.0, -9.0, -9.0005, math.nan, 50.0, -10.0004]).double()
    found = [Faults() for _ in range(6)]
    found[4] = Faults(spikes=[0])
    modes = distinct(scores, scores, found)
    assert [(m.hits, m.first, m.degenerate) for m in modes] == [(2, 1, []), (2, 0, []), (1, 4, [0])]
    assert [m.first for m in distinct(scores.flip(0), scores.flip(0), found[::-1], 4)] == [3, 0, 1]


def repeated() -> dict[str, Any]:
    """A quarter of the rows are one and the same."""
    table = {name: values.copy() for name, values in engel().items()}
    for values in table.values():
        values[:60] = values[0]
    return table


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_repeated_rows_end_in_a_warning_and_a_usable_result(k: int) -> None:
    result = fit(spec(k=k, fit="restarts: 12"), repeated())
    names = [w["name"] for w in result.metrics["warnings"]]
    assert "unbounded_likelihood" in names
    assert max(m["log_likelihood"] for m in result.metrics["modes"]) > 100  # what was set aside
    assert -360 < total(result) < -200
    assert float(result.model.likelihood.constants()["scale"].detach().min()) > 0.01
    control = fit(spec(k=k, fit="restarts: 12"), engel())
    # Of rows that differ a spike may still be found, but not by every start.
    assert not [w for w in control.metrics["warnings"] if w["name"] == "no_regular_start"]


def test_rows_without_noise_are_fitted_and_said_to_be() -> None:
    table = {"x": lines()["x"], "y": 1 + lines()["x"]}
    for k in (1, 2):
        result = fit(spec(k=k, fit="restarts: 4"), table)
        assert math.isfinite(total(result))
        assert "scale_at_floor" in [w["name"] for w in result.metrics["warnings"]]
        assert result.metrics["rmse"] < 1e-3


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"k": 2, "fit": QUICK}, ""),
        ({"k": 5, "fit": "restarts: 8"}, "few_starts_agree"),
        ({"k": 2, "fit": QUICK, "data": "standardise: none"}, ""),
    ],
)
def test_warnings_are_shown_with_a_remedy(change: dict[str, Any], name: str) -> None:
    result = fit(spec(**change), columns())
    found = {w["name"]: w for w in result.metrics["warnings"]}
    assert (name in found) == bool(name)
    of = assignments_of(result.encoding, to_datatree(result))
    shown = "\n".join(summary_lines(of_run(result.metrics, result.spec, of)))
    for warning in found.values():
        assert set(warning) == {"name", "what", "remedy"}
        assert all(warning.values())
        assert f"{warning['what']}; {warning['remedy']}" in shown


# Settings


@pytest.mark.parametrize(
    ("fit_", "rows", "expected"),
    [
        ("", 235, "lbfgs"),
        ("", 50_001, "adam"),
        ("batch_size: full", 50_001, "lbfgs"),
        ("batch_size: 100", 235, "adam"),
        ("batch_size: 235", 235, "lbfgs"),
        ("optimiser: adam", 235, "adam"),
        ("optimiser: em, batch_size: 10", 235, "em"),
    ],
)
def test_plain_maximum_likelihood_takes_the_optimiser_that_converges(
    fit_: str, rows: int, expected: str
) -> None:
    settled = settle(make_plan(spec(fit=fit_)).spec, rows).fit
    assert settled.optimiser == expected
    if expected == "adam":
        assert (settled.restarts, settled.initialisation) == (4, "random")
    else:
        assert (settled.restarts, settled.batch_size) == (RESTARTS, "full")
        assert settled.precision == "float64"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("experts: {kind: none}", "experts: {kind: normal}"),
        ("gate: {kind: none}", "gate: {kind: normal}"),
        ("precision: float64, ", ""),
        ("seed: 0", "treatment: jensen"),
        ("seed: 0", "objective: elbo"),
    ],
)
def test_anything_else_takes_adam(old: str, new: str) -> None:
    text = SPEC.replace("LIKELIHOOD", "family: normal").replace("K", "2", 1).replace("SEED", "0")
    for name in ("DATA", "FIT", "GATE", "EXPERTS"):
        text = text.replace(name, "")
    assert old in text
    plan = make_plan(parse_spec(text.replace(old, new), "s.yaml"))
    assert settle(plan.spec, 50).fit.optimiser == "adam"


@pytest.mark.parametrize(
    ("fit_", "more", "message"),
    [
        ("optimiser: lbfgs", "treatment: jensen", "fit.optimiser: lbfgs maximises log p(y | x)"),
        ("optimiser: em", "objective: elbo", "valid with treatment enumerate and objective elbo"),
        ("optimiser: adam, initialisation: quantile", "", "fit.initialisation: adam starts from"),
    ],
)
def test_what_cannot_be_combined_is_refused(fit_: str, more: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(spec(fit=fit_, more=more))
    assert message in str(caught.value)
    assert str(caught.value).startswith("s.yaml:7:")


def test_a_resolved_spec_gives_the_same_fit() -> None:
    result = fit(spec(fit=QUICK), columns())
    assert fit(result.spec, columns()).fingerprint() == result.fingerprint()


@pytest.mark.parametrize("budget", [Budget("steps", 12), Budget("seconds", 1e-6)])
def test_a_budget_ends_the_search(budget: Budget) -> None:
    result = fit(spec(fit=QUICK), columns(), budget=budget)
    assert result.metrics["steps"] <= 20
    assert "not_converged" in [w["name"] for w in result.metrics["warnings"]]
    assert not any(r["converged"] for r in result.metrics["restarts"])


def test_a_comparison_takes_steps_of_adam() -> None:
    file = spec(fit="optimiser: lbfgs, epochs: 2, restarts: 1")
    result = compare(file, columns(), treatments=["enumerate", "jensen"])
    assert [row["steps"] for row in result.rows] == [2, 2]


def test_a_mixture_without_predictors_climbs_in_silence() -> None:
    """Warnings are errors: columns that are not there have no spread."""
    y = np.concatenate([np.linspace(-3, -1, 20), np.linspace(1, 4, 20)])
    text = """
    data: {response: y, predictors: [], split: {test: 0}}
    likelihood: {family: normal}
    experts: {number: 2}
    gate: {kind: constant}
    priors: {experts: {kind: none}, gate: {kind: none}}
    fit: {optimiser: lbfgs, restarts: 2}
    """
    found = fit(parse_spec(text, "s"), {"y": y})
    assert found.metrics["effective_experts"] > 1.9
