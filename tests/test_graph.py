"""The step as a graph: the same numbers as Python's, whatever is treated, and when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from problems import EVERY, Problem, no_guide, problem
from torch import nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.utils._python_dispatch import TorchDispatchMode

from pyromoe.guides import Seeded
from pyromoe.inference import TREATMENTS, Step, Treatment_ELBO, fit
from pyromoe.inference.fitting import restarts
from pyromoe.inference.fitting.build import build as build_model
from pyromoe.inference.steps import graph
from pyromoe.inference.steps.auto import LOADING, Auto
from pyromoe.inference.steps.optimisers import OPTIMISERS
from pyromoe.inference.steps.replay import replayed
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from pyromoe.inference.steps.auto import Mode

every = pytest.mark.parametrize(("name", "objective"), EVERY)


def course(
    name: str,
    objective: str,
    mode: Mode,
    steps: int = 8,
    dtype: torch.dtype = torch.float64,
    short: int = 13,
) -> tuple[list[float], Tensor, Step]:
    """Losses, parameters at the end, and the step; batches of two lengths, settings that change."""
    p = problem(40, 4)
    p.model.to(dtype)
    p.amortised.to(dtype)
    elbo = Treatment_ELBO(name, noise=Seeded(3))
    step = Step(elbo, p.model, p.guide(objective), mode=mode, divide_by=40)
    losses = []
    for i in range(steps):
        rows = 40 if i % 3 else short
        x, y = p.x[:rows].to(dtype), p.y[:rows].to(dtype)
        options = {"temperature": 0.5 / (i + 1)} if hasattr(elbo.config, "temperature") else {}
        loss = step(x, y, 40, learning_rate=0.05 / (i + 1), options=options)
        losses.append(float(loss))
    return losses, torch.cat([t.detach().flatten() for t in p.parameters("elbo")]), step


@every
def test_a_captured_step_gives_the_bits_of_an_eager_one(name: str, objective: str) -> None:
    eager, captured = (course(name, objective, mode) for mode in ("eager", "captured"))
    assert eager[0] == captured[0]
    assert torch.equal(eager[1], captured[1])
    assert captured[2].ran == "captured"
    assert len(captured[2].runs) == 2  # one for each length: settings make no graph anew


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_precisions_are_captured(dtype: torch.dtype) -> None:
    eager, captured = (course("q_baseline", "elbo", m, dtype=dtype) for m in ("eager", "captured"))
    assert eager[0] == captured[0]
    assert captured[1].dtype == dtype


COMPILED = ("enumerate", "leave_one_out", "gumbel_softmax", "relax")
"""Compiled in every run of the tests; the others by `make test-compiled`, ten minutes more."""
REST = [
    pytest.param(name, marks=pytest.mark.compiler) for name in TREATMENTS if name not in COMPILED
]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*COMPILED, *REST])
def test_a_compiled_step_gives_the_same_numbers(name: str) -> None:
    objective = TREATMENTS[name].objectives[0]
    eager, compiled = (course(name, objective, mode, 6, short=40) for mode in ("eager", "compiled"))
    assert compiled[2].ran == "compiled"
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-9)
    torch.testing.assert_close(compiled[1], eager[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", list(TREATMENTS))
def test_members_side_by_side_do_what_each_does_alone(name: str) -> None:
    objective = TREATMENTS[name].objectives[-1]

    def starts() -> list[Problem]:
        return [problem(20, 4, seed=seed) for seed in range(2)]

    def members(problems: list[Problem]) -> list[Any]:
        return [
            (Treatment_ELBO(name, noise=Seeded(r)), p.model, p.guide(objective))
            for r, p in enumerate(problems)
        ]

    alone, together = starts(), starts()
    x, y = torch.stack([p.x for p in alone]), torch.stack([p.y for p in alone])
    steps = [Step(*m, mode="eager") for m in members(alone)]
    first, *beside = members(together)
    step = Step(*first, mode="captured", beside=beside)
    for _ in range(4):
        expected = [float(s(p.x, p.y)) for s, p in zip(steps, alone, strict=True)]
        np.testing.assert_allclose(step(x, y, stacked=True).tolist(), expected, rtol=1e-9)
    assert step.ran == "captured"
    step.hand_over()
    for p, other in zip(alone, together, strict=True):
        for a, b in zip(p.parameters("elbo"), other.parameters("elbo"), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("after", ["eager", "captured", "compiled"])
def test_a_run_may_go_on_in_another_mode(after: Mode) -> None:
    def losses(second: Mode) -> list[float]:
        p = problem(20, 4)
        elbo = Treatment_ELBO("reinforce_neural_baseline", noise=Seeded(0))
        step, found = Step(elbo, p.model, p.guide("jensen"), mode="captured"), []
        for i in range(8):
            step.mode = second if i >= 4 else "captured"
            found.append(float(step(p.x, p.y)))
        return found

    np.testing.assert_allclose(losses(after), losses("captured"), rtol=1e-9)


def test_another_seed_gives_other_bits() -> None:
    """The control of the tests above: noise does reach the graph."""
    p = problem(20, 4)
    elbo = Treatment_ELBO("reinforce", noise=Seeded(0))
    step = Step(elbo, p.model, p.guide("jensen"))
    values = {float(step(p.x, p.y, learning_rate=1e-12)) for _ in range(5)}
    assert len(values) == 5


@every
def test_a_step_is_what_a_users_own_loop_does(name: str, objective: str) -> None:
    """Treatment_ELBO and torch.optim.Adam, step by step."""
    losses, ends = [], []
    for by_hand in (True, False):
        p = problem(10, 4)
        elbo = Treatment_ELBO(name, noise=Seeded(3))
        guide = p.guide(objective)
        found = []
        if by_hand:
            loss = elbo(p.model, guide)
            optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
            for _ in range(5):
                optimiser.zero_grad()
                value = loss(p.x, p.y)
                value.backward()
                optimiser.step()
                found.append(float(value.detach()))
        else:
            step = Step(elbo, p.model, guide)
            found = [float(step(p.x, p.y, learning_rate=0.02)) for _ in range(5)]
        losses.append(found)
        ends.append(torch.cat([t.detach().flatten() for t in p.parameters("elbo")]))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    torch.testing.assert_close(*ends, rtol=0, atol=1e-9)


OF_TORCH = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def courses(name: str, decay: float | None, of_torch: float | None) -> tuple[Tensor, Tensor]:
    """Where 20 steps of an optimiser lead, and of torch's; a decay of None is the default."""
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(10, generator=generator)
    theirs = ours.clone().requires_grad_()
    ours_is = OPTIMISERS[name] if decay is None else OPTIMISERS[name].decaying(decay)
    moments = [torch.zeros_like(ours) for _ in range(ours_is.moments)]
    options = {} if of_torch is None else {"weight_decay": of_torch}
    optimiser = OF_TORCH[name]([theirs], lr=0.1, **options)
    for i in range(20):
        gradient = torch.randn(10, generator=generator)
        rate = 0.1 / (i + 1)
        factors = torch.tensor(ours_is.factors(i + 1, rate), dtype=ours.dtype)
        fine, found = torch.tensor([True]), ours_is.move(ours, gradient, moments, factors.unbind())
        moments = ours_is.take(ours, moments, factors, fine, *found)
        theirs.grad = gradient
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
    return ours, theirs.detach()


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_the_optimisers_are_torchs(name: str) -> None:
    ours, theirs = courses(name, None, None)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", list(OPTIMISERS))
@pytest.mark.parametrize("decay", [0.0, 0.01, 0.7])
def test_weight_decay_is_torchs(name: str, decay: float) -> None:
    ours, theirs = courses(name, decay, decay)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    ours, theirs = courses(name, decay, decay + 1e-6)  # it would be noticed
    assert (ours - theirs).abs().max() > 1e-8


# Recording and replaying


def replay_of(function: Callable[..., list[Tensor]], *given: Tensor) -> list[list[Tensor]]:
    """What a function gives in three calls, and its replay in three calls."""
    run = replayed(graph.capture(function, given))
    return [[f(*given)[0] for _ in range(3)] for f in (function, run)]


def test_what_is_changed_in_place_is_made_anew_at_every_call() -> None:
    def function(x: Tensor) -> list[Tensor]:
        filled = torch.zeros(3)
        filled.view(-1).add_(x)
        return [filled + torch.zeros(3) + torch.tensor([1.0, 2.0, 3.0]).mul_(2)]

    found, again = replay_of(function, torch.ones(3))
    torch.testing.assert_close(found, again, rtol=0, atol=0)


def test_draws_are_neither_merged_nor_kept() -> None:
    def function(x: Tensor) -> list[Tensor]:
        return [x * 0 + torch.rand(4) - torch.rand(4)]

    _, again = replay_of(function, torch.ones(4))
    assert not torch.equal(again[0], torch.zeros(4))
    assert not torch.equal(again[0], again[1])


def test_a_replay_leaves_out_what_is_known_before_and_what_changes_nothing() -> None:
    def function(x: Tensor) -> list[Tensor]:
        rest = torch.arange(3.0) * 2 + 1
        return [(x.mT.mT.view(2, 3) * 1.0 + rest) * x.exp() + x.exp()]

    x = torch.arange(6.0).reshape(2, 3)
    captured = graph.capture(function, [x])
    run = replayed(captured)
    assert torch.equal(function(x)[0], run(x)[0])
    kept = Counter[object]()

    class Counts(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kept[func.name()] += 1
            return func(*args, **(kwargs or {}))

    with Counts():  # type: ignore[no-untyped-call]  # torch's
        run(x)
    assert kept == {"aten::add.Tensor": 2, "aten::exp": 1, "aten::mul.Tensor": 1}


def test_a_value_may_be_looked_at_where_it_is_the_same_at_every_call() -> None:
    constant, given = torch.tensor(2.0), torch.ones(2)
    run = graph.capture(lambda x: [x * float(constant + 1)], [given])
    assert torch.equal(run(given)[0], torch.tensor([3.0, 3.0]))
    with pytest.raises(RuntimeError, match="looks at a value"):
        graph.capture(lambda x: [x * float(x.sum())], [given])


def test_a_generator_of_its_own_is_not_captured() -> None:
    generator = torch.Generator()
    with pytest.raises(TypeError, match="generator"):
        graph.capture(lambda x: [x + torch.rand(2, generator=generator)], [torch.ones(2)])


def test_capturing_loads_no_compiler() -> None:
    code = """
import sys, torch
from pyromoe.inference.steps import graph
graph.capture(lambda x: [x.split([1, 1])[0] + 1], [torch.ones(2)])
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("own", [False, True])
def test_the_compilers_cache_is_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: bool
) -> None:
    """Unless the user names another; torch names its own when it is loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = str(tmp_path / "mine") if own else default_cache_dir()
    monkeypatch.setenv(graph.PLACE, before)
    with graph._cache_in_place():
        inside = os.environ[graph.PLACE]
    assert inside == (before if own else str(tmp_path / "pyromoe" / "torch"))
    assert os.environ[graph.PLACE] == before


# Programs of a user's own


class Pair(nn.Module):
    """Two clusters of fixed spread; in Python it may look at a value."""

    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.looks = looks
        self.weights = nn.Parameter(torch.zeros(2))
        self.locs = nn.Parameter(torch.tensor([-0.5, 0.5]))

    def forward(self, y: Tensor) -> None:
        locs: Tensor = self.locs
        if self.looks and float(self.locs[0].detach()) > 100:
            locs = locs - 100
        with pyro.plate("rows", len(y)):
            z = pyro.sample("z", dist.Categorical(logits=self.weights.expand(len(y), -1)))
            pyro.sample("obs", dist.Normal(locs[z], 0.7), obs=y)


def fitted(mode: Mode, **options: Any) -> tuple[list[float], Step]:
    y = torch.tensor([-1.4, -0.8, 0.1, 1.2, 2.0])
    step = Step(Treatment_ELBO("enumerate"), Pair(**options), no_guide, mode=mode)
    return [float(step(y, learning_rate=0.05)) for _ in range(30)], step


def test_a_users_own_program_is_captured() -> None:
    (eager, _), (captured, step) = (fitted(mode) for mode in ("eager", "captured"))
    assert step.ran == "captured"
    assert eager == captured
    assert captured[-1] < captured[0]


def test_a_program_that_looks_at_values_runs_eagerly_and_says_so() -> None:
    (eager, _), (asked, step) = (fitted(mode, looks=True) for mode in ("eager", "captured"))
    assert step.ran.startswith("eager: it cannot be captured")
    assert "\n" not in step.note
    assert eager == asked


def test_what_no_compiler_takes_is_replayed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("no compiler here\nsecond line")

    (eager, _) = fitted("eager")
    monkeypatch.setattr(graph, "compiled", refuse)
    found, step = fitted("compiled")
    assert found == eager
    assert step.ran == "captured: it cannot be compiled (no compiler here)"
    y = torch.tensor([0.0, 1.0])  # another shape is captured too
    step(y, learning_rate=0.05)
    assert not step.note.startswith("eager")


def test_noise_that_is_not_made_from_raw_numbers_runs_eagerly() -> None:
    class Own:
        def categorical(self, logits: Tensor, num_samples: int) -> Tensor:
            return torch.zeros(num_samples, len(logits), dtype=torch.long)

        def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
            return logits.new_zeros(num_samples, *logits.shape)

        normal = gumbel

    p = problem(5)
    step = Step(Treatment_ELBO("reinforce", noise=Own()), p.model, p.guide("jensen"))
    assert np.isfinite(float(step(p.x, p.y)))
    assert step.ran.startswith("eager")
    assert "raw numbers" in step.note


@pytest.mark.parametrize("mode", ["eager", "captured"])
def test_a_stray_parameter_is_refused_in_every_mode(mode: Mode) -> None:
    def stray(y: Tensor) -> None:
        pyro.param("stray", torch.tensor(0.0))

    step = Step(Treatment_ELBO("enumerate"), Pair(), stray, mode=mode)
    with pytest.raises(InputError, match="stray"):
        step(torch.zeros(3))


def test_the_modules_hold_the_parameters_after_every_step() -> None:
    p: Problem = problem(10)
    before = [t.detach().clone() for t in p.model.parameters()]
    step = Step(Treatment_ELBO("enumerate"), p.model, no_guide)
    step(p.x, p.y)
    after = list(p.model.parameters())
    assert all(isinstance(t, nn.Parameter) for t in after)
    assert not any(torch.equal(a, b.detach()) for a, b in zip(before, after, strict=True))


# In a fit

SPEC = """
data: {{file: none.csv, response: y, split: {{test: 0.2}}}}
likelihood: {{family: normal}}
experts: {{number: 3}}
treatment: {{name: gumbel_softmax, temperature: {{start: 1.0, end: 0.3}}}}
fit: {{epochs: {epochs}, batch_size: 20, restarts: 1, precision: float64, mode: {mode}}}
"""


def fit_by(mode: str, epochs: int = 10) -> Any:
    return fit_of(SPEC.format(mode=mode, epochs=epochs))


def fit_of(text: str) -> Any:
    x = np.linspace(-2, 2, 60)
    table = {"x": x, "y": np.abs(x)}
    return fit(parse_spec(text, "spec.yaml"), table)


def test_a_fit_gives_the_same_bits_in_both_modes() -> None:
    eager, captured = (fit_by(mode) for mode in ("eager", "captured"))
    assert eager.metrics["parameters_sha256"] == captured.metrics["parameters_sha256"]
    losses = [[row["loss"] for row in f.history] for f in (eager, captured)]
    assert losses[0] == losses[1]
    assert [eager.metrics["mode"], captured.metrics["mode"]] == ["eager", "captured"]
    temperatures = [row["temperature"] for row in captured.history]
    assert temperatures[0] > temperatures[-1]


def test_a_short_fit_is_over_before_a_graph_is_ready() -> None:
    assert fit_by("auto", 2).metrics["mode"] == "eager"


@pytest.mark.parametrize(
    ("ahead", "mode"), [(20, "eager"), (2_000, "captured"), (10**7, "compiled")]
)
def test_auto_goes_by_the_work_ahead(ahead: int, mode: Mode) -> None:
    auto, one = Auto(), graph.capture(lambda t: [t + 1], [torch.zeros(1)])
    auto.captured("form", one, [torch.zeros(1)])
    for _ in range(20):
        chosen = auto.mode("form", ahead)
        auto.record("form", chosen, 1e-3)
    assert chosen == mode


def test_auto_knows_what_was_compiled_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    two, given = graph.capture(lambda t: [t + 2], [torch.zeros(1)]), [torch.zeros(1)]
    first = Auto()
    first.captured("form", two, given)
    first.forms["form"].mode = "compiled"
    first.compiled("form", 8.0)
    for _ in range(20):
        first.record("form", "compiled", 1e-5)
    second = Auto()
    second.captured("form", two, given)
    assert second.forms["form"].known == {"ready": LOADING, "step": 1e-5}


def test_restarts_side_by_side_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for room in (2**21, 0):
        monkeypatch.setattr(restarts, "SIDE_BY_SIDE", room)
        text = SPEC.format(mode="captured", epochs=10).replace("restarts: 1", "restarts: 3")
        rows.append(fit_of(text))
    together, alone = rows
    assert [r["seed"] for r in together.metrics["restarts"]] == [0, 1, 2]
    for column in ("loss", "log_likelihood", "step", "restart"):
        values = [[row[column] for row in f.history if row[column] is not None] for f in rows]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    for a, b in zip(together.tensors().values(), alone.tensors().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)


def test_a_restart_that_breaks_down_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second of three starts at infinity."""
    built = build_model

    def build(*args: Any, **options: Any) -> Any:
        model, guide = built(*args, **options)
        calls.append(1)
        if len(calls) == 2:
            with torch.no_grad():
                next(iter(model.parameters())).fill_(torch.inf)
        return model, guide

    calls: list[int] = []
    monkeypatch.setattr(restarts, "build", build)
    text = SPEC.format(mode="captured", epochs=10).replace("restarts: 1", "restarts: 3")
    found = fit_of(text).metrics["restarts"]
    assert [bool(r.get("failure")) for r in found] == [False, True, False]
    assert [r["log_likelihood"] is None for r in found] == [False, True, False]
