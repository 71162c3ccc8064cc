"""Every gate of the table: its formula, its gradient, and what a fit makes of it."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import scipy  # type: ignore[import-untyped]
import torch
from problems import no_guide
from pyro import poutine
from scipy.special import expit, log_softmax, logsumexp  # type: ignore[import-untyped]
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch.func import functional_call

from pyromoe.guides import AmortisedGuide, PointGuide, PriorGuide, WeightedGuide
from pyromoe.inference import Step, Treatment_ELBO, fit, predict
from pyromoe.inference.commands.inspection import inspect as print_run
from pyromoe.inference.files.verified import seal
from pyromoe.inference.fitting.probabilities import effective_experts, to_tensors
from pyromoe.inference.lab.parts import Parts
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.inference.runs.netcdf import to_netcdf
from pyromoe.inference.runs.store import save_fit
from pyromoe.inference.summaries.experts import pruned_below
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import MixtureOfExperts, log_joint
from pyromoe.models.gates import GATES, Gate, Gaussian
from pyromoe.models.likelihoods import Normal
from pyromoe.models.specs.gate_settings import Gate as GateSettings
from pyromoe.models.specs.spec_file import parse_spec, to_yaml
from pyromoe.models.tables.datasets import read_dataset
from pyromoe.models.trace import run_given

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.inference.steps.auto import Mode
    from pyromoe.models.likelihoods.multivariate_normal import Covariance

N, K, D = 6, 4, 2
infer: Any = pyro.infer
"""Untyped, as most of Pyro is."""
each = pytest.mark.parametrize("name", GATES)


def arguments(name: str, k: int = K) -> dict[str, Any]:
    """Values for whatever a gate can be told, by the name of the argument."""
    known: dict[str, Any] = {
        "levels": [2, k // 2] if k % 2 == 0 else [k],
        "hidden": [3],
        "activation": "tanh",
        "dropout": 0.0,
        "dimensions": 3,
        "active": 2,
        "balance": 0.3,
        "z_loss": 0.1,
        "concentration": 0.7,
        "covariance": "full",
        "density": 0.7,
    }
    own = [
        p for p, v in inspect.signature(GATES[name]).parameters.items() if v.kind == v.KEYWORD_ONLY
    ]
    return {p: known[p] for p in own}


def gate(name: str, k: int = K, seed: int = 0) -> Gate:
    """A gate away from its first values, so that all of them are in play."""
    generator = torch.Generator().manual_seed(seed)
    made = GATES[name](D, k, generator, **arguments(name, k))
    shaken(made, generator)
    return made


def shaken(module: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))


def mixture(name: str, k: int = K, **options: Any) -> MixtureOfExperts:
    generator = torch.Generator().manual_seed(1)
    make: Any = partial(GATES[name], **arguments(name, k))
    model = MixtureOfExperts(D, Normal(k), k, gate=make, generator=generator, **options)
    shaken(model, generator)
    return model


def place(model: MixtureOfExperts, scale: float = 1.3) -> PointGuide:
    """Put priors on a model; return the guide of what has one."""
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.experts.place_prior(scale)
    model.gate.place_prior(scale)
    left = dict(model.named_parameters())
    return PointGuide({n: v for n, v in before.items() if n not in left})


def rows(n: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, D, generator=generator)
    return x, x[:, 0].abs() + 0.3 * torch.randn(n, generator=generator)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# The formulas, written anew in numpy

Array = "NDArray[np.float64]"
Values = "Mapping[str, Any]"


def _mlp(p: Any, x: Any, o: Any, at: tuple[int, ...] = (0,), prefix: str = "") -> Any:
    """The outputs of a network of one hidden layer or of none, (N, K)."""
    w = {n.removeprefix(prefix): v[at[0]] for n, v in p.items() if n.startswith(prefix)}
    h = x @ w["weight_0"] + w["bias_0"]
    return np.tanh(h) @ w["weight_1"] + w["bias_1"] if "weight_1" in w else h


def _hierarchical(p: Any, x: Any, o: Any) -> Any:
    first, second = o["levels"]
    roots = log_softmax(_mlp(p, x, o, prefix="level_0."), -1)
    found = np.empty((len(x), first * second))
    for i in range(first):
        leaves = log_softmax(_mlp(p, x, o, (i,), "level_1."), -1)
        for j in range(second):
            found[:, i * second + j] = roots[:, i] + leaves[:, j]
    return found


def _cosine(p: Any, x: Any, o: Any) -> Any:
    w = x @ p["projection.weight_0"][0] + p["projection.bias_0"][0]
    e = p["directions"]
    lengths = np.linalg.norm(w, axis=-1)[:, None] * np.linalg.norm(e, axis=-1)
    return 100 * expit(p["scale_logit"]) * (w @ e.T) / lengths


def _top_k(p: Any, x: Any, o: Any) -> Any:
    h = _mlp(p, x, o)
    for row in h:
        row[np.argsort(-row)[o["active"] :]] = -np.inf
    return h


def _stick_breaking(p: Any, x: Any, o: Any) -> Any:
    """With an expectation in the place of each logarithm, up to the bound, whose u is searched."""
    found = np.zeros((len(x), len(p["mean"]) + 1))
    for n in range(len(x)):
        left = 0.0
        for k, (m, sd) in enumerate(zip(p["mean"], np.exp(p["log_sd"]), strict=True)):
            t = m + x[n] @ p["slope"][:, k]
            found[n, k] = left + _bound(t, sd)
            left += _bound(-t, sd)
        found[n, -1] = left
    return found


def _bound(t: float, sd: float) -> float:
    """The largest of Jaakkola and Jordan's bounds of E log sigmoid(b), b ~ Normal(t, sd^2)."""

    def bound(u: float) -> float:
        of_square = (expit(u) - 0.5) / (2 * u)
        return float(np.log(expit(u)) + (t - u) / 2 - of_square * (t * t + sd * sd - u * u))

    best = scipy.optimize.minimize_scalar(
        lambda u: -bound(u), bounds=(1e-3, 30), method="bounded", options={"xatol": 1e-9}
    )
    return -float(best.fun)


def _gaussian(p: Any, x: Any, o: Any) -> Any:
    logits = p["intercept"] + np.zeros((len(x), K))
    for k in range(K):
        root = np.diag(np.exp(p["log_diagonal"][k]))
        root[np.tril_indices(D, -1)] = p["below"][k]
        law = scipy.stats.multivariate_normal(p["mean"][k], np.linalg.inv(root @ root.T))
        logits[:, k] += law.logpdf(x)
    return logits


FORMULAS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "equal": lambda p, x, o: np.zeros((len(x), K)),
    "constant": lambda p, x, o: np.tile(p["bias_0"][0, 0], (len(x), 1)),
    "linear": _mlp,
    "mlp": _mlp,
    "hierarchical": _hierarchical,
    "cosine": _cosine,
    "top_k": _top_k,
    "stick_breaking": _stick_breaking,
    "gaussian": _gaussian,
}


def values_of(module: torch.nn.Module) -> dict[str, Any]:
    return {n: p.detach().numpy() for n, p in module.named_parameters()}


@each
def test_it_is_its_formula(name: str) -> None:
    made, (x, _) = gate(name), rows()
    expected = log_softmax(FORMULAS[name](values_of(made), x.numpy(), arguments(name)), -1)
    found = made(x).log_softmax(-1)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-7, atol=1e-7)
    assert_close(found.exp().sum(-1), torch.ones(N))
    model = mixture(name)
    assert_close(log_joint(model, *rows()).log_prior, model.gate_logits(x).log_softmax(-1))


@each
def test_the_columns_it_sees_are_its_own(name: str) -> None:
    model, (x, _) = mixture(name, gate_columns=[1]), rows()
    moved = torch.stack([x[:, 0] + 1, x[:, 1]], -1)
    assert torch.equal(model.gate_logits(x), model.gate_logits(moved))


def test_a_narrow_stick_is_the_sigmoid_itself() -> None:
    """log v_k + sum_{j<k} log(1 - v_j) as the deviation of b falls to 0."""
    made, (x, _) = gate("stick_breaking"), rows()
    with torch.no_grad():
        dict(made.named_parameters())["log_sd"].fill_(-20.0)
    p = values_of(made)
    v = expit(p["mean"] + x.numpy() @ p["slope"])
    v = np.concatenate([v, np.ones((N, 1))], -1)
    left = np.cumprod(np.concatenate([np.ones((N, 1)), 1 - v[:, :-1]], -1), -1)
    assert_close(made(x).exp(), torch.from_numpy(v * left))


def test_a_stick_is_a_bound_of_the_expectation() -> None:
    """By quadrature: below, and near it."""
    made = gate("stick_breaking")
    t, sd = -0.4, 0.6
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), (0.0, t, math.log(sd)), strict=True):
            parameter.fill_(value)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    exact = float(weights @ np.log(expit(t + sd * nodes)) / weights.sum())
    found = float(made(torch.zeros(1, D))[0, 0].detach())
    assert exact - 0.02 < found < exact


@each
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Of the probabilities and of what is added to the objective, in x and every parameter."""
    made, (x, _) = gate(name), rows()
    names = [n for n, _ in made.named_parameters()]

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = made

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            beside = self.gate.log_factor(x, 3 * N)
            zero = 0 * x.sum()
            return self.gate(x).softmax(-1) + zero, zero if beside is None else beside

    def both(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        given = {f"gate.{n}": v for n, v in zip(names, values, strict=True)}
        found: tuple[Tensor, Tensor] = functional_call(Both(), given, (x,))
        return found

    inputs = [x.requires_grad_(), *(p.detach().requires_grad_() for p in made.parameters())]
    assert torch.autograd.gradcheck(both, inputs)


# Losses that are not the data's


def has_factor(name: str) -> bool:
    return gate(name).log_factor(rows()[0], N) is not None


FACTORS = [name for name in GATES if has_factor(name)]


def test_the_losses_of_top_k_are_those_of_their_papers() -> None:
    made, (x, _) = gate("top_k"), rows()
    p, o = values_of(made), arguments("top_k")
    h = _mlp(p, x.numpy(), o)
    counts = np.isfinite(_top_k(p, x.numpy(), o)).sum(0) / (N * o["active"])
    assert counts.sum() == pytest.approx(1)
    balance = K * counts @ np.exp(log_softmax(h, -1)).mean(0)
    z_loss = np.mean(logsumexp(h, -1) ** 2)
    expected = -50 * (o["balance"] * balance + o["z_loss"] * z_loss)
    found = made.log_factor(x, 50)
    assert found is not None
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-12)


def test_a_balanced_gate_has_the_least_loss() -> None:
    """Rows in a circle, each expert in its quarter: the loss is its weight, N times."""
    angle = 2 * torch.pi * (torch.arange(40) + 0.5) / 40
    x = torch.stack([angle.cos(), angle.sin()], -1)
    made = GATES["top_k"](D, 4, active=1, balance=0.3, z_loss=0.0)
    with torch.no_grad():
        slopes = torch.tensor([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])
        for parameter, value in zip(
            made.parameters(), (slopes[None], torch.zeros(1, 1, 4)), strict=True
        ):
            parameter.copy_(value)
    found = made.log_factor(x, 40)
    assert found is not None
    assert float(found.detach()) == pytest.approx(-0.3 * 40, rel=1e-12)


def test_sticks_pay_for_leaving_their_prior() -> None:
    """KL of two normals by torch, the prior's moments by quadrature."""
    made, (x, _) = gate("stick_breaking"), rows()
    p = {n: v.detach() for n, v in made.named_parameters()}
    nodes, weights = np.polynomial.legendre.leggauss(400)
    b, c = 60 * nodes, arguments("stick_breaking")["concentration"]
    density = c * expit(b) * expit(-b) ** c * 60 * weights  # of the logit of a Beta(1, c)
    assert density.sum() == pytest.approx(1, abs=1e-9)
    mean = density @ b
    sd = np.sqrt(density @ (b - mean) ** 2)
    q = torch.distributions.Normal(p["mean"], p["log_sd"].exp())
    prior = torch.distributions.Normal(torch.tensor(mean), torch.tensor(sd))
    kl = torch.distributions.kl_divergence(q, prior).sum()
    lost = 50 * made(x).logsumexp(-1).mean()
    found = made.log_factor(x, 50)
    assert found is not None
    torch.testing.assert_close(found, lost - kl, rtol=1e-9, atol=1e-9)


@each
def test_the_density_of_the_data_is_without_its_losses(name: str) -> None:
    model, (x, y) = mixture(name), rows()
    joint = log_joint(model, x, y)
    log_gate, parameters = model.components(x)
    of_experts = torch.distributions.Normal(parameters["loc"], parameters["scale"]).log_prob(y)
    assert_close(joint.enumerate(), of_experts + log_gate.T)
    beside = model.gate.log_factor(x, N)
    assert_close(
        torch.as_tensor(joint.log_prior_of_weights), torch.zeros(()) if beside is None else beside
    )
    loss = Treatment_ELBO("enumerate").differentiable_loss(model, no_guide, x, y)
    of_data = joint.enumerate().logsumexp(0).sum()
    assert (name in FACTORS) == bool((loss + of_data).abs() > 1e-6)


def test_a_factor_in_the_plate_is_the_datas_and_one_outside_is_not() -> None:
    def program(x: Tensor, y: Tensor) -> None:
        pyro.factor("outside", torch.tensor(-3.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(len(x), 2) / 2))
            pyro.factor("inside", -2.0 * z)
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    x, y = rows()
    joint = log_joint(program, x, y)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(y)
    expected = torch.stack([normal, normal - 2.0])
    assert_close(joint.enumerate_likelihood(), expected)
    assert float(torch.as_tensor(joint.log_prior_of_weights)) == -3.0
    guide = no_guide
    pyros = infer.TraceEnum_ELBO(max_plate_nesting=1).loss(
        infer.config_enumerate(program), guide, x, y
    )
    assert Treatment_ELBO("enumerate").loss(program, guide, x, y) == pytest.approx(pyros, rel=1e-12)


# Beside Pyro

both_priors = pytest.mark.parametrize("priors", [False, True])
sizes = pytest.mark.parametrize("size", [None, 50])


@each
@both_priors
@sizes
@pytest.mark.parametrize("objective", ["marginal", "elbo"])
def test_summing_out_is_pyros(name: str, priors: bool, size: int | None, objective: str) -> None:
    model, (x, y) = mixture(name), rows()
    points = place(model) if priors else PointGuide({})
    latent = None if objective == "marginal" else AmortisedGuide(model, [2])
    guide = WeightedGuide(points, latent)
    pyro.clear_param_store()
    args = (x, y, size)
    pyros = infer.TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(
        model, infer.config_enumerate(guide), *args
    )
    pyro.clear_param_store()
    ours = Treatment_ELBO("enumerate").differentiable_loss(model, guide, *args)
    assert_close(ours, pyros)
    parameters = [*model.parameters(), *guide.parameters()]
    for a, b in zip(gradients(ours, parameters), gradients(pyros, parameters), strict=True):
        assert_close(a, b)


def gradients(loss: Tensor, parameters: list[Any]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


OF_ITS_OWN = {("gaussian", "log_diagonal"), ("gaussian", "below")}
"""Sites whose prior is not normal; they have a test of their own."""


@each
def test_its_prior_is_independent_normals(name: str) -> None:
    model, (x, y) = mixture(name), rows()
    first = values_of(GATES[name](D, K, **arguments(name)))
    before = values_of(model.gate)
    points = place(model)
    own = {n.removeprefix("gate."): v for n, v in points.values().items() if n.startswith("gate.")}
    assert {*own} | {n for n, _ in model.gate.named_parameters()} == {*before}
    trace = poutine.trace(poutine.condition(model, data=points.values())).get_trace(x, y)
    for n in own:
        if (name, n) in OF_ITS_OWN:
            continue
        fn: Any = trace.nodes[f"gate.{n}"]["fn"]
        layer = arguments(name).get("hidden") and "weight" in n
        scale = 1.3 / np.sqrt(before[n].shape[-2]) if layer else 1.3
        mean = first[n] if np.ndim(first[n]) == 0 else 0.0
        expected = scipy.stats.norm(mean, scale).logpdf(before[n]).sum()
        assert float(fn.log_prob(torch.from_numpy(before[n]))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "shared", "shared_diagonal"])
@pytest.mark.parametrize("inputs", [1, 3])
def test_the_inverse_covariance_of_a_gaussian_gate_is_wishart(
    covariance: Covariance, inputs: int
) -> None:
    """SciPy's density of L L', with the volumes of L -> L L' and of log L_ii -> L_ii."""
    k, generator = 4, torch.Generator().manual_seed(0)
    made = Gaussian(inputs, k, generator, covariance=covariance)
    shaken(made, generator)
    values = {n: p.detach() for n, p in made.named_parameters()}
    made.place_prior(1.3)
    trace = poutine.trace(poutine.condition(made, data=values)).get_trace(torch.zeros(1, inputs))
    found = 0.0
    for name in {"log_diagonal", "below"} & {*values}:
        site: Any = trace.nodes[name]
        found += float(site["fn"].log_prob(site["value"]))
    spread, expected = k ** (-2 / inputs), 0.0
    for i, diagonal in enumerate(values["log_diagonal"].exp().numpy()):
        root = np.diag(diagonal)
        if "below" in values:
            root[np.tril_indices(inputs, -1)] = values["below"][i]
            blocks = [(root @ root.T, diagonal)]
        else:
            blocks = [(np.array([[d * d]]), np.array([d])) for d in diagonal]
        for inverse, own in blocks:
            size = len(own)
            law = scipy.stats.wishart(size + 2, np.eye(size) / ((size + 2) * spread))
            expected += law.logpdf(inverse) + size * np.log(2) + np.log(own).sum()
            expected += (np.arange(size, 0, -1) * np.log(own)).sum()
    assert found == pytest.approx(expected, rel=1e-10)


@each
def test_a_row_of_weight_two_is_there_twice(name: str) -> None:
    made, (x, _) = gate(name), rows()
    times = torch.arange(N) % 3 + 1
    found = made.log_factor(x, N, times.double())
    expected = made.log_factor(x.repeat_interleave(times, 0), int(times.sum()))
    if expected is None or found is None:
        assert found is expected
    else:
        assert_close(found, expected)


@each
@both_priors
def test_predictive_draws_experts_from_it(name: str, priors: bool) -> None:
    """Within five standard errors, the prior's sites at their points."""
    model, (x, y) = mixture(name), rows()
    guide = WeightedGuide(place(model) if priors else PointGuide({}), PriorGuide(model))
    torch.manual_seed(0)
    times = 200
    z = infer.Predictive(model, guide=guide, num_samples=times)(x)["z"]
    assert z.shape == (times, N)
    with torch.no_grad():
        p = log_joint(model, x, y, weights=guide.weights.values()).log_prior.exp()
    shares = torch.stack([(z == k).double().mean(0) for k in range(K)], -1)
    assert bool(((shares - p).abs() <= 5 * (p * (1 - p) / times).sqrt()).all())


# Steps


def guide_for(treatment: str, model: MixtureOfExperts) -> tuple[Any, AmortisedGuide]:
    """The guide that makes the treatment's first objective, and the amortised one."""
    objective = TREATMENTS[treatment].objectives[0]
    amortised = AmortisedGuide(model, [2], torch.Generator().manual_seed(0))
    guide: Any = amortised if objective in ("elbo", "iwae") else PriorGuide(model)
    return (no_guide if objective == "marginal" else guide), amortised


def course(name: str, treatment: str, mode: Mode) -> tuple[list[float], Tensor, str]:
    model, (x, y) = mixture(name), rows()
    guide, _ = guide_for(treatment, model)
    step = Step(Treatment_ELBO(treatment), model, guide, mode=mode)
    losses = [float(step(x, y, 2 * N)) for _ in range(2)]
    return losses, torch.cat([p.detach().flatten() for p in model.parameters()]), step.ran


@each
def test_every_treatment_takes_a_finite_step(name: str) -> None:
    model, (x, y) = mixture(name), rows()
    for treatment in TREATMENTS:
        guide, amortised = guide_for(treatment, model)
        loss = Treatment_ELBO(treatment).differentiable_loss(model, guide, x, y, 2 * N)
        found = gradients(loss, [*model.parameters(), *amortised.parameters()])
        assert loss.isfinite(), treatment
        assert all(g.isfinite().all() for g in found), treatment


EXCLUDING = [name for name in GATES if bool((gate(name)(rows()[0]) == -torch.inf).any())]
"""Where a treatment may stumble: some logits are -inf."""
CAPTURED = ("enumerate", "leave_one_out", "gumbel_softmax")
"""Captured with every gate; the other pairs by `make test-compiled`, five minutes more."""
PAIRS = [
    pytest.param(
        name,
        treatment,
        id=f"{name}-{treatment}",
        marks=[] if name in EXCLUDING or treatment in CAPTURED else pytest.mark.compiler,
    )
    for name in GATES
    for treatment in TREATMENTS
]


@pytest.mark.parametrize(("name", "treatment"), PAIRS)
def test_a_captured_step_has_the_bits_of_an_eager_one(name: str, treatment: str) -> None:
    eager, captured = (course(name, treatment, mode) for mode in ("eager", "captured"))
    assert np.isfinite(eager[0]).all()
    assert eager[1].isfinite().all()
    assert eager[0] == captured[0]
    assert torch.equal(eager[1], captured[1])
    assert captured[2] == "captured"


@each
def test_one_expert_leaves_nothing_to_choose(name: str) -> None:
    model, (x, y) = mixture(name, 1), rows()
    assert_close(model.gate_logits(x).log_softmax(-1), torch.zeros(N, 1))
    loss = Treatment_ELBO("enumerate").differentiable_loss(model, no_guide, x, y)
    _, parameters = model.components(x)
    of_data = torch.distributions.Normal(parameters["loc"], parameters["scale"]).log_prob(y).sum()
    beside = model.gate.log_factor(x, N)
    assert_close(-loss, of_data if beside is None else of_data + beside)
    found = gradients(loss, [*model.parameters()])
    assert all(g.isfinite().all() for g in found)


@pytest.mark.parametrize("name", FACTORS)
def test_the_lab_leaves_its_losses_out(name: str) -> None:
    """They are the same for every treatment: what remains is the gradient of log p(y | x)."""
    model, (x, y) = mixture(name), rows()
    parts = Parts(model, WeightedGuide(place(model), None), x, y)
    chosen = torch.tensor([0, 2, 3])
    found = parts.gradient(Treatment_ELBO("enumerate"), chosen)["gate"]
    weights = parts.guide.weights.values()
    joint = log_joint(model, x[chosen], y[chosen], weights=weights)
    value = joint.enumerate().logsumexp(0).mean()
    expected = gradients(value, parts.tensors["gate"])
    assert_close(found, torch.cat([g.flatten() for g in expected]))
    beside = gradients(torch.as_tensor(joint.log_prior_of_weights), parts.tensors["gate"])
    assert any(bool((g != 0).any()) for g in beside)


# From a spec

SETTINGS = {
    name: spec
    for spec in get_args(GateSettings)
    for name in get_args(spec.model_fields["kind"].annotation)
}


def text_of(name: str) -> str:
    """A gate in a spec; a tree is a gate with levels."""
    kind = name if name in SETTINGS else "linear"
    own = arguments(name)
    own = {n: own[n] for n in own if n in SETTINGS[kind].model_fields}
    if "levels" in own and kind == "linear":
        own = {"levels": own["levels"]}
    settings = ", ".join(f"{n}: {v}" for n, v in {"kind": kind, **own}.items())
    return f"gate: {{{settings}}}\n"


def spec_text(gate: str, number: int = K, fit: str = "", scale: str = "per_expert") -> str:
    return (
        "data: {response: y, split: {test: 0}}\n"
        f"likelihood: {{family: normal, scale: {scale}}}\n"
        f"experts: {{number: {number}}}\n{gate}"
        f"fit: {{batch_size: full, precision: float64, mode: captured, {fit}}}\n"
        "output: {draws: 5}\n"
    )


@each
def test_a_spec_makes_it(name: str) -> None:
    spec = parse_spec(spec_text(text_of(name)), "spec.yaml").spec
    assert spec.gate.form == name
    made = GATES[name](D, K, **spec.gate.options)
    assert type(made) is GATES[name]
    assert parse_spec(to_yaml(spec), "again.yaml").spec == spec


def test_settings_and_table_have_the_same_gates() -> None:
    assert {*SETTINGS, "hierarchical"} == {*GATES}
    assert set(FORMULAS) == set(GATES)


def test_levels_that_do_not_fit_are_refused_in_python_too() -> None:
    with pytest.raises(ValueError, match="2 x 3 leaves are not the 4 experts"):
        GATES["hierarchical"](D, K, levels=[2, 3])


def table() -> dict[str, Any]:
    x, y = rows(40)
    return {"a": x[:, 0].numpy(), "b": x[:, 1].numpy(), "y": y.numpy()}


@each
def test_restarts_side_by_side_give_what_each_gives_alone(name: str) -> None:
    text = spec_text(text_of(name), fit="epochs: 5, restarts: 4")
    found, alone = (
        fit(parse_spec(text, "s", [f"fit.mode={mode}"]).spec, table())
        for mode in ("captured", "eager")
    )
    assert (found.metrics["mode"], alone.metrics["mode"]) == ("captured", "eager")
    values = [[r["log_likelihood"] for r in f.metrics["restarts"]] for f in (found, alone)]
    assert len({round(v, 6) for v in values[0]}) == 4
    np.testing.assert_allclose(values[0], values[1], rtol=1e-7)


@each
def test_its_coefficients_are_in_the_posterior(name: str) -> None:
    """With the names of their dimensions, and enough to compute a linear gate anew."""
    text = spec_text(text_of(name), fit="epochs: 5, restarts: 1")
    found = fit(parse_spec(text, "s").spec, table())
    posterior = to_datatree(found)["posterior"].to_dataset()
    expected = run_given(found.model.gate_coefficients, found.weights)
    for variable, dims, value in expected:
        assert posterior[variable].dims == ("chain", "draw", *dims)
        np.testing.assert_array_equal(posterior[variable][0, 0], value.detach().numpy())
    at = posterior.isel(chain=0, draw=0)
    if "gate_slope" in at and "expert" in at["gate_slope"].dims:
        assert found.data is not None
        x, _ = to_tensors(found.data.train, found.spec)
        h = x[:, found.model.gate_columns].numpy() @ at["gate_slope"].to_numpy().T
        h = h + at["gate_intercept"].to_numpy()
        p, _ = found.components(x)
        there = p.numpy() > 0
        ratio = np.where(there, np.log(np.where(there, p.numpy(), 1)) - h, np.nan)
        assert float(np.nanmax(np.nanstd(ratio, -1))) < 1e-10


# What is simulated is found


def responsibilities(found: Fit) -> Tensor:
    assert found.data is not None
    return found.responsibilities(*to_tensors(found.data.train, found.spec))


def test_a_gaussian_gate_of_as_many_experts_as_classes_is_discriminant_analysis() -> None:
    """Constant experts that are sure of their class leave scikit-learn's, of likelihood's scale."""
    table, response = read_dataset("wine")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    text = (
        f"data: {{response: {response}, split: {{test: 0}}}}\nlikelihood: {{family: categorical}}\n"
        "experts: {number: 3, predictors: []}\ngate: {kind: gaussian}\n"
        "priors: {experts: {scale: 1000}, gate: {kind: none}}\n"
        "fit: {optimiser: lbfgs, restarts: 2}\noutput: {draws: 5}\n"
    )
    found = fit(parse_spec(text, "s").spec, columns)
    assert found.data is not None
    x, y = to_tensors(found.data.train, found.spec)
    with torch.no_grad():
        gate, parameters = found.components(x)
        p = torch.einsum("nk,knc->nc", gate, parameters["logits"].softmax(-1))
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(p.numpy(), theirs.predict_proba(x.numpy()), atol=1e-4)
    assert not found.metrics["warnings"]  # a gate that is a step, but for want of noise in x


def test_rows_without_a_response_tell_a_gaussian_gate_where_the_experts_lie() -> None:
    """Six flowers in a hundred and fifty are named; without the others the same gate knows less."""
    table, response = read_dataset("iris")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    names = columns[response].astype(object)
    named = np.isin(np.arange(len(names)), [10, 20, 60, 70, 110, 120])
    correct = {}
    for missing in ("marginalise", "drop"):
        text = (
            f"data: {{response: {response}, split: {{test: 0}}, missing: {{responses: {missing}}}}}"
            "\n"
            "likelihood: {family: categorical}\nexperts: {number: 3, predictors: []}\n"
            "gate: {kind: gaussian}\nfit: {optimiser: lbfgs, restarts: 4}\noutput: {draws: 5}\n"
        )
        known = columns | {response: np.where(named, names, None)}
        found = predict(fit(parse_spec(text, "s").spec, known), columns)
        correct[missing] = np.mean(found["predicted"].to_numpy() == names)
    assert correct["marginalise"] > 0.93 > correct["drop"] + 0.05


@pytest.mark.slow
def test_a_tree_is_found() -> None:
    """Left and right first, then a second split that is another one on each side."""
    generator = np.random.default_rng(0)
    n = 1000
    a, b = generator.uniform(-2, 2, (2, n))
    right = generator.random(n) < expit(4 * a)
    upper = generator.random(n) < np.where(right, expit(5 * (b - 0.5)), expit(-5 * (b + 0.5)))
    level = np.select([right & upper, right & ~upper, ~right & upper], [6.0, 2.0, -2.0], -6.0)
    y = level + np.where(right, 1.0, -1.0) * b + 0.3 * generator.normal(size=n)
    text = spec_text(
        "gate: {levels: [2, 2]}\npriors: {gate: {scale: 5}}\n",
        fit="epochs: 300, restarts: 6, learning_rate: 0.1, schedule: cosine",
    ).replace("split: {test: 0}", "split: {test: 0}, standardise: none")
    found = fit(parse_spec(text, "s").spec, {"a": a, "b": b, "y": y})
    p, parameters = found.components(torch.from_numpy(np.stack([a, b], -1)))
    of_right, high = expit(4 * a), expit(5 * (b - 0.5))
    low = expit(-5 * (b + 0.5))
    truth = np.stack(
        [of_right * high, of_right * (1 - high), (1 - of_right) * low, (1 - of_right) * (1 - low)],
        -1,
    )
    order = np.argsort(-parameters["loc"].mean(-1).numpy())
    assert float(np.abs(p.numpy()[:, order] - truth).mean()) < 0.03
    assert found.metrics["effective_experts"] > 3.8


def two_regimes() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.uniform(-2, 2, 400)
    first = generator.random(400) < 0.4
    y = np.where(first, 2 * x + 1, -1.5 * x - 1) + 0.3 * generator.normal(size=400)
    return {"x": x, "y": y}


@pytest.mark.slow
def test_sticks_empty_the_experts_that_are_not_needed() -> None:
    """Eight are allowed and two remain; a constant gate, the control, keeps all of them."""
    settings = "epochs: 1500, learning_rate: 0.05, schedule: cosine"
    gates = {"sticks": ("stick_breaking, predictors: []", 3), "softmax": ("constant", 1)}
    effective, kept = {}, {}
    for name, (kind, starts) in gates.items():
        steps = f"{settings}, restarts: {starts}"
        text = spec_text(f"gate: {{kind: {kind}}}\n", 8, steps, scale="shared")
        found = fit(parse_spec(text, "s").spec, two_regimes())
        r = responsibilities(found)
        effective[name] = effective_experts(r)
        kept[name] = r.mean(0)[r.mean(0) >= pruned_below(8)].sort().values
    assert effective["sticks"] < 2.1
    assert kept["sticks"].tolist() == pytest.approx([0.4, 0.6], abs=0.03)
    assert effective["softmax"] > 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_balance_loss_keeps_experts_in_use(seed: int) -> None:
    """From the same start: without it most are never chosen again."""
    generator = np.random.default_rng(0)
    a, b = generator.uniform(-2, 2, (2, 300))
    y = np.abs(a) + np.abs(b) + 0.2 * generator.normal(size=300)
    used = {}
    for balance in (0.0, 1.0):
        text = spec_text(
            f"gate: {{kind: top_k, active: 1, balance: {balance}}}\nseed: {seed}\n",
            8,
            "epochs: 150, restarts: 1, learning_rate: 0.05",
        )
        found = fit(parse_spec(text, "s").spec, {"a": a, "b": b, "y": y})
        assert found.data is not None
        gate, _ = found.components(to_tensors(found.data.train, found.spec)[0])
        assert bool(((gate > 0).sum(-1) == 1).all())
        used[balance] = effective_experts(gate)
    assert used[1.0] > used[0.0] + 2


def test_inspection_says_which_experts_are_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two experts that say the same, one of which the gate gives a row in eight thousand."""
    text = spec_text("gate: {kind: constant}\n", 2, "epochs: 1, restarts: 1")
    found = fit(parse_spec(text, "s").spec, table())
    for bias, remain in (([9.0, 0.0], 1), ([0.0, 0.0], 2)):
        with torch.no_grad():
            found.guide.weights.values()["gate.bias_0"].copy_(torch.tensor(bias))
            found.guide.weights.values()["experts.weight_0"].zero_()
            found.guide.weights.values()["experts.bias_0"].zero_()
        folder = tmp_path / str(remain)
        folder.mkdir()
        save_fit(found, folder, folder)
        (folder / "posterior.nc").write_bytes(to_netcdf(to_datatree(found)))
        seal(folder)
        print_run(folder, 0)
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.endswith("pruned") for line in lines) == 2 - remain
        assert any("the others are not used" in line for line in lines) == (remain == 1)
