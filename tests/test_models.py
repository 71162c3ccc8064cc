"""Densities and shapes of the models, against scipy and sums written out."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

import pyro
import pyro.infer
import pytest
import scipy.stats  # type: ignore[import-untyped]  # no stubs
import torch
from families import Case, case as make_case
from pyro import poutine

from pyromoe.models import MixtureOfExperts, Networks, latent_logits, log_joint
from pyromoe.models.blend import Blend, Mix, select
from pyromoe.models.likelihoods import FAMILIES
from pyromoe.models.likelihoods.categorical import Categorical
from pyromoe.models.likelihoods.normal import Normal
from pyromoe.models.networks import ACTIVATIONS
from pyromoe.models.trace import run_given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

S, N, K, C = 2, 4, 3, 5
infer: Any = pyro.infer
MIXES: tuple[Mix, ...] = get_args(Mix)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def cases() -> dict[str, Case]:
    return {name: make_case(name, K, N, C) for name in FAMILIES}


def test_every_family_is_tried() -> None:
    assert set(cases()) == set(FAMILIES)
    assert all(case.likelihood.family == name for name, case in cases().items())


families = pytest.mark.parametrize("family", FAMILIES)
mixes = pytest.mark.parametrize("mix", MIXES)


def mixture(case: Case, mix: Mix = "log_likelihoods", **options: Any) -> MixtureOfExperts:
    return case.model(mix=mix, **options)


def by_scipy(case: Case, model: MixtureOfExperts, x: Tensor) -> Tensor:
    """log p(y | z = k, x), (K, N), one number at a time."""
    outputs = model.experts(x[:, :2]).detach().numpy()  # (K, N, P)
    table = [
        [
            float(case.log_density(outputs[k, n], case.response(n), case.own[k], case.trial(n)))
            for n in range(N)
        ]
        for k in range(K)
    ]
    return torch.tensor(table)


# Likelihoods


@families
def test_densities_are_scipys(family: str) -> None:
    case = cases()[family]
    model, x = mixture(case), case.x()
    found = log_joint(model, x, case.y).enumerate_likelihood()
    assert_close(found, by_scipy(case, model, x))


@families
def test_means_are_those_of_the_family(family: str) -> None:
    case = cases()[family]
    model, x = mixture(case), case.x()
    outputs = model.experts(x[:, :2]).detach()
    mean = case.likelihood.mean(**model.expert_parameters(x))
    for k, n in product(range(K), range(N)):
        own = case.mean(outputs[k, n].numpy(), case.own[k], case.trial(n))
        expected = torch.as_tensor(own)
        assert_close(mean[k, n], expected)


@families
def test_a_response_becomes_an_input(family: str) -> None:
    """Of the width that it says, finite, another one for another response."""
    case = cases()[family]
    x = case.x()
    encoded = case.likelihood.encode(case.y, {"trials": x[:, -1]})
    assert encoded.shape == (N, case.likelihood.encoded)
    assert encoded.isfinite().all()
    different = {tuple(row.tolist()) for row in encoded}
    assert len(different) == len({str(y) for y in case.y.tolist()})
    features = mixture(case).features(x, case.y)
    assert torch.equal(features[:, :2], x[:, :2])
    torch.testing.assert_close(features[:, 2:], encoded)


def test_a_shared_scale_is_one_number() -> None:
    shared, own = Normal(K, "shared"), Normal(K)
    assert [sum(p.numel() for p in part.parameters()) for part in (shared, own)] == [1, K]
    parameters = shared.parameters_of(torch.zeros(K, N, 1))
    assert parameters["scale"].shape == (K, N)


# The joint


@families
@pytest.mark.parametrize("size", [None, 50])
def test_the_joint_is_gate_times_expert(family: str, size: int | None) -> None:
    case = cases()[family]
    model, x = mixture(case), case.x()
    joint = log_joint(model, x, case.y, size)
    log_gate = model.gate_logits(x).detach()
    log_gate = log_gate - log_gate.exp().sum(-1, keepdim=True).log()
    expected = by_scipy(case, model, x) + log_gate.T  # (K, N)
    assert_close(joint.enumerate(), expected)
    assert_close(latent_logits(model, x, case.y, size), log_gate)
    assert float(joint.scale) == (1 if size is None else size / N)
    every = torch.tensor(list(product(range(K), repeat=N)))  # (K^N, N)
    brute = torch.stack([torch.stack([expected[z, n] for n, z in enumerate(row)]) for row in every])
    assert_close(joint(every), brute)
    # Summing the joint over all K^N assignments is summing each datum's own.
    total = brute.sum(-1).logsumexp(0)
    assert_close(joint.enumerate().logsumexp(0).sum(), total)


@families
@mixes
def test_corners_are_integers(family: str, mix: Mix) -> None:
    case = cases()[family]
    joint = log_joint(mixture(case, mix), case.x(), case.y)
    z = torch.randint(K, (S, N))
    corners = torch.nn.functional.one_hot(z, K).double()
    assert_close(joint(corners), joint(z))
    alone = torch.arange(K)[:, None]  # (S, 1)
    assert_close(joint(alone), joint.enumerate())


@families
def test_columns_are_seen_only_where_they_are_given(family: str) -> None:
    case = cases()[family]
    model = mixture(case, expert_columns=[0], gate_columns=[1])
    x = case.x()
    moved = x + (torch.arange(x.shape[-1]) == 1)
    joint, other = log_joint(model, x, case.y), log_joint(model, moved, case.y)
    assert torch.equal(joint.enumerate_likelihood(), other.enumerate_likelihood())
    assert not torch.allclose(joint.log_prior, other.log_prior)
    constant = mixture(case, gate_columns=())
    assert torch.equal(latent_logits(constant, x, case.y), latent_logits(constant, moved, case.y))


@families
@pytest.mark.parametrize("num_experts", [1, K])
@pytest.mark.parametrize("num_data", [1, N])
def test_one_expert_and_one_datum_are_no_special_case(
    family: str, num_experts: int, num_data: int
) -> None:
    case = cases()[family]
    model = make_case(family, num_experts, N, C).model()
    x, y = case.x()[:num_data], case.y[:num_data]
    joint = log_joint(model, x, y)
    assert joint.enumerate().shape == (num_experts, num_data)
    assert joint(torch.zeros(S, num_data).long()).shape == (S, num_data)
    assert joint(torch.full((S, num_data, num_experts), 1 / num_experts)).shape == (S, num_data)
    drawn = model(x)
    assert drawn.shape == y.shape


@families
def test_predictive_means_are_those_of_the_mixture(family: str) -> None:
    """E[y | x] of 4000 draws, within five standard errors of each datum's mean."""
    case = cases()[family]
    model, x, times = mixture(case), case.x(), 4000
    drawn = infer.Predictive(model, num_samples=times, parallel=True)(x)["y"].double()  # (times, N)
    with torch.no_grad():
        log_gate, parameters = run_given(model.components, {}, x)
        means = case.likelihood.mean(**parameters)  # (K, N) or (K, N, C)
    expected = torch.einsum("nk,kn...->n...", log_gate.exp(), means)
    classes = case.likelihood.family in ("categorical", "ordinal")
    values = drawn if not classes else torch.nn.functional.one_hot(drawn.long(), C).double()
    error = values.std(0) / math.sqrt(times)
    assert values.shape[1:] == expected.shape
    assert bool(((values.mean(0) - expected).abs() <= 5 * error).all())


# Selecting


@pytest.mark.parametrize("num_data", [1, N])
@pytest.mark.parametrize("extra", [(), (C,), (2, C)])
def test_select(num_data: int, extra: tuple[int, ...]) -> None:
    values = torch.randn(K, num_data, *extra)
    z = torch.randint(K, (S, num_data))
    chosen = [[values[z[s, n], n] for n in range(num_data)] for s in range(S)]
    expected = torch.stack([torch.stack(row) for row in chosen])
    assert torch.equal(select(z, values), expected)
    alone = torch.randint(K, (S, 1))
    assert torch.equal(select(alone, values), torch.stack([values[k] for k in alone[:, 0]]))
    simplex = torch.rand(S, num_data, K).softmax(-1)
    for s, n in product(range(S), range(num_data)):
        total = torch.zeros(extra)
        for k in range(K):
            total += simplex[s, n, k] * values[k, n]
        assert_close(select(simplex, values)[s, n], total)
    corner = torch.nn.functional.one_hot(z, K).double()
    torch.testing.assert_close(select(corner, values), select(z, values), rtol=0, atol=0)


def test_select_with_more_dimensions_of_draws() -> None:
    values = torch.randn(K, N, C)
    z = torch.randint(K, (2, 3, N))
    flat = select(z.flatten(0, 1), values)
    assert torch.equal(select(z, values), flat.reshape(2, 3, N, C))
    alone = torch.randint(K, (2, 3, 1))
    assert torch.equal(select(alone, values), select(alone.expand(2, 3, N), values))
    simplex = torch.rand(2, 3, N, K).softmax(-1)
    flat = select(simplex.flatten(0, 1), values)
    assert_close(select(simplex, values), flat.reshape(2, 3, N, C))


# Between the corners


def of_mix(case: Case, mix: Mix, outputs: Tensor, z: Tensor, n: int) -> float:
    """The likelihood at z, (K,), with the mix's formula written out; outputs are (K, N, P)."""
    eta, y, trials = outputs[:, n].numpy(), case.response(n), case.trial(n)
    each = torch.tensor([float(case.log_density(eta[k], y, case.own[k], trials)) for k in range(K)])
    if mix == "log_likelihoods":
        return float((z * each).sum())
    if mix == "likelihoods":
        return float((z * each.exp()).sum().log())
    own = {name: sum(float(z[k]) * case.own[k][name] for k in range(K)) for name in case.own[0]}
    shift = torch.as_tensor(eta).logsumexp(-1, keepdim=True) * (
        case.likelihood.family == "categorical"
    )
    mixed = (z[:, None] * (torch.as_tensor(eta) - shift)).sum(0)
    return float(case.log_density(mixed.numpy(), y, own, trials))


@families
@mixes
def test_off_the_corners_it_is_the_formula(family: str, mix: Mix) -> None:
    case = cases()[family]
    model, x = mixture(case, mix), case.x()
    z = (2 * torch.randn(S, N, K)).softmax(-1)
    found = log_joint(model, x, case.y).likelihood(z)
    outputs = model.experts(x[:, :2]).detach()
    rows = [[of_mix(case, mix, outputs, z[s, n], n) for n in range(N)] for s in range(S)]
    assert_close(found, torch.tensor(rows))


def test_the_mixes_differ_between_the_corners() -> None:
    case = cases()["normal"]
    z, x = torch.full((1, N, K), 1 / K), torch.randn(N, 2)
    values = [log_joint(mixture(case, mix), x, case.y).likelihood(z) for mix in MIXES]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(values[a], values[b])


@families
@mixes
def test_the_gradient_at_a_corner_is_finite(family: str, mix: Mix) -> None:
    """In z and in every parameter; in z that of log_likelihoods is the experts' own."""
    case = cases()[family]
    model, x = mixture(case, mix), case.x()
    z = torch.nn.functional.one_hot(torch.arange(N) % K, K).double()[None].requires_grad_()
    value = log_joint(model, x, case.y).likelihood(z)
    of_z, *others = torch.autograd.grad(value.sum(), [z, *model.experts.parameters()])
    for gradient in (of_z, *others):
        assert gradient.isfinite().all()
        assert bool((gradient != 0).any())
    each = by_scipy(case, model, x).T  # (N, K)
    slopes = {
        "log_likelihoods": each,
        "likelihoods": (each - (z[0] * each).sum(-1, keepdim=True)).exp(),
    }
    if mix in slopes:
        assert_close(of_z[0], slopes[mix].detach())


@mixes
@pytest.mark.parametrize("gap", [10.0, 100.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_corner_far_below_the_best_expert_is_still_that_expert(
    mix: Mix, gap: float, dtype: torch.dtype
) -> None:
    """A gap in log-likelihood does not underflow: a corner is p(y | z = k)."""
    distance = math.sqrt(2 * gap)
    parameters = {
        "loc": torch.tensor([[0.0], [distance]], dtype=dtype),
        "scale": torch.ones(2, 1, dtype=dtype),
    }
    likelihood = Normal(2)
    z = torch.tensor([[[0.0, 1.0]]], dtype=dtype)
    chosen = {name: select(z, value) for name, value in parameters.items()}
    fn = likelihood.distribution(**(chosen if mix == "parameters" else parameters))
    blend = fn if mix == "parameters" else Blend(fn, z, mix)
    value = float(blend.log_prob(torch.zeros(1, dtype=dtype)))
    assert value == pytest.approx(-gap - math.log(2 * math.pi) / 2, rel=1e-5)


def test_an_impossible_response_does_not_spoil_the_other_experts() -> None:
    """0 times -inf: an expert with weight 0 that excludes y counts for nothing."""
    logits = torch.tensor([[[0.0, -torch.inf]], [[0.0, 0.0]]])  # (K, N, C)
    experts = Categorical(2).distribution(logits=logits)
    for mix in ("log_likelihoods", "likelihoods"):
        blend = Blend(experts, torch.tensor([[[0.0, 1.0]]]), mix)
        assert float(blend.log_prob(torch.tensor([1]))) == pytest.approx(-math.log(2))


def test_a_blend_of_likelihoods_is_drawn_from() -> None:
    """Its draws have the mixture's mean, within five standard errors; shapes as of any law."""
    loc = torch.tensor([[-3.0, 0.0], [4.0, 1.0], [0.0, 9.0]])  # (K, N)
    z = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])[None]
    blend = Blend(Normal(K).distribution(loc=loc, scale=torch.ones(K, 2)), z, "likelihoods")
    drawn = torch.stack([blend.sample() for _ in range(4000)])
    assert drawn.shape == (4000, 1, 2)
    expected = (z[0] * loc.T).sum(-1)
    error = drawn.std(0) / math.sqrt(4000)
    assert bool(((drawn.mean(0) - expected).abs() <= 5 * error).all())
    assert blend.sample(torch.Size([7])).shape == (7, 1, 2)


def test_draws_of_a_blend_are_independent() -> None:
    """Two draws that choose the same expert do not share its response."""
    z = torch.tensor([[[1.0, 0.0]]])
    normal = Normal(2).distribution(loc=torch.zeros(2, 1), scale=torch.ones(2, 1))
    drawn = Blend(normal, z, "likelihoods").sample(torch.Size([50]))
    assert len(set(drawn.flatten().tolist())) == 50


def test_a_geometric_mean_cannot_be_drawn_from() -> None:
    case = cases()["normal"]
    parameters = mixture(case).expert_parameters(torch.randn(N, 2))
    blend = Blend(
        case.likelihood.distribution(**parameters), torch.full((1, N, K), 1 / K), MIXES[1]
    )
    with pytest.raises(NotImplementedError, match="mix="):
        blend.sample()


# Networks


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("inputs", [0, 1, 3])
def test_a_bank_is_its_networks_one_by_one(
    activation: str, hidden: tuple[int, ...], inputs: int
) -> None:
    sizes = [inputs, *hidden, 2]
    bank = Networks(K, sizes, activation)
    x = torch.randn(N, inputs)
    values = dict(bank.named_parameters())
    for k in range(K):
        h = x
        for i in range(len(sizes) - 1):
            h = h @ values[f"weight_{i}"][k] + values[f"bias_{i}"][k]
            h = ACTIVATIONS[activation](h) if i < len(sizes) - 2 else h
        assert_close(bank(x)[k], h)
    assert bank(x).shape == (K, N, 2)
    loss = bank(x).sum()
    gradients = torch.autograd.grad(loss, list(bank.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_without_inputs_only_intercepts_remain() -> None:
    bank = Networks(K, [0, 2])
    output = bank(torch.empty(N, 0))
    torch.testing.assert_close(output, dict(bank.named_parameters())["bias_0"].expand(K, N, 2))


def test_first_values_come_from_the_generator_alone() -> None:
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        bank = Networks(K, [2, 3, 1], generator=torch.Generator().manual_seed(0))
        assert torch.equal(before, torch.get_rng_state())
        made.append(torch.cat([p.detach().flatten() for p in bank.parameters()]))
    assert torch.equal(*made)


@pytest.mark.parametrize("sizes", [[4, 2], [0, 2], [4, 9, 2], [4, 9, 25, 2]])
def test_priors_have_the_scale_that_they_say(sizes: list[int]) -> None:
    bank = Networks(K, sizes)
    shapes = {name: p.shape for name, p in bank.named_parameters()}
    bank.place_prior(1.7)
    assert not list(bank.parameters())
    trace = poutine.trace(bank).get_trace(torch.randn(N, sizes[0]))
    assert set(trace.stochastic_nodes) == set(shapes)
    for name, shape in shapes.items():
        fn: Any = trace.nodes[name]["fn"]
        assert fn.batch_shape == ()
        assert fn.event_shape == shape
        hidden = len(sizes) > 2 and name.startswith("weight")
        spread = 1.7 / math.sqrt(shape[-2]) if hidden else 1.7
        value = torch.full(shape, 0.3)
        expected = scipy.stats.norm(0, spread).logpdf(value.numpy()).sum()
        assert float(fn.log_prob(value)) == pytest.approx(float(expected), rel=1e-12)


def test_the_prior_of_the_outputs_does_not_depend_on_the_width() -> None:
    """Of wide and narrow networks, within five standard errors of a ratio of variances."""
    times, x = 4000, torch.ones(1, 1)
    variances = []
    for width in (10, 1000):
        bank = Networks(times, [1, width, 1], "tanh")
        bank.place_prior(1.0)
        variances.append(bank(x)[:, 0, 0].detach().var())
    assert abs(float((variances[0] / variances[1]).log())) < 5 * math.sqrt(4 / times) * 1.5


@families
def test_priors_are_counted_once(family: str) -> None:
    case = cases()[family]
    model = mixture(case, expert_hidden=[3])
    values = {f"experts.{n}": p.detach().clone() for n, p in model.experts.named_parameters()}
    x = case.x()
    before = log_joint(model, x, case.y).enumerate()
    model.experts.place_prior(0.8)
    joint = log_joint(model, x, case.y, weights=values)
    assert_close(joint.enumerate(), before)
    spread = {"experts.weight_0": 0.8 / math.sqrt(2), "experts.weight_1": 0.8 / math.sqrt(3)}
    expected = sum(
        scipy.stats.norm(0, spread.get(n, 0.8)).logpdf(v.numpy()).sum() for n, v in values.items()
    )
    assert float(joint.log_prior_of_weights) == pytest.approx(float(expected), rel=1e-12)


def test_a_blend_takes_its_own_draws() -> None:
    loc = torch.tensor([[-1.0, 0.5, 2.0], [1.0, -0.5, 0.0]])  # (K, N)
    z = torch.tensor([[0.2, 0.8], [0.6, 0.4], [1.0, 0.0]]).expand(4, 3, 2)  # (S, N, K)
    blend = Blend(Normal(2).distribution(loc=loc, scale=torch.ones(2, 3)), z, "likelihoods")
    y = blend.sample(torch.Size([5]))
    each = torch.distributions.Normal(loc, 1.0).log_prob(y[:, :, None, :]).movedim(-2, -1)
    torch.testing.assert_close(blend.log_prob(y), (z.log() + each).logsumexp(-1))
