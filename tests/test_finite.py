"""Numbers that are not finite never reach the parameters, and are named."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from command import called
from problems import problem

from pyromoe.guides import Seeded
from pyromoe.inference import TREATMENTS, Step, Treatment_ELBO, fit
from pyromoe.inference.fitting import restarts
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.collapse import Collapse, collapsed
from pyromoe.inference.fitting.diagnosis import CORRECT, values_at_fault
from pyromoe.inference.fitting.loop import Loop, NumericalError
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.restart import Restart
from pyromoe.inference.fitting.rollback import TRIES, Rollback
from pyromoe.inference.maximum_likelihood.climb import LONG
from pyromoe.inference.steps import optimisers
from pyromoe.inference.summaries.of_directory import summarise
from pyromoe.models.data.data import from_table
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from pyromoe.inference.fitting.batches import Batch
    from pyromoe.inference.steps.auto import Mode
    from pyromoe.models.data.divide import Data

BAD = (math.nan, math.inf, -math.inf, 1e30)
SEVERAL = ("enumerate", "leave_one_out", "reinforce_neural_baseline", "gumbel_softmax", "relax")
bad = pytest.mark.parametrize("value", BAD)
modes = pytest.mark.parametrize("mode", ["eager", "captured"])


# A step


def step_of(
    name: str,
    mode: Mode,
    members: int = 1,
    optimiser: str = "adam",
    dtype: torch.dtype | None = None,
) -> Step:
    """Members that have taken two steps."""
    treatment, problems = TREATMENTS[name], [problem(40, 4, seed=r) for r in range(members)]
    for p in problems:
        p.model.to(dtype)
        p.amortised.to(dtype)
    each = [
        (Treatment_ELBO(name, noise=Seeded(r)), p.model, p.guide(treatment.objectives[-1]))
        for r, p in enumerate(problems)
    ]
    step = Step(*each[0], mode=mode, optimiser=optimiser, divide_by=40, beside=each[1:])
    for _ in range(2):
        step(*rows(dtype=dtype))
    assert step.ran == mode
    return step


def rows(
    planted: str = "", value: float = 0.0, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The rows of a problem, one of whose numbers may be bad."""
    p = problem(40, 4)
    x, y = p.x.clone(), p.y.clone()
    if planted:
        {"x": x, "y": y}[planted][7] = value
    return x.to(dtype), y.to(dtype)


def held(step: Step) -> list[Tensor]:
    return [step.values, *step.moments, *(step.state or [])]


def copied(step: Step) -> list[Tensor]:
    return [t.clone() for t in held(step)]


def same_bits(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@bad
@modes
@pytest.mark.parametrize("planted", ["x", "y"])
@pytest.mark.parametrize("name", SEVERAL)
def test_a_step_on_a_bad_number_changes_no_bit(
    name: str, planted: str, mode: Mode, value: float
) -> None:
    step = step_of(name, mode)
    before = copied(step)
    step(*rows(planted, value))
    assert not step.fine.any()
    assert same_bits(before, held(step))
    step(*rows())
    assert step.fine.all()
    assert not torch.equal(before[0], step.values)


@modes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimiser", list(optimisers.OPTIMISERS))
def test_every_optimiser_and_precision_is_checked(
    optimiser: str, dtype: torch.dtype, mode: Mode
) -> None:
    step = step_of("enumerate", mode, optimiser=optimiser, dtype=dtype)
    before = copied(step)
    for value in BAD:
        step(*rows("y", value, dtype))
        assert not step.fine.any()
    assert same_bits(before, held(step))


@modes
@pytest.mark.parametrize("name", list(TREATMENTS))
def test_a_bad_member_leaves_the_others_bits_alone(name: str, mode: Mode) -> None:
    """Its parameters are bad; state, moments and parameters of the others are those without it."""
    plain, planted = (step_of(name, mode, 3) for _ in range(2))
    planted.values[1] = math.nan
    before = [t[1].clone() for t in held(planted)]
    for _ in range(3):
        plain(*rows())
        planted(*rows())
        assert planted.fine.flatten().tolist() == [True, False, True]
    for r in (0, 2):
        assert same_bits([t[r] for t in held(plain)], [t[r] for t in held(planted)])
    for a, b in zip(before, held(planted), strict=True):
        assert torch.equal(a.nan_to_num(7.0), b[1].nan_to_num(7.0))


@modes
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_mean_never_reaches_the_parameters(value: float, mode: Mode) -> None:
    """The moment that holds the gradient; the other is looked at with the parameters."""
    step = step_of("enumerate", mode)
    step.moments[0][3] = value
    before = step.values.clone()
    step(*rows())
    assert not step.fine.any()
    assert torch.equal(before, step.values)


@modes
def test_a_bad_state_never_reaches_the_parameters(mode: Mode) -> None:
    step = step_of("reinforce_decaying_baseline", mode)
    assert step.state
    step.state[0].fill_(math.nan)
    before = step.values.clone()
    step(*rows())
    assert not step.fine.any()
    assert torch.equal(before, step.values)


@modes
@bad
def test_without_the_check_the_parameters_are_poisoned(
    mode: Mode, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: every planted number either becomes one, or stops Adam for good."""

    def least_moved(*planted: Any) -> float:
        step = step_of("enumerate", mode)
        step(*rows(*planted))
        for _ in range(200):
            step(*rows())
        before = step.values.clone()
        for _ in range(20):
            step(*rows())
        return float((step.values - before).abs().min())

    def always(loss: Tensor, *given: object) -> Tensor:
        return torch.ones_like(loss[..., None], dtype=torch.bool)

    assert least_moved("y", value) > 1e-5
    monkeypatch.setattr(optimisers, "is_fine", always)
    assert not least_moved("y", value) > 1e-9


def test_a_smaller_scale_makes_a_smaller_step() -> None:
    whole, half = (step_of("enumerate", "captured", 2) for _ in range(2))
    before = whole.values.clone()
    half.scale[1] = 0.5
    whole(*rows())
    half(*rows())
    assert torch.equal(whole.values[0], half.values[0])
    moved = [step.values[1] - before[1] for step in (whole, half)]
    torch.testing.assert_close(moved[0], 2 * moved[1], rtol=0, atol=1e-12)


# A fit


SPEC = """
data: {{response: y, weights: w, offset: o, predictors: [a, b], split: {{test: 0.2}}}}
likelihood: {{family: poisson}}
experts: {{number: 3}}
treatment: {{name: {treatment}}}
fit: {{epochs: 8, restarts: {restarts}, mode: {mode}, batch_size: 16, learning_rate: 0.05}}
"""


def table(n: int = 60) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    a, b, o = 10 + 3 * chance.normal(size=n), chance.normal(size=n), chance.normal(size=n)
    y = chance.poisson(np.exp(0.3 * b + o))
    return {"a": a, "b": b, "o": o, "w": chance.uniform(0.5, 2, n), "y": y}


@dataclass
class Fitted:
    """What became of a fit."""

    restarts: Sequence[Restart]
    loop: Loop


def text_of(restarts: int = 3, mode: str = "captured", treatment: str = "enumerate") -> str:
    return SPEC.format(restarts=restarts, mode=mode, treatment=treatment)


def data_of(text: str = "") -> Data:
    return from_table(parse_spec(text or text_of(), "fit.yaml").spec, table())


def looped(text: str, data: Data, change: Callable[[Loop], None]) -> Fitted:
    """A fit from data and parameters that were changed behind everything that reads them."""
    plan = make_plan(parse_spec(text, "fit.yaml"))
    starts = [restarts.start(plan, data, r) for r in range(plan.spec.fit.restarts)]
    loop = Loop(plan, data, starts, Budget("epochs", plan.spec.fit.epochs), lambda *_: None)
    change(loop)
    loop.run()
    return Fitted(loop.restarts, loop)


COLUMNS = {"a": 0, "b": 1, "the offset": 2, "the weight": 3}


@bad
@pytest.mark.parametrize("column", COLUMNS)
def test_a_bad_value_of_the_data_is_named(column: str, value: float) -> None:
    data = data_of()
    data.train.x[7, COLUMNS[column]] = value
    row = data.train.rows[7]
    with pytest.raises(NumericalError, match=rf"{column} is \S+ in row {row}; correct") as error:
        fit(parse_spec(text_of(), "fit.yaml"), data=data)
    assert len(str(error.value)) <= 400


@bad
def test_a_bad_response_is_named_and_a_missing_one_is_not(value: float) -> None:
    data = data_of()
    np.asarray(data.train.y)[7] = value
    assert f"y is {value:.3g} in row {data.train.rows[7]}" in values_at_fault(data)
    if math.isnan(value):
        allowed = data.encoding.model_copy(update={"incomplete": True})
        assert not values_at_fault(replace(data, encoding=allowed))


def test_five_rows_are_named_and_the_others_counted() -> None:
    data = data_of()
    data.train.x[3:11, 0] = math.nan
    named = values_at_fault(data)
    assert named.count("a is nan in row") == 5
    assert named.endswith("and 3 more")


def test_a_large_value_is_not_absurd_where_all_are() -> None:
    data = data_of()
    data.train.x[:, 0] *= 1e12
    assert not values_at_fault(data, 1e9)
    data.train.x[7, 0] *= 1e12
    assert "a is" in values_at_fault(data, 1e9)


@bad
@pytest.mark.parametrize(
    ("restarts", "mode", "treatment"),
    [(1, "eager", "enumerate"), (1, "captured", "leave_one_out"), (3, "captured", "enumerate")],
)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_value_that_turns_bad_in_the_fit_poisons_nothing(
    column: str, treatment: str, restarts: int, mode: str, value: float
) -> None:
    text = text_of(restarts, mode, treatment)
    data, first = data_of(text), list[Any]()

    def plant(loop: Loop) -> None:
        loop.take.ready(loop.x[:16], loop.y[:16], len(loop.x))
        first.extend(t.clone() for t in (loop.take.values, *loop.take.moments))
        loop.x[:, COLUMNS[column]] = value  # in every row: no step can be taken
        data.train.x[7, COLUMNS[column]] = value

    found = looped(text, data, plant)
    take = found.loop.take
    assert same_bits(first, [take.values, *take.moments])
    for restart in found.restarts:
        assert restart.retries == TRIES
        assert f"{column} is" in restart.failure
        assert f"row {data.train.rows[7]}" in restart.failure
        assert restart.failure.endswith(CORRECT)
        assert len(restart.failure) <= 400


@bad
@modes
@pytest.mark.parametrize("treatment", ["enumerate", "leave_one_out"])
def test_a_restart_with_a_bad_parameter_is_named_and_the_others_go_on(
    treatment: str, mode: Mode, value: float
) -> None:
    text = text_of(3, mode, treatment)

    def plant(loop: Loop) -> None:
        place = list(loop.take.members[1].parameters).index("guide.weights.point_0")
        assert place == 0
        loop.take.values[1, 1] = value
        loop.rollback.kept[0][1, 1] = value

    plain, planted = looped(text, data_of(), lambda loop: None), looped(text, data_of(), plant)
    for r in (0, 2):
        assert torch.equal(plain.loop.take.values[r], planted.loop.take.values[r])
        assert plain.restarts[r].log_likelihood == planted.restarts[r].log_likelihood
        assert planted.restarts[r].summary().keys() == plain.restarts[r].summary().keys()
    failed = planted.restarts[1]
    assert f"experts.weight_0 of expert 0 is {value:.3g}; set a smaller" in failed.failure
    assert failed.summary()["retries"] == TRIES
    assert len(failed.failure) <= 400


@bad
def test_a_parameter_that_turns_bad_goes_back(value: float) -> None:
    """A restart goes on from where it was fine, with half the step."""

    def plant(loop: Loop) -> None:
        step = loop.step

        def planted(batch: Batch) -> list[float]:
            if loop.take.taken == 10:
                loop.take.values[1, 1] = value
            return step(batch)

        loop.step = planted  # type: ignore[method-assign]

    found = looped(text_of(), data_of(), plant)
    assert [r.failure for r in found.restarts] == ["", "", ""]
    assert found.restarts[0].retries == found.restarts[2].retries == 0
    assert 1 <= found.restarts[1].retries <= TRIES
    assert found.loop.take.scale[1] == 0.5 ** found.restarts[1].retries
    assert found.loop.take.values.isfinite().all()
    assert found.restarts[1].log_likelihood is not None
    assert math.isfinite(found.restarts[1].log_likelihood)
    assert all(math.isfinite(row["loss"]) for row in found.restarts[1].history)


@pytest.mark.parametrize("treatment", list(TREATMENTS))
def test_every_state_can_go_back(treatment: str) -> None:
    step, nothing = step_of(treatment, "captured", 2), cast("Any", None)
    restarts = [Restart(r, nothing, nothing) for r in range(2)]
    rollback = Rollback(step, restarts, lambda restart, seen: seen)
    assert rollback.keep(0, -1.0)
    assert rollback.keep(1, -1.0)
    before = copied(step)
    step(*rows())
    step.fine[1] = False
    assert [math.isnan(v) for v in rollback.check([1.0, math.nan])] == [False, True]
    assert same_bits([t[1] for t in before], [t[1] for t in held(step)])
    assert not torch.equal(before[0][0], step.values[0])
    assert step.scale.flatten().tolist() == [1.0, 0.5]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e20])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_parameters_and_moments_are_looked_at_with_the_likelihood(place: int, value: float) -> None:
    """What no step has refused, if it ever were there, goes back to what was kept."""
    step, nothing = step_of("enumerate", "captured", 2), cast("Any", None)
    rollback = Rollback(step, [Restart(r, nothing, nothing) for r in range(2)], lambda *seen: "")
    step(*rows())
    assert rollback.keep(1, -1.0)
    before = copied(step)
    held(step)[place][1, 3] = value**2 if place == 2 else value
    assert not rollback.keep(1, -1.0)
    assert same_bits(before, held(step))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_learning_rate_that_is_too_large_once_is_recovered_from(optimiser: str) -> None:
    """One step goes far too far; the fit ends near where it ends without it."""

    def too_far(loop: Loop) -> None:
        step = loop.step

        def planted(batch: Batch) -> list[float]:
            far = 1e12 if loop.take.taken == 8 else 1.0
            loop.take.scale[1] *= far
            found = step(batch)
            loop.take.scale[1] /= far
            return found

        loop.step = planted  # type: ignore[method-assign]

    text = text_of().replace("0.05", f"0.05, optimiser: {optimiser}").replace("s: 8", "s: 40")
    plain, found = looped(text, data_of(), lambda loop: None), looped(text, data_of(), too_far)
    likelihood = [f.restarts[1].log_likelihood or -math.inf for f in (plain, found)]
    assert 1 <= found.restarts[1].retries <= TRIES
    assert found.restarts[1].failure == ""
    np.testing.assert_allclose(likelihood[1], likelihood[0], atol=0.1 * 48)
    assert torch.equal(plain.loop.take.values[0], found.loop.take.values[0])


def broken(
    value: float, which: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch, name: str = ""
) -> None:
    """Let chosen restarts begin with a parameter of a value."""
    calls: list[int] = []

    def begin(*given: Any, **options: Any) -> Any:
        model, guide = build(*given, **options)
        calls.append(1)
        if which(len(calls) - 1):
            point = guide.weights.tensors()[name or guide.weights.names[0]]
            with torch.no_grad():
                point.reshape(-1)[0] = value
        return model, guide

    monkeypatch.setattr(restarts, "build", begin)


@bad
@pytest.mark.parametrize("optimiser", ["lbfgs", "em"])
def test_maximum_likelihood_names_what_no_start_can_do_with(
    optimiser: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SPEC.split("fit:", maxsplit=1)[0].format(treatment="enumerate")
    text += f"fit: {{restarts: 2, optimiser: {optimiser}, epochs: 2}}"
    data = data_of()
    data.train.x[7, 1] = value
    with pytest.raises(NumericalError, match=rf"b is \S+ in row {data.train.rows[7]};"):
        fit(parse_spec(text, "fit.yaml"), data=data)
    broken(value, lambda r: True, monkeypatch)
    named = rf"log p.* is nan: experts.weight_0 of expert 0 is {value:.3g}; standardise"
    with pytest.raises(NumericalError, match=named.replace("+", r"\+")):
        fit(parse_spec(text, "fit.yaml"), data=data_of())


def test_a_start_that_broke_down_does_not_keep_em_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gains nothing any more, and the other ends as it does by itself."""
    text = SPEC.split("fit:", maxsplit=1)[0].format(treatment="enumerate")
    text += "fit: {restarts: 2, optimiser: em, initialisation: random}"
    rounds = []
    for value in (0.1, math.nan):
        broken(value, lambda r: r == 1, monkeypatch)
        found = fit(parse_spec(text, "fit.yaml"), data=data_of())
        rounds.append(len(found.history) // 2)
        monkeypatch.undo()
    assert rounds[1] <= rounds[0] < LONG


COMMAND = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 5, optimiser: adam, restarts: 2}
output: {draws: 10}
"""


def test_the_command_ends_with_code_4_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken(math.nan, lambda r: True, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.yaml").write_text(COMMAND)
    result = called(monkeypatch, capsys, "fit", "fit.yaml", "--out", "run")
    assert result.code == 4
    assert result.err.count("\n") == 1
    assert "after going back 3 times" in result.err
    assert "is nan; set a smaller fit.learning_rate" in result.err
    assert not (tmp_path / "run").exists()


def test_what_went_back_is_in_the_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken(math.nan, lambda r: r == 1, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.yaml").write_text(COMMAND)
    assert called(monkeypatch, capsys, "fit", "fit.yaml", "--out", "run").code == 0
    worries = {w.name: w for w in summarise(tmp_path / "run").worries}
    assert worries["smaller steps"].what.startswith("1 of 2 starts met numbers")
    assert "fit.learning_rate" in worries["smaller steps"].remedy
    assert "starts broke down" in worries


# Alarms


ALARMS = """
data: {response: y, predictors: [x], split: {test: 0}}
likelihood: {family: normal}
experts: {number: 2}
treatment: {name: enumerate}
fit: {epochs: 60, restarts: 20, learning_rate: 0.05, optimiser: adam}
"""


def alarms() -> tuple[Any, list[tuple[float, str]]]:
    """A fit of twenty starts to two regimes, and what was told while it went on."""
    x = np.linspace(-2, 2, 80)
    noise = 0.3 * np.random.default_rng(0).normal(size=80)
    told: list[tuple[float, str]] = []
    found = fit(
        parse_spec(ALARMS, "fit.yaml"),
        {"x": x, "y": np.abs(x) + noise},
        progress=lambda done, text: told.append((done, text)),
    )
    return found, [t for t in told if "; start" in t[1]]


def test_healthy_fits_raise_no_alarm() -> None:
    found, told = alarms()
    last = [row for row in found.history if row["effective_experts"] is not None][-20:]
    assert min(row["effective_experts"] for row in last) > 1.2  # healthy they are
    assert not told


def test_every_collapse_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(60.0, lambda r: True, monkeypatch, "gate.bias_0")
    found, told = alarms()
    text = "".join(each for _, each in told)
    assert [
        text.count(f"; start {r + 1}: dead experts: 1 (1.0 of 2 in use)") for r in range(20)
    ] == [1] * 20
    assert min(done for done, _ in told) > 0.1
    assert found.history[-1]["effective_experts"] == pytest.approx(1, abs=0.01)


def test_what_counts_as_a_collapse() -> None:
    share = torch.tensor([0.94, 0.02, 0.02, 0.02])
    assert collapsed(share) == "dead experts: 1, 2, 3 (1.3 of 4 in use)"
    assert (
        collapsed(torch.tensor([0.9, 0.03, 0.04, 0.03])) == "expert 0 takes over (1.5 of 4 in use)"
    )
    assert collapsed(torch.tensor([0.7, 0.1, 0.1, 0.1])) == ""
    assert collapsed(torch.ones(1)) == ""


def test_a_moment_is_no_collapse_and_nothing_early_is() -> None:
    restarts = [Restart(0, cast("Any", None), cast("Any", None))]
    dead, alive = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    alarm = Collapse(parse_spec(ALARMS, "fit.yaml").spec, restarts)
    assert not any(alarm.check(0.01 * i, dead) for i in range(11))
    assert not any(alarm.check(0.2, share) for share in (dead, alive, dead, alive))
    assert [bool(alarm.check(0.5, dead)) for _ in range(4)] == [False, True, False, False]
    breaking = ALARMS.replace("number: 2}", "number: 2}\ngate: {kind: stick_breaking}")
    alarm = Collapse(parse_spec(breaking, "fit.yaml").spec, restarts)
    assert not any(alarm.check(0.5, dead) for _ in range(4))
