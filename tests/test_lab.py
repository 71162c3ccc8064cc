"""The gradient lab: its statistics on known draws, its figures against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from problems import problem

from pyromoe.inference import Gradients, gradients
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.plan import make_plan, with_treatment
from pyromoe.inference.lab.exact import exact_treatment
from pyromoe.inference.lab.gradient_moments import MEASURES, Moments
from pyromoe.inference.lab.measuring import Lab
from pyromoe.inference.pictures import gradients_figure, to_svg
from pyromoe.inference.summaries.advice import recommendation
from pyromoe.inference.svi import fit
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError, log_joint
from pyromoe.models.data.data import from_table
from pyromoe.models.specs.spec_file import parse_spec

SPEC = """
data: {file: none.csv, response: y, split: {test: 0}}
likelihood: {family: normal}
experts: {number: 3}
fit: {epochs: 5, batch_size: 20, restarts: 1, learning_rate: 0.05, precision: float64}
"""


def table() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=60)
    return {"x": x, "y": np.abs(x) + 0.3 * generator.normal(size=60)}


def measured(text: str = SPEC, draws: int = 60, **options: Any) -> Gradients:
    return gradients(parse_spec(text, "spec.yaml"), table(), draws=draws, **options)


def only(found: Gradients, **wanted: Any) -> list[dict[str, Any]]:
    return [r for r in found.rows if all(r[n] == v for n, v in wanted.items())]


# What draws tell


def moments_of(draws: torch.Tensor, exact: torch.Tensor) -> Moments:
    found = Moments(exact)
    for draw in draws:
        found.add(draw)
    return found


def test_the_measures_are_those_of_the_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(7, generator=generator)
    draws = 0.8 * exact + 0.5 * torch.randn(90, 7, generator=generator)
    found, mean = moments_of(draws, exact).measures(), draws.mean(0)
    spread = float(draws.var(0).sum().sqrt())
    length = float(exact.norm())
    assert found["estimator_bias"] == pytest.approx(float((mean - exact).norm()) / length)
    assert found["relative_std"] == pytest.approx(spread / length)
    assert found["estimator_bias_mc_floor"] == pytest.approx(spread / math.sqrt(90) / length)
    assert found["slope"] == pytest.approx(float(mean @ exact) / length**2)
    assert found["cosine"] == pytest.approx(float(mean @ exact / mean.norm()) / length)
    assert found["signal_to_noise"] == pytest.approx(float(mean.norm()) / spread)


@pytest.mark.parametrize("bias", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("number", [20, 200])
def test_the_interval_holds_the_bias_as_often_as_it_says(bias: float, number: int) -> None:
    """In 400 repeats of an interval of 95% at least 358 hold: fewer has a chance below 1e-5."""
    generator = torch.Generator().manual_seed(number)
    exact, shift = torch.ones(30), torch.zeros(30)
    shift[0] = bias
    scale = torch.linspace(0.1, 2.0, 30)
    estimates, held = [], 0
    for _ in range(400):
        draws = exact + shift + scale * torch.randn(number, 30, generator=generator)
        value, low, high = moments_of(draws, exact).squared_bias()
        estimates.append(value)
        held += low <= bias**2 <= high
    assert held >= 358
    error = float(np.std(estimates)) / math.sqrt(400)
    assert float(np.mean(estimates)) == pytest.approx(bias**2, abs=5 * error)


def test_draws_that_are_all_the_same_have_no_noise() -> None:
    exact = torch.randn(5, generator=torch.Generator().manual_seed(0))
    found = moments_of((1.5 * exact).expand(10, 5), exact)
    assert found.variance == 0
    measures = found.measures()
    assert measures["relative_std"] == 0
    assert measures["estimator_bias"] == pytest.approx(0.5)
    assert measures["estimator_bias_low"] == measures["estimator_bias_high"]
    assert measures["signal_to_noise"] is None


def test_nothing_is_relative_to_a_gradient_of_zero() -> None:
    found = moments_of(torch.ones(3, 4), torch.zeros(4)).measures()
    assert set(found) == set(MEASURES)
    assert set(found.values()) == {None}


# The exact gradients


@pytest.mark.parametrize("num_samples", [1, 2, 4])
def test_the_sum_over_multisets_is_the_sum_over_all_draws(num_samples: int) -> None:
    p = problem()
    config = TREATMENTS["vimco"].config(num_samples=max(2, num_samples))
    found = exact_treatment("iwae", config, 2, 3)
    assert found is not None
    treatment, chosen = found
    elbo = Treatment_ELBO(treatment)
    elbo.config = replace(chosen, num_samples=num_samples)  # type: ignore[type-var]
    loss = elbo.differentiable_loss(p.model, p.amortised, p.x, p.y)
    torch.testing.assert_close(-loss, p.exact("iwae", num_samples), rtol=0, atol=1e-10)
    parameters = p.parameters("iwae")
    ours = torch.autograd.grad(-loss, parameters)
    exact = torch.autograd.grad(p.exact("iwae", num_samples), parameters)
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-10)


def test_a_sum_over_too_many_multisets_is_not_attempted() -> None:
    config = TREATMENTS["vimco"].config(num_samples=16)
    assert exact_treatment("iwae", config, 256, 64) is None


# The lab


@pytest.fixture(scope="module")
def everything() -> Gradients:
    torch.set_default_dtype(torch.float64)
    return measured()


def test_every_treatment_is_measured_at_both_ends_for_gate_and_experts(
    everything: Gradients,
) -> None:
    seen = {(r["treatment"], r["at"], r["parameters"]) for r in everything.rows}
    for name in TREATMENTS:
        for at in ("initial", "fitted"):
            assert {(name, at, "gate"), (name, at, "experts")} <= seen
    assert not everything.skipped
    needed = {"objective_bias", "evaluations", "seconds_per_call", "error_times_cost", *MEASURES}
    assert all(needed <= set(r) for r in everything.rows)


def test_an_unbiased_treatment_has_no_bias_that_the_draws_show(everything: Gradients) -> None:
    """Of all rows, the interval may miss 0 by chance in about 2.5%."""
    rows = [r for r in everything.rows if r["unbiased"] and r["estimator_bias"] is not None]
    noisy = [r for r in rows if r["relative_std"] > 1e-9]
    missed = [r for r in noisy if r["estimator_bias_low"] > 0]
    assert len(noisy) > 50
    assert len(missed) < 0.1 * len(noisy)
    assert all(r["estimator_bias"] < 1e-9 for r in rows if r["relative_std"] <= 1e-9)
    assert all(r["estimator_bias"] < 4 * r["estimator_bias_mc_floor"] for r in noisy)


def test_a_gate_that_is_never_trained_has_a_bias_of_one(everything: Gradients) -> None:
    """The control of the test above."""
    for row in only(everything, treatment="sum_of_components", parameters="gate"):
        assert row["estimator_bias"] == pytest.approx(1.0)
        assert row["slope"] == pytest.approx(0.0, abs=1e-9)


def test_the_bias_of_the_objective_is_that_of_the_exact_gradients(everything: Gradients) -> None:
    file = parse_spec(SPEC, "spec.yaml")
    data = from_table(file.spec, table())
    lab = Lab(file, data, fit(file, data=data), 2)
    rows = lab.places["initial"].rows
    parts = lab.parts(make_plan(with_treatment(file, "jensen")), "initial")
    x, y = lab.x[rows], lab.y[rows]
    model, gate = parts.model, parts.tensors["gate"]
    weights = parts.guide.weights.values()
    joint = log_joint(model, x, y, weights=weights)
    ell, log_p = joint.enumerate_likelihood().T, joint.log_prior
    values = ((log_p + ell).logsumexp(-1).mean(), (log_p.exp() * ell).sum(-1).mean())
    marginal, jensen = (
        torch.cat([g.flatten() for g in torch.autograd.grad(v, gate, retain_graph=True)])
        for v in values
    )
    expected = float((jensen - marginal).norm() / marginal.norm())
    (row,) = only(everything, treatment="jensen", at="initial", parameters="gate")
    assert row["objective_bias"] == pytest.approx(expected, rel=1e-9)
    (row,) = only(everything, treatment="enumerate", at="initial", parameters="gate")
    assert row["objective_bias"] == 0
    assert row["error"] == pytest.approx(0, abs=1e-12)


def test_the_prior_of_the_weights_plays_no_part() -> None:
    """The same data and start with another prior give the same gradients where a fit starts."""
    found = [
        only(measured(SPEC + f"priors: {{gate: {{scale: {s}}}}}", 5, treatments=["jensen"]),
             at="initial", parameters="gate")
        for s in (1.0, 0.01)
    ]  # fmt: skip
    for name in ("objective_bias", "batch_std"):
        assert found[0][0][name] == pytest.approx(found[1][0][name], rel=1e-9)


def test_the_same_seed_gives_the_same_rows() -> None:
    runs = [measured(draws=5, treatments=["reinforce", "relax"]).rows for _ in range(2)]
    for one, two in zip(*runs, strict=True):
        timed = {"seconds_per_call", "error_times_seconds"}
        assert {n: v for n, v in one.items() if n not in timed} == {
            n: v for n, v in two.items() if n not in timed
        }


def test_a_guide_of_its_own_is_measured_apart() -> None:
    text = SPEC + "objective: elbo\nguide: {z: amortised, hidden: [4]}\ntreatment: leave_one_out"
    names = ["leave_one_out", "enumerate", "reweighted_wake_sleep"]
    found = measured(text, treatments=names)
    for name in names:
        assert {r["parameters"] for r in only(found, treatment=name)} == {
            "gate", "guide", "experts",
        }  # fmt: skip
    exact = only(found, treatment="enumerate", parameters="guide")
    assert all(r["estimator_bias"] == 0 and r["objective_bias"] is None for r in exact)
    sleep = only(found, treatment="reweighted_wake_sleep", at="fitted", parameters="guide")
    assert sleep[0]["estimator_bias_low"] > 0  # it trains the guide for another divergence


def test_a_fit_is_taken_as_it_is() -> None:
    fitted = fit(parse_spec(SPEC, "spec.yaml"), table(), budget=Budget("steps", 3))
    found = gradients(fitted, table(), treatments=["enumerate", "reinforce"], draws=5)
    assert {r["at"] for r in found.rows} == {"initial", "fitted"}


def test_one_expert_leaves_nothing_to_measure() -> None:
    text = SPEC.replace("number: 3", "number: 1")
    found = measured(text, draws=3, treatments=["enumerate", "leave_one_out"])
    gate = [r for r in found.rows if r["parameters"] == "gate"]
    assert all(r["estimator_bias"] is None and r["error"] is None for r in gate)
    assert "gradient of the experts" in found.recommendation


def test_what_the_model_does_not_allow_is_left_out_with_its_reason() -> None:
    text = SPEC.replace("number: 3", "number: 3, mix: likelihoods")
    found = measured(text, draws=2)
    hard = {t.name for t in TREATMENTS.values() if t.hard}
    assert set(found.skipped) == hard
    assert all("exponentially" in reason for reason in found.skipped.values())
    with pytest.raises(InputError, match="exponentially"):
        measured(text, draws=2, treatments=["straight_through"])


def test_an_unknown_treatment_is_refused_before_the_fit() -> None:
    with pytest.raises(InputError, match="unknown treatment"):
        measured(treatments=["reinforced"])
    with pytest.raises(InputError, match="draws"):
        measured(draws=1)


# The recommendation


def a_row(name: str, bias: float, seconds: float, cost: float, runs: int = 4) -> dict[str, Any]:
    return {
        "treatment": name, "at": "fitted", "parameters": "gate", "total_bias": bias,
        "error_times_seconds": seconds, "error_times_cost": cost, "evaluations": runs,
    }  # fmt: skip


def test_the_least_error_for_its_time_is_taken_unless_it_is_biased() -> None:
    rows = [a_row("fast", 0.5, 1, 1), a_row("slow", 0.0, 9, 9), a_row("right", 0.02, 3, 3)]
    said = recommendation(rows, "slow")
    assert said.startswith("Take right:")
    assert "slow, which the spec names, has 3 times as much, without bias" in said
    assert recommendation(rows, "right").startswith("Keep right:")


def test_without_a_treatment_of_little_bias_it_says_so() -> None:
    said = recommendation([a_row("a", 0.5, 1, 1), a_row("b", 0.2, 2, 2)], "a")
    assert said.startswith("Take b with care")
    assert "20% off" in said


def test_it_names_what_would_be_taken_by_the_number_of_experts_run() -> None:
    rows = [a_row("enumerate", 0, 1, 90, 64), a_row("sampled", 0, 1.9, 3, 2)]
    assert "it would be sampled, 2 a datum against 64" in recommendation(rows, "enumerate")


def test_one_treatment_of_little_bias_is_said_to_be_the_only_one() -> None:
    said = recommendation([a_row("a", 0.5, 1, 1), a_row("b", 0.0, 2, 2)], "b")
    assert said.startswith("Keep b:")
    assert "is the only one measured whose bias for log p(y | x) is at most 10%" in said


def test_no_rows_leave_nothing_to_choose() -> None:
    assert "nothing to choose" in recommendation([], "enumerate")


# The picture


def test_the_picture_names_every_treatment_and_repeats(everything: Gradients) -> None:
    images = [to_svg(gradients_figure(everything.rows, "gate")) for _ in range(2)]
    assert images[0] == images[1]
    text = images[0].decode()
    assert "<svg" in text
    assert "<script" not in text


def test_noise_is_drawn_anew_for_each_treatment() -> None:
    """A treatment's rows do not depend on which others are measured."""
    alone = measured(draws=5, treatments=["reinforce"]).rows
    among = only(measured(draws=5, treatments=["vimco", "reinforce"]), treatment="reinforce")
    assert [r["relative_std"] for r in alone] == [r["relative_std"] for r in among]
