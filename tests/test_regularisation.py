"""Weight decay, early stopping, dropout: what they do, and that they do nothing unasked."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from problems import Replay, gradient, outcomes, problem, small, sum_of, warm_state

from pyromoe.guides import Seeded
from pyromoe.inference.fitting.choice import settle
from pyromoe.inference.fitting.loop import Loop
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.svi import fit
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError
from pyromoe.models.data.data import from_table
from pyromoe.models.dropout import Masks, dropping
from pyromoe.models.gates.mlp import Mlp
from pyromoe.models.networks import Networks
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.specs.spec_file import SpecFile

SPEC = """
data: {file: none.csv, response: RESPONSE, predictors: [x, w], split: {test: 0}, DATA}
likelihood: {LIKELIHOOD}
experts: {number: 2, EXPERTS}
gate: {GATE}
fit: {FIT}
MORE
"""


def spec(likelihood: str = "family: normal", **parts: str) -> SpecFile:
    text = SPEC.replace("LIKELIHOOD", likelihood).replace("RESPONSE", parts.get("response", "y"))
    for name in ("DATA", "EXPERTS", "GATE", "FIT", "MORE"):
        text = text.replace(name, parts.get(name.lower(), ""))
    return parse_spec(text, "s.yaml")


@cache
def table(n: int = 90) -> dict[str, Any]:
    """Two noisy lines that cross, classes of them, and groups of three rows."""
    chance = np.random.default_rng(1)
    x, w = chance.normal(size=(2, n))
    y = np.where(chance.random(n) < 0.5, 1 + x, 1 - x) + 0.2 * chance.normal(size=n)
    group = np.array([f"g{i // 3}" for i in range(n)])
    return {
        "x": x,
        "w": w,
        "y": y,
        "sort": np.where(np.arange(n) % 5, "often", "seldom"),
        "g": group,
    }


def values(result: Fit) -> dict[str, Any]:
    return {name: value.numpy() for name, value in result.tensors().items()}


def same(one: Fit, other: Fit) -> bool:
    return bool(one.metrics["parameters_sha256"] == other.metrics["parameters_sha256"])


# Settings


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"fit": "optimiser: lbfgs, weight_decay: 0.1"},
            "s.yaml:6:25: fit.weight_decay: lbfgs ends where the gradient vanishes, and knows no "
            "weight decay; set a smaller priors.experts.scale and priors.gate.scale instead, or "
            "set fit.optimiser: adam",
        ),
        (
            {"fit": "weight_decay: 0.1", "more": "guide: {weights: laplace}"},
            "s.yaml:6:7: fit.weight_decay: guide.weights: laplace ends where the gradient "
            "vanishes, and knows no weight decay; set a smaller priors.experts.scale and "
            "priors.gate.scale instead, or set guide.weights: point",
        ),
        (
            {"fit": "optimiser: em, early_stopping: {}"},
            "s.yaml:6:22: fit.early_stopping: em ends where the gradient vanishes, not before; "
            "remove it, or set fit.optimiser: adam",
        ),
        (
            {"fit": "early_stopping: {}", "more": "guide: {weights: nuts}"},
            "s.yaml:6:7: fit.early_stopping: guide.weights: nuts ends where the gradient vanishes, "
            "not before; remove it, or set guide.weights: point",
        ),
        (
            {"experts": "kind: mlp, dropout: 0.1", "fit": "optimiser: lbfgs"},
            "s.yaml:4:33: experts.dropout: lbfgs ends where the gradient vanishes, and leaves no "
            "unit out; remove it, or set fit.optimiser: adam",
        ),
        (
            {"gate": "kind: mlp, dropout: 0.1", "more": "guide: {weights: laplace}"},
            "s.yaml:5:19: gate.dropout: guide.weights: laplace ends where the gradient vanishes, "
            "and leaves no unit out; remove it, or set guide.weights: point",
        ),
    ],
)
def test_what_only_steps_know_is_refused_at_a_mode(parts: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(spec(**parts))
    assert str(caught.value) == message


PLAIN = "priors: {experts: {kind: none}, gate: {kind: none}}"


@pytest.mark.parametrize(
    ("fit_", "optimiser"),
    [
        ("", "lbfgs"),
        ("weight_decay: 0.0", "lbfgs"),
        ("weight_decay: 0.1", "adam"),
        ("early_stopping: {}", "adam"),
    ],
)
def test_what_only_steps_know_takes_adam(fit_: str, optimiser: str) -> None:
    file = spec(fit=f"precision: float64, {fit_}", more=PLAIN)
    assert settle(make_plan(file).spec, 50).fit.optimiser == optimiser


@pytest.mark.parametrize(
    ("fit_", "decay"),
    [
        ("", 0.0),
        ("optimiser: adam", 0.0),
        ("optimiser: sgd", 0.0),
        ("optimiser: adamw", 0.01),
        ("optimiser: adamw, weight_decay: 0.0", 0.0),
    ],
)
def test_weight_decay_is_that_of_the_optimiser(fit_: str, decay: float) -> None:
    assert spec(fit=fit_).spec.fit.weight_decay == decay


# Weight decay

SHORT = "epochs: 40, restarts: 1, batch_size: 30, learning_rate: 0.05"


def test_weight_decay_pulls_parameters_to_0() -> None:
    """The more, the further; adamw without any is adam."""
    none, little, much = (
        fit(spec(fit=f"{SHORT}, optimiser: adamw, weight_decay: {d}"), table())
        for d in (0.0, 0.1, 5.0)
    )
    norms = [sum((v**2).sum() for v in values(f).values()) for f in (none, little, much)]
    assert norms[0] > norms[1] > norms[2]
    adam = fit(spec(fit=f"{SHORT}, optimiser: adam"), table())
    assert same(none, adam)
    assert not same(little, adam)


# Early stopping: which rows


@pytest.mark.parametrize(
    ("parts", "number"), [({}, 18), ({"data": "group: g"}, 6), ({"data": "weights: weight"}, 18)]
)
def test_rows_kept_back_are_apart(parts: dict[str, str], number: int) -> None:
    columns = table() | ({"weight": table()["x"] ** 2} if "weights" in str(parts) else {})
    file = spec(fit="early_stopping: {share: 0.2}", **parts)
    data = from_table(file.spec, columns)
    assert data.kept is not None
    assert len(data.kept.rows) == number
    places = [*data.train.rows.flatten(), *data.kept.rows.flatten()]
    assert sorted(places) == [*range(90)]
    if parts.get("data") == "group: g":  # groups stay whole
        assert (data.kept.rows // 3 == data.kept.rows[:, :1] // 3).all()
    other = from_table(file.spec.model_copy(update={"seed": 1}), columns)
    assert other.kept is not None
    assert set(other.kept.rows.flatten()) != set(data.kept.rows.flatten())
    assert from_table(spec(**parts).spec, columns).kept is None


def test_rows_kept_back_teach_the_encoding_nothing() -> None:
    file = spec(fit="early_stopping: {share: 0.2}")
    data = from_table(file.spec, table())
    assert data.kept is not None
    x = table()["x"].copy()
    x[data.kept.rows] = 1e6
    moved = from_table(file.spec, table() | {"x": x})
    assert moved.encoding == data.encoding
    assert (moved.train.x == data.train.x).all()
    x[data.train.rows] = 1e6
    assert from_table(file.spec, table() | {"x": x}).encoding != data.encoding


@pytest.mark.parametrize("seed", range(5))
def test_of_every_class_the_same_share_is_kept(seed: int) -> None:
    stopping = "early_stopping: {share: 0.2}"
    file = spec("family: bernoulli", response="sort", fit=stopping, more=f"seed: {seed}")
    data = from_table(file.spec, table())
    assert data.kept is not None
    sort = table()["sort"][data.kept.rows]
    assert abs((sort == "seldom").sum() - 0.2 * 18) <= 1
    assert len(sort) == 18


@pytest.mark.parametrize(
    ("share", "n", "what"),
    [
        (0.1, 4, "0.1 of 4 training rows is none; set a larger share, or give more rows"),
        (
            0.9,
            4,
            "0.9 of 4 training rows is 4, and leaves 0; set a smaller share, or give more rows",
        ),
    ],
)
def test_a_share_that_is_nothing_or_all_is_refused(share: float, n: int, what: str) -> None:
    with pytest.raises(InputError) as caught:
        fit(spec(fit=f"early_stopping: {{share: {share}}}"), table(n))
    assert str(caught.value) == f"table: fit.early_stopping.share: {what}"


def test_data_encoded_without_rows_kept_back_are_refused() -> None:
    data = from_table(spec().spec, table())
    with pytest.raises(InputError, match="no row of these data was kept back; encode them with"):
        fit(spec(fit="early_stopping: {}"), data=data)


# Early stopping: where it stops

LONG = "batch_size: 30, learning_rate: 0.05, precision: float64"
FLEXIBLE = "kind: mlp, hidden: [16]"
NO_PRIOR = "priors: {experts: {kind: none}, gate: {kind: none}}"


def stopped(
    mode: str = "auto", restarts: int = 1, epochs: int = 60, patience: int = 5, more: str = NO_PRIOR
) -> Fit:
    how = f"{LONG}, mode: {mode}, restarts: {restarts}, epochs: {epochs}"
    how += f", early_stopping: {{share: 0.2, patience: {patience}}}"
    return fit(spec(experts=FLEXIBLE, fit=how, more=more), table())


def test_parameters_are_those_of_the_best_epoch_to_the_bit() -> None:
    result = stopped()
    found = result.metrics["early_stopping"]
    best = found["epoch"]
    assert found["stopped_at"] == best + 5 < 60
    assert found["n"] == 18
    again = stopped(epochs=best)
    assert again.metrics["early_stopping"] == found | {"stopped_at": None}
    assert same(result, again)
    history = result.history
    assert [row["epoch"] for row in history] == [*range(1, best + 6)]
    values = [row["validation_log_likelihood"] for row in history]
    assert max(values) == values[best - 1]
    # Exactly log p(y | x), z summed out, of the rows kept back, on the original scale.
    assert result.data is not None
    assert result.data.kept is not None
    each = result.log_likelihood(*to_tensors(result.data.kept, result.spec))
    torch.testing.assert_close(float(each.mean()), values[best - 1], rtol=0, atol=1e-12)
    assert found["log_likelihood"] == pytest.approx(18 * values[best - 1], abs=1e-10)
    assert result.metrics["n"] == {"train": 72, "test": 0}
    assert result.metrics["restarts"][0]["converged"]
    assert not again.metrics["restarts"][0]["converged"]


def test_rows_kept_back_and_watching_them_change_no_step() -> None:
    """The fit is that of a table without those rows, for as many epochs."""
    result = stopped()
    assert result.data is not None
    used = {name: column[result.data.train.rows] for name, column in table().items()}
    best = result.metrics["early_stopping"]["epoch"]
    how = f"{LONG}, restarts: 1, epochs: "
    plain, longer = (
        fit(spec(experts=FLEXIBLE, fit=f"{how}{n}", more=NO_PRIOR), used) for n in (best, best + 5)
    )
    assert same(plain, result)
    assert not same(longer, result)  # where it stopped: the best parameters are put back
    for row, other in zip(longer.history, result.history, strict=True):
        assert row["loss"] == other["loss"]


@pytest.mark.parametrize("restarts", [1, 3])
def test_eager_and_captured_steps_stop_alike(restarts: int) -> None:
    eager, captured = (stopped(mode, restarts) for mode in ("eager", "captured"))
    assert captured.metrics["mode"] == "captured"
    if restarts == 1:
        assert same(eager, captured)
        assert eager.metrics["early_stopping"] == captured.metrics["early_stopping"]
    ends = [[r["stopped_at"] for r in f.metrics["restarts"]] for f in (eager, captured)]
    assert ends[0] == ends[1]
    for name, value in values(eager).items():
        np.testing.assert_allclose(values(captured)[name], value, rtol=1e-6, atol=1e-9)


def test_restarts_beside_each_other_stop_by_themselves() -> None:
    result = stopped(restarts=4)
    found = result.metrics["restarts"]
    assert len({r["stopped_at"] for r in found}) > 1
    for r in found:
        rows = [row for row in result.history if row["restart"] == r["seed"]]
        assert [row["epoch"] for row in rows] == [*range(1, r["stopped_at"] + 1)]
        assert r["stopped_at"] == r["best_epoch"] + 5
        best = max(row["validation_log_likelihood"] for row in rows)
        assert r["validation_log_likelihood"] == best
        assert rows[-1]["step"] == 3 * r["stopped_at"]
    best = max(found, key=lambda r: r["validation_log_likelihood"])
    assert result.metrics["early_stopping"]["epoch"] == best["best_epoch"]
    highest = max(found, key=lambda r: r["log_likelihood"])
    assert result.metrics["log_likelihood"]["train"] == pytest.approx(best["log_likelihood"])
    assert highest["seed"] != best["seed"]  # chosen by the rows kept back, not by those fitted


def test_a_fit_without_it_is_what_it_was() -> None:
    """Neither metrics nor history speak of it."""
    plain = fit(spec(experts=FLEXIBLE, fit=f"{LONG}, restarts: 2, epochs: 5"), table())
    assert "early_stopping" not in plain.metrics
    assert "validation_log_likelihood" not in plain.history[0]
    assert "best_epoch" not in plain.metrics["restarts"][0]


# Dropout

DROP = "kind: mlp, hidden: [8, 4], dropout: 0.4"
DROP_GATE = "kind: mlp, hidden: [6], dropout: 0.2"
STEPS = f"{LONG}, epochs: 4, restarts: "


def dropped(
    mode: str = "eager", restarts: int = 1, treatment: str = "enumerate", **parts: str
) -> Fit:
    given = {"experts": DROP, "gate": DROP_GATE, "fit": f"{STEPS}{restarts}, mode: {mode}"}
    return fit(spec(**given | {"more": f"treatment: {treatment}"} | parts), table())


OF_EACH_KIND = [
    "enumerate",
    "jensen",
    "leave_one_out",
    "gumbel_softmax",
    "rebar",
    "reinforce_neural_baseline",
    "vimco",
    "switch",
]


@pytest.mark.parametrize("treatment", OF_EACH_KIND)
def test_eager_and_captured_steps_leave_out_the_same_units(treatment: str) -> None:
    eager, captured = (dropped(mode, treatment=treatment) for mode in ("eager", "captured"))
    assert captured.metrics["mode"] == "captured"
    assert same(eager, captured)
    assert not same(eager, dropped(treatment=treatment, gate="kind: mlp, hidden: [6]"))
    assert not same(eager, dropped(treatment=treatment, experts="kind: mlp, hidden: [8, 4]"))


@pytest.mark.parametrize("treatment", ["enumerate", "leave_one_out"])
def test_restarts_beside_each_other_leave_out_units_of_their_own(treatment: str) -> None:
    eager, captured = (dropped(mode, 3, treatment) for mode in ("eager", "captured"))
    for name, value in values(eager).items():
        np.testing.assert_allclose(values(captured)[name], value, rtol=1e-9, atol=1e-12)
    ends = [r["log_likelihood"] for r in captured.metrics["restarts"]]
    assert len(set(ends)) == 3


@pytest.mark.compiler
def test_compiled_steps_leave_out_the_same_units() -> None:
    """With priors, whose scales the graph holds itself."""
    eager, compiled = (dropped(mode, 2) for mode in ("eager", "compiled"))
    assert compiled.metrics["mode"] == "compiled"
    for name, value in values(eager).items():
        np.testing.assert_allclose(values(compiled)[name], value, rtol=1e-8, atol=1e-10)


def test_dropout_is_reproducible_and_of_the_seed() -> None:
    assert same(dropped(), dropped())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = dropped()
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(one, dropped(more="seed: 1"))


def test_nothing_is_left_out_of_what_is_measured_or_predicted() -> None:
    """The fitted values in a model without dropout say the same of all rows, to the bit."""
    result = dropped()
    plain = fit(
        spec(
            experts="kind: mlp, hidden: [8, 4]",
            gate="kind: mlp, hidden: [6]",
            fit=f"{STEPS}1, mode: eager",
        ),
        table(),
    )
    for name, value in plain.tensors().items():
        value.copy_(result.tensors()[name])
    assert result.data is not None
    x, y = to_tensors(result.data.train, result.spec)
    assert torch.equal(result.log_likelihood(x, y), plain.log_likelihood(x, y))
    assert (result.mean(x) == plain.mean(x)).all()
    assert result.history[-1]["log_likelihood"] == pytest.approx(
        float(result.log_likelihood(x, y).mean())
    )


def bank(dropout: float, hidden: int = 3) -> tuple[Networks, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return Networks(2, [1, hidden, 1], "tanh", generator, dropout=dropout), torch.randn(
        5, 1, generator=generator
    )


def test_masks_are_bernoulli_and_divided_by_what_is_kept() -> None:
    network, x = bank(0.3, 4000)
    masks = Masks(lambda like: Seeded(0).normal(like, 1)[0])
    with dropping(masks):
        found = network(x)
        assert torch.equal(network(x), found)  # the same in one step
    (mask,) = masks.known.values()
    assert mask.shape == (2, 5, 4000)
    assert set(mask.flatten().tolist()) == {0.0, 1 / 0.7}
    assert abs(float((mask > 0).double().mean()) - 0.7) < 5 * (0.21 / 40_000) ** 0.5
    (w0, b0), (w1, b1) = network.layers()
    h = torch.tanh(x @ w0 + b0)
    torch.testing.assert_close(found, (h * mask) @ w1 + b1)
    assert not torch.allclose(found, network(x))
    with dropping(masks):
        assert torch.equal(network.eval()(x), network(x))
        assert torch.allclose(network(x), h @ w1 + b1)


def test_chosen_networks_have_the_masks_of_all() -> None:
    network, x = bank(0.5)
    z = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0]])
    with dropping(Masks(lambda like: Seeded(0).normal(like, 1)[0])):
        chosen = network.of_chosen(x, z, network.layers())
        every = network(x)
    torch.testing.assert_close(chosen, every[z, torch.arange(5)])
    assert not torch.allclose(chosen, network(x)[z, torch.arange(5)])


class Fixed(Replay):
    """Replayed draws of z, and the same normal numbers for every mask."""

    def normal(self, logits: Tensor, num_samples: int) -> Tensor:
        return Seeded(logits.numel()).normal(logits, num_samples)


@pytest.mark.parametrize(
    ("name", "objective", "exact"),
    [
        ("leave_one_out", "elbo", "enumerate"),
        ("reinforce", "jensen", "jensen"),
        ("sum_and_sample", "elbo", "enumerate"),
    ],
)
def test_gradients_stay_unbiased_for_the_masks_of_a_step(
    name: str, objective: str, exact: str
) -> None:
    p = problem()
    generator = torch.Generator().manual_seed(0)
    p.model.experts = Networks(3, [1, 4, 1], "tanh", generator, dropout=0.5)
    p.model.gate = Mlp(1, 3, generator, hidden=[4], dropout=0.5)
    treatment = TREATMENTS[name]
    options = small(treatment)
    state = warm_state(treatment, p, objective, Seeded(1), **options)

    def run(noise: Replay) -> Tensor:
        return gradient(treatment, p, objective, noise, state, **options)

    expected = sum_of(probability * found for probability, found in outcomes(run, Fixed))
    sure = gradient(TREATMENTS[exact], p, objective, Fixed())
    torch.testing.assert_close(expected, sure, rtol=0, atol=1e-10)
    p.model.eval()
    without = gradient(TREATMENTS[exact], p, objective, Fixed())
    assert (without - sure).abs().max() > 1e-3  # the masks matter


# Budgets


@pytest.mark.parametrize("looks", range(24))
def test_time_may_run_out_at_any_look_at_the_clock(
    looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is returned has a likelihood, even where there was time for one step only."""
    seen = iter([0.0] * looks)
    monkeypatch.setattr(Loop, "done", lambda self: next(seen, 1.0))
    text = """
data: {response: y, split: {test: 0}}
likelihood: {family: normal}
fit: {restarts: 1, optimiser: adam, batch_size: 8, mode: eager}
"""
    x = np.linspace(-1, 1, 16)
    found = fit(parse_spec(text, "s.yaml").spec, {"x": x, "y": x**2})
    assert np.isfinite(found.metrics["log_likelihood"]["train"])
