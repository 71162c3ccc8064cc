"""Several responses, rows that share a z, weights, missing values, experts of several families."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import pytest
import scipy.stats as stats  # type: ignore[import-untyped]  # no stubs
import torch
from families import made
from pyro.infer import TraceEnum_ELBO

from pyromoe.guides import AmortisedGuide, PriorGuide
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.posterior.prediction import predict
from pyromoe.inference.steps.step import Step
from pyromoe.inference.svi import fit
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError, MixtureOfExperts, log_joint
from pyromoe.models.data.data import from_table, undivided
from pyromoe.models.likelihoods import Joint, Likelihood, Mixed, MultivariateNormal, Noise
from pyromoe.models.specs.spec_file import parse_spec
from pyromoe.models.tables.groups import gathered, rows_of_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit

K, N, M = 3, 6, 4


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def moved(likelihood: Likelihood) -> Likelihood:
    """The same with parameters of its own that differ between experts."""
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return likelihood


def model_of(likelihood: Likelihood, number: int = K, **options: Any) -> MixtureOfExperts:
    generator = torch.Generator().manual_seed(1)
    return MixtureOfExperts(2, likelihood, number, generator=generator, **options)


def joint() -> Joint:
    """A number, a count and a class."""
    parts = [made("normal", K), made("poisson", K), made("categorical", K)]
    return Joint([moved(part) for part in parts])


def responses(*shape: int) -> Tensor:
    """One of each for every row, (..., 3)."""
    y = torch.randn(*shape), torch.randint(4, shape), torch.randint(3, shape)
    return torch.stack([each.double() for each in y], -1)


def no_guide(*args: object, **kwargs: object) -> None:
    """A guide without sites."""


# Several responses


def test_a_joint_density_is_the_sum_of_its_parts() -> None:
    whole, x, y = model_of(joint()), torch.randn(N, 2), responses(N)
    found = log_joint(whole, x, y).enumerate_likelihood()
    outputs, expected = whole.experts(x), torch.zeros(K, N)
    for r, (first, part) in enumerate(zip((0, 1, 2), whole.likelihood.parts(), strict=True)):
        own = part.parameters_of(outputs[..., first : first + part.outputs])
        expected = expected + part.distribution(**own).log_prob(y[:, r])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert float((expected - found.mean()).detach().abs().max()) > 1  # they are not all alike


@pytest.mark.parametrize("r", [0, 1, 2])
def test_a_missing_response_leaves_the_others(r: int) -> None:
    whole, x, y = model_of(joint()), torch.randn(N, 2), responses(N)
    gone = y.clone()
    gone[:3, r] = math.nan
    full, some = (log_joint(whole, x, values).enumerate_likelihood() for values in (y, gone))
    part, first = whole.likelihood.parts()[r], (0, 1, 2)[r]
    own = part.parameters_of(whole.experts(x)[..., first : first + part.outputs])
    alone = part.distribution(**own).log_prob(y[:, r])
    torch.testing.assert_close((full - some)[:, :3], alone[:, :3], rtol=0, atol=1e-12)
    torch.testing.assert_close(full[:, 3:], some[:, 3:], rtol=0, atol=0)
    gradients = torch.autograd.grad(some.sum(), list(whole.parameters()), allow_unused=True)
    assert all(g.isfinite().all() for g in gradients if g is not None)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "shared", "shared_diagonal"])
def test_missing_responses_have_the_marginal_of_the_multivariate_normal(covariance: Any) -> None:
    likelihood = moved(MultivariateNormal(K, 3, covariance, incomplete=True))
    whole, x, y = model_of(likelihood), torch.randn(N, 2), torch.randn(N, 3)
    missing = torch.rand(N, 3) < 0.4
    missing[0], missing[1] = True, False
    y[missing] = math.nan
    found = log_joint(whole, x, y).enumerate_likelihood().detach().numpy()
    means, covariances = whole.experts(x).detach().numpy(), likelihood.constants()["covariance"]
    for k in range(K):
        matrix = covariances.expand(K, 3, 3)[k].detach().numpy()
        for n in range(N):
            there = ~missing[n].numpy()
            expected = 0.0
            if there.any():
                mean, own = means[k, n][there], matrix[np.ix_(there, there)]
                expected = stats.multivariate_normal(mean, own).logpdf(y[n].numpy()[there])
            assert found[k, n] == pytest.approx(expected, abs=1e-10)
    plain = MultivariateNormal(K, 3, covariance)
    plain.load_state_dict(likelihood.state_dict())
    given = plain.parameters_of(whole.experts(x))
    complete = torch.randn(N, 3)
    densities = [part.distribution(**given).log_prob(complete) for part in (plain, likelihood)]
    torch.testing.assert_close(*densities, rtol=0, atol=1e-12)


def test_draws_of_the_multivariate_normal_have_its_moments() -> None:
    likelihood = moved(MultivariateNormal(1, 3))
    loc = torch.tensor([[[1.0, -2.0, 0.5]]]).expand(1, 200_000, 3)
    drawn = likelihood.distribution(**likelihood.parameters_of(loc)).sample()[0].numpy()
    expected = likelihood.constants()["covariance"][0].detach().numpy()
    np.testing.assert_allclose(drawn.mean(0), [1, -2, 0.5], atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.03)
    assert abs(expected[0, 1]) > 0.05


# Rows of a group


def grouped() -> tuple[MixtureOfExperts, Tensor, Tensor, Tensor]:
    """A model, groups of unequal size, and the rows that are there."""
    whole = model_of(joint(), incomplete=True)
    x, y = torch.randn(N, M, 2), responses(N, M)
    there = torch.arange(M) < torch.tensor([1, 4, 2, 3, 4, 1])[:, None]
    y[~there] = math.nan
    return whole, x, y, there


def test_a_group_has_the_product_of_its_rows() -> None:
    whole, x, y, there = grouped()
    found = log_joint(whole, x, y)
    rows = log_joint(whole, x.flatten(0, 1), y.flatten(0, 1)).enumerate_likelihood()
    expected = torch.where(there, rows.unflatten(1, (N, M)), 0.0).sum(-1)
    torch.testing.assert_close(found.enumerate_likelihood(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.log_prior, whole.gate_logits(x[:, 0]).log_softmax(-1))
    z = torch.randint(K, (2, N))
    chosen = expected.T[torch.arange(N), z]
    torch.testing.assert_close(found.likelihood(z), chosen, rtol=0, atol=1e-12)


def test_chosen_experts_alone_serve_groups_too() -> None:
    number = 40
    likelihood = moved(made("normal", number))
    whole = model_of(likelihood, number, incomplete=True)
    x, y = torch.randn(N, M, 2), torch.randn(N, M)
    y[0, 1:] = math.nan
    found = log_joint(whole, x, y)
    z = torch.randint(number, (2, N))
    assert whole._few(x, z)
    every = found.enumerate_likelihood()
    expected = every.T[torch.arange(N), z]
    torch.testing.assert_close(found.likelihood(z), expected, rtol=0, atol=1e-12)


def test_groups_are_packed_in_the_order_of_their_rows() -> None:
    group = np.array([0, 1, 0, 2, 2, 0])
    rows = rows_of_groups(group)
    np.testing.assert_array_equal(rows, [[0, 2, 5], [1, -1, -1], [3, 4, -1]])
    values = np.arange(6.0)
    packed = gathered(values, rows, missing=True)
    np.testing.assert_array_equal(packed[0], [0, 2, 5])
    assert np.isnan(packed[1, 1:]).all()
    np.testing.assert_array_equal(gathered(values, rows, missing=False)[1], [1, 1, 1])
    np.testing.assert_array_equal(gathered(np.arange(6), rows, missing=True)[2], [3, 4, -1])


def test_enumeration_of_groups_is_pyros_own() -> None:
    whole, x, y, _ = grouped()
    pyro.clear_param_store()
    ours = Treatment_ELBO("enumerate").differentiable_loss(whole, no_guide, x, y)
    pyros = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(whole, no_guide, x, y)
    torch.testing.assert_close(ours, pyros, rtol=1e-12, atol=1e-10)
    parameters = list(whole.parameters())
    both = [torch.autograd.grad(v, parameters, allow_unused=True) for v in (ours, pyros)]
    for one, other in zip(*both, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_takes_groups_of_joint_responses(name: str) -> None:
    """Eager and captured steps have the same bits, and every gradient is finite."""
    objective = TREATMENTS[name].objectives[0]
    results = []
    for mode in ("eager", "captured"):
        torch.manual_seed(0)
        whole, x, y, _ = grouped()
        whole = model_of(whole.likelihood, incomplete=True, extras=["weight"])
        x = torch.cat([x, torch.rand(N, 1, 1).expand(N, M, 1) + 0.5], -1)
        amortised = AmortisedGuide(whole, [2])
        guide: Any = amortised if objective in ("elbo", "iwae") else PriorGuide(whole)
        guide = no_guide if objective == "marginal" else guide
        step = Step(Treatment_ELBO(name), whole, guide, mode=mode)
        results.append([float(step(x, y)) for _ in range(3)])
        assert step.note == ""
    assert results[0] == results[1]
    assert np.isfinite(results[0]).all()


# Weights


@pytest.mark.parametrize("name", ["enumerate", "jensen", "expectation_maximisation"])
def test_a_weight_of_three_is_a_row_three_times(name: str) -> None:
    likelihood, weight = moved(made("normal", K)), torch.tensor([1.0, 3, 1, 2, 1, 1])
    heavy, plain = model_of(likelihood, extras=["weight"]), model_of(likelihood)
    plain.experts, plain.gate = heavy.experts, heavy.gate
    x, y = torch.randn(N, 2), torch.randn(N)
    rows = torch.repeat_interleave(torch.arange(N), weight.long())
    losses = []
    for model, given in ((heavy, torch.cat([x, weight[:, None]], -1)), (plain, x[rows])):
        guide = no_guide if "marginal" in TREATMENTS[name].objectives else PriorGuide(model)
        elbo = Treatment_ELBO(name)
        responses = y if model is heavy else y[rows]
        losses.append(elbo.differentiable_loss(model, guide, given, responses))
    torch.testing.assert_close(*losses, rtol=0, atol=1e-12)
    both = [torch.autograd.grad(loss, list(heavy.parameters())) for loss in losses]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    alone = Treatment_ELBO(name).differentiable_loss(
        plain, no_guide if "marginal" in TREATMENTS[name].objectives else PriorGuide(plain), x, y
    )
    assert abs(float((alone - losses[0]).detach())) > 0.1


# Coefficients that experts share


def test_shared_coefficients_are_the_same_in_all_experts() -> None:
    whole = model_of(made("normal", K), expert_shared=[0], shared_intercept=True)
    x, y = torch.randn(N, 2), torch.randn(N)
    ((weight, bias),) = whole.experts.layers()
    assert whole.expert_columns == [1, 0]
    assert torch.equal(weight[:, 1], weight[:1, 1].expand(K, 1))
    assert not torch.equal(weight[0, 0], weight[1, 0])
    assert torch.equal(bias, bias[:1].expand(K, 1, 1))
    assert sum(p.numel() for p in whole.experts.parameters()) == K + 1 + 1
    free = model_of(whole.likelihood)
    free.gate = whole.gate
    with torch.no_grad():
        free.experts.weight_0.copy_(weight.flip(1))
        free.experts.bias_0.copy_(bias)
    found, expected = (log_joint(m, x, y).enumerate() for m in (whole, free))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    z = torch.randint(K, (N,))
    outputs = whole.experts.of_chosen(x.flip(1), z, whole.experts.layers())
    torch.testing.assert_close(outputs, whole.experts(x.flip(1))[z, torch.arange(N)])


# Experts of several families


def test_each_expert_has_the_density_of_its_own_family() -> None:
    normal, student = moved(made("normal", 2)), moved(made("student_t", 1))
    mixed = Mixed([normal, student, Noise([-2.0], [3.0])], [0, 1, 0, 2])
    whole, x, y = model_of(mixed, 4), torch.randn(N, 2), torch.randn(N)
    found = log_joint(whole, x, y).enumerate_likelihood()
    outputs = whole.experts(x)
    of_normal = normal.parameters_of(outputs[[0, 2]])
    of_student = student.parameters_of(outputs[1:2])
    both = normal.distribution(**of_normal).log_prob(y)
    one = student.distribution(**of_student).log_prob(y)
    expected = torch.stack([both[0], one[0], both[1], torch.full((N,), -math.log(5.0))])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    z = torch.randint(4, (3, N))
    torch.testing.assert_close(
        log_joint(whole, x, y).likelihood(z), expected.T[torch.arange(N), z], rtol=0, atol=1e-12
    )
    gradients = torch.autograd.grad(found.sum(), list(mixed.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    means = mixed.means(**whole.expert_parameters(x))[0]
    torch.testing.assert_close(means[3], torch.full((N,), 0.5))
    drawn = mixed.distribution(**whole.expert_parameters(x)).sample((4000,))[:, 3]
    assert float(drawn.min()) < -1.9
    assert float(drawn.max()) > 2.9


# From a table to predictions

OFF = "priors: {experts: {kind: none}, gate: {kind: none}}\n"
FIT = "fit: {batch_size: full, epochs: 400, learning_rate: 0.05, restarts: 4, precision: float64}\n"


def table() -> dict[str, Any]:
    """Groups of one to five rows, a number, a count and a class for each, two regimes."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 6, 150)
    group = np.repeat(np.arange(150), sizes)
    z = (generator.random(150) < 0.4).astype(int)[group]
    x = generator.uniform(-1, 1, len(group))
    y = np.array([1.0, -1.0])[z] + np.array([2.0, -1.0])[z] * x
    return {
        "subject": np.array([f"s{g:03}" for g in group]),
        "x": x,
        "y": y + 0.7 * generator.normal(size=len(x)),
        "count": generator.poisson(np.exp(np.array([0.2, 1.2])[z])),
        "kind": np.where(generator.random(len(x)) < np.array([0.2, 0.7])[z], "b", "a"),
        "z": z,
    }


JOINT = """\
data: {response: [y, count, kind], predictors: [x], group: subject, split: {test: 0.2},
       missing: {responses: marginalise, predictors: indicate}}
likelihood: [{family: normal}, {family: poisson}, {family: categorical}]
experts: {number: 2}
gate: {kind: constant}
output: {draws: 10}
"""


def test_groups_of_joint_responses_from_a_table_to_predictions() -> None:
    columns = table()
    hidden = dict(columns)
    generator = np.random.default_rng(1)
    for name in ("y", "x"):
        gone = generator.random(len(columns["x"])) < 0.1
        hidden[name] = np.where(gone, np.nan, columns[name])
    kinds = zip(generator.random(len(columns["x"])), columns["kind"], strict=True)
    hidden["kind"] = [None if chance < 0.1 else kind for chance, kind in kinds]
    found: Fit = fit(parse_spec(JOINT + OFF + FIT, "s").spec, hidden)
    assert found.data is not None
    assert found.metrics["groups"] == {"train": 120, "test": 30}
    assert sum(found.metrics["n"].values()) == len(columns["x"])
    assert set(found.metrics) >= {"rmse(y)", "rmse(count)", "accuracy(kind)"}
    assert found.encoding.columns == ("x", "x:missing")
    predicted = predict(found, hidden)
    assert predicted.num_rows == len(columns["x"])
    expert = predicted["expert"].to_numpy()
    agreement = float((expert == columns["z"]).mean())
    assert max(agreement, 1 - agreement) > 0.93
    for name in np.unique(columns["subject"])[:20]:
        assert len(set(expert[columns["subject"] == name])) == 1
    wrong = np.abs(predicted["y:mean"].to_numpy() - columns["y"]).mean()
    assert np.isfinite(wrong)
    tree = to_datatree(found)
    assert tree["posterior"]["z"].shape == (1, 10, 120)
    assert tree["observed_data"]["y"].dims == ("obs", "member", "response")
    drawn = tree["posterior_predictive"]["y"].to_numpy()
    assert np.isnan(drawn[:, :, found.data.train.rows == -1]).all()
    assert np.isfinite(drawn[:, :, found.data.train.rows != -1]).all()
    total = float(tree["log_likelihood"]["y"].to_numpy()[0, 0].sum())
    assert total == pytest.approx(found.metrics["log_likelihood"]["train"], abs=1e-8)
    assert {"scale(y)", "expert_slope"} <= set(tree["posterior"].to_dataset())
    new = predict(found, {name: columns[name] for name in ("x",)})
    assert new.num_rows == len(columns["x"])
    assert "log_density" not in new.column_names


def test_the_log_likelihood_does_not_depend_on_standardising_or_what_is_missing() -> None:
    """Values at one set of parameters, on the original scale, against scipy."""
    columns = {n: v for n, v in table().items() if n in ("x", "y", "count")}
    columns["y"] = np.where(np.arange(len(columns["x"])) % 7 == 0, np.nan, columns["y"])
    text = """\
data: {response: [y, count], standardise: predictors_and_response, split: {test: 0},
       missing: {responses: marginalise}}
likelihood: [{family: normal}, {family: poisson}]
experts: {number: 1}
"""
    more = "fit: {batch_size: full, epochs: 300, learning_rate: 0.05, restarts: 1}\n"
    found = fit(parse_spec(text + OFF + more, "s").spec, columns)
    mean = [predict(found, columns)[f"{n}:mean"].to_numpy() for n in ("y", "count")]
    scale = float(to_datatree(found)["posterior"]["scale(y)"].to_numpy()[0, 0, 0])
    there = ~np.isnan(columns["y"])
    expected = stats.norm(mean[0], scale).logpdf(columns["y"])[there].sum()
    expected += stats.poisson(mean[1]).logpmf(columns["count"]).sum()
    assert found.metrics["log_likelihood"]["train"] == pytest.approx(expected, rel=1e-5)


def test_rows_with_missing_values_can_be_dropped() -> None:
    columns = {n: v for n, v in table().items() if n in ("x", "y")}
    gone = np.arange(len(columns["x"])) % 5 == 0
    holes = {"x": np.where(gone, np.nan, columns["x"]), "y": columns["y"]}
    text = "data: {response: y, missing: {predictors: drop}, split: {test: 0}}\n"
    text += "likelihood: {family: normal}\n"
    data = from_table(parse_spec(text, "s").spec, holes)
    np.testing.assert_array_equal(data.train.rows, np.flatnonzero(~gone))
    kept = from_table(parse_spec(text, "s").spec, {n: v[~gone] for n, v in columns.items()})
    np.testing.assert_array_equal(data.train.x, kept.train.x)


@pytest.mark.parametrize(("text", "message"), [
    ("data: {response: [y, count]}\nlikelihood: [{family: normal}]\n",
     "s:2:1: likelihood: 1 likelihoods for 2 responses; give one for each of data.response, in the"
     " same order"),
    ("data: {response: y}\nlikelihood: {family: multivariate_normal}\n",
     "s:1:8: data.response: family multivariate_normal needs several responses; list them, as in "
     "response: [y1, y2]"),
    ("data: {response: [y, count]}\n"
     "likelihood: [{family: multivariate_normal}, {family: normal}]\n",
     "s:2:1: likelihood: multivariate_normal is for all responses together; write it alone: "
     "likelihood: {family: multivariate_normal}"),
    ("data: {response: y}\nlikelihood: {family: mixed, experts: [{family: normal}]}\n",
     None),
    ("data: {response: y}\nlikelihood: {family: mixed, experts: [{family: normal}, "
     "{family: student_t}, {family: normal}]}\n",
     "s:2:1: likelihood: 3 families for 4 experts; give one for each expert"),
    ("data: {response: y, group: who}\nlikelihood: {family: normal}\n",
     "s:1:21: data.group: no column 'who' in table; columns: subject, x, y, count, kind, z"),
    ("data: {response: y, group: y}\nlikelihood: {family: normal}\n",
     "s:1:21: data.group: 'y' is the response; name another column"),
    ("data: {response: y, predictors: [x], weights: z}\nlikelihood: {family: normal}\n",
     "table: z: row 1: 0.0 is not above 0; correct it; a row of weight 0 counts nothing, and "
     "can be removed"),
    ("data: {response: y}\nlikelihood: {family: normal}\nexperts: {kind: mlp, shared: [x]}\n",
     "s:3:22: experts.shared: only linear experts share coefficients; set kind: linear"),
    ("data: {response: y}\nlikelihood: {family: normal}\nexperts: {shared: [u]}\n",
     "s:3:20: experts.shared[0]: no column 'u' in table; columns: subject, x, y, count, kind, z"),
    ("data: {response: [y, count], offset: x}\nlikelihood: {family: normal}\n",
     "s:1:30: data.offset: an offset has no unit in common with several real responses; subtract it"
     " from the response"),
    ("data: {response: kind}\nlikelihood: {family: categorical}\nexperts: {noise: true}\n",
     "s:2:1: likelihood: experts of different families, or noise, are for plain numbers alone; "
     "choose other families"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(text: str, message: str | None) -> None:
    columns = table()
    columns["subject"], columns["kind"] = columns["subject"].tolist(), columns["kind"].tolist()
    if message is None:
        text += "experts: {number: 1}\n"
    try:
        file = parse_spec(text, "s")
        undivided(file, columns).split()
        raised = None
    except InputError as error:
        raised = str(error)
    if message is None:
        assert raised is not None  # the text columns are no numbers
        assert raised.startswith("table: subject: ")
    else:
        assert raised == message
