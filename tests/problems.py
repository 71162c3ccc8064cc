"""Problems small enough that the exact gradient is known, and noise that replays outcomes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pyromoe.guides import AmortisedGuide, PriorGuide, Seeded
from pyromoe.inference.elbo import UNSET, Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import MixtureOfExperts
from pyromoe.models.likelihoods import Normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from pyromoe.guides import Noise
    from pyromoe.models.blend import Mix


@dataclass
class Problem:
    """A model of K experts on N data with a guide for each objective."""

    model: MixtureOfExperts
    amortised: AmortisedGuide
    x: Tensor  # (N, 1)
    y: Tensor  # (N,)

    def guide(self, objective: str) -> Any:
        if objective == "marginal":
            return no_guide
        return PriorGuide(self.model) if objective == "jensen" else self.amortised

    def parameters(self, objective: str) -> list[Tensor]:
        guided = objective in ("elbo", "iwae")
        guide = list(self.amortised.parameters()) if guided else []
        return [*self.model.parameters(), *guide]

    def log_parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """log p(z | x), log p(y | z, x), log q(z | x, y), (N, K) each, by hand."""
        log_p = self.model.gate_logits(self.x).log_softmax(-1)
        parameters = self.model.expert_parameters(self.x)
        normal = torch.distributions.Normal(parameters["loc"], parameters["scale"])
        log_q = (log_p.detach() + self.network()).log_softmax(-1)
        return log_p, normal.log_prob(self.y).T, log_q

    def network(self) -> Tensor:
        logits: Tensor = self.amortised.network(self.model.features(self.x, self.y))[0]
        return logits

    def exact(self, objective: str, num_samples: int = 1) -> Tensor:
        """The objective in closed form, a scalar; of that many draws, where it weights them."""
        log_p, ell, log_q = self.log_parts()
        if objective == "iwae":
            return importance_weighted(log_p + ell - log_q, log_q, num_samples).sum()
        if objective == "marginal":
            return (log_p + ell).logsumexp(-1).sum()
        if objective == "jensen":
            return (log_p.exp() * ell).sum()
        return (log_q.exp() * (log_p + ell - log_q)).sum()


def importance_weighted(log_w: Tensor, log_q: Tensor, num_samples: int) -> Tensor:
    """E log 1/S sum_s w(z_s), (N,), over every z in K^S, from log w and log q, (N, K)."""
    total = torch.zeros(len(log_w))
    for z in product(range(log_w.shape[-1]), repeat=num_samples):
        bound = log_w[:, list(z)].logsumexp(-1) - math.log(num_samples)
        total = total + log_q[:, list(z)].sum(-1).exp() * bound
    return total


def no_guide(*args: object, **kwargs: object) -> None:
    """A guide without sites: z is left to be summed out."""


def problem(
    num_data: int = 2, num_experts: int = 3, mix: Mix = "log_likelihoods", seed: int = 0
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_data, 1, generator=generator)
    y = torch.randn(num_data, generator=generator)
    likelihood = Normal(num_experts)
    model = MixtureOfExperts(1, likelihood, num_experts, mix=mix, generator=generator)
    guide = AmortisedGuide(model, [2], generator)
    with torch.no_grad():  # away from zeros, so that every gradient is in play
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return Problem(model, guide, x, y)


def flat_gradient(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient in all parameters, flattened, (P,)."""
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


T = TypeVar("T")


class Undecided(Exception):
    """Noise was asked for more draws than it has: a categorical of these logits, (S, N, K)."""

    def __init__(self, logits: Tensor, shape: torch.Size) -> None:
        super().__init__()
        self.logits, self.shape = logits, shape


class Replay:
    """Noise whose draws are given, in the order in which they are asked for.

    Beyond them it raises `Undecided`. Continuous noise is given too, or 0.
    """

    def __init__(self, *draws: Tensor, gumbel: Tensor | None = None) -> None:
        self.left, self.given_gumbel = list(draws), gumbel
        self.asked = self.continuous = False

    def categorical(self, logits: Tensor, num_samples: int) -> Tensor:
        self.asked = True
        shape = torch.Size((num_samples, len(logits)))
        if not self.left:
            raise Undecided(logits.detach().expand(num_samples, *logits.shape), shape)
        z = self.left.pop(0)
        assert z.shape == shape
        return z

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        self.continuous = True
        if self.given_gumbel is not None:
            return self.given_gumbel
        return logits.new_zeros(num_samples, *logits.shape)

    def normal(self, logits: Tensor, num_samples: int) -> Tensor:
        self.continuous = True
        return logits.new_zeros(num_samples, *logits.shape)


class Corner(Replay):
    """Replays the argmax of Gumbel noise as well, by noise so large that it decides.

    Where z was drawn before, Gumbel noise around it does not change z, and is 0.
    """

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        if self.asked:
            return super().gumbel(logits, num_samples)
        z = self.categorical(logits, num_samples)
        return 1e4 * torch.nn.functional.one_hot(z, logits.shape[-1]).to(logits)


class Probe(Seeded):
    """Seeded noise that remembers which kinds were asked for."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.asked: set[str] = set()

    def categorical(self, logits: Tensor, num_samples: int) -> Tensor:
        self.asked.add("categorical")
        return super().categorical(logits, num_samples)

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        self.asked.add("gumbel")
        return super().gumbel(logits, num_samples)

    def normal(self, logits: Tensor, num_samples: int) -> Tensor:
        self.asked.add("normal")
        return super().normal(logits, num_samples)


def outcomes(run: Callable[[Any], T], noise: type[Replay] = Replay) -> Iterator[tuple[Tensor, T]]:
    """Run once for every outcome of the discrete noise; yield probabilities and results."""
    waiting: list[tuple[tuple[Tensor, ...], Tensor]] = [((), torch.tensor(1.0))]
    while waiting:
        draws, probability = waiting.pop()
        try:
            yield probability, run(noise(*draws))
        except Undecided as more:
            log_p = more.logits.log_softmax(-1).flatten(0, -2)
            for values in product(*(row.exp().nonzero()[:, 0].tolist() for row in log_p)):
                z = torch.tensor(values, dtype=torch.long)
                here = log_p[torch.arange(len(z)), z].sum().exp()
                waiting.append(((*draws, z.reshape(more.shape)), probability * here))


def small(treatment: Treatment[Any]) -> dict[str, Any]:
    """Options that keep the number of outcomes small: two of what is counted, three in all."""
    config = treatment.config()
    counts = [f.name for f in fields(config) if f.name.startswith("num_")]
    options = {name: min(2, getattr(config, name)) for name in counts}
    if sum(options.values()) > 3:
        options[counts[-1]] = 1
    return options


def warm_state(
    treatment: Treatment[Any], p: Problem, objective: str, noise: Noise, **options: Any
) -> Any:
    """A state that has learned something, so that a baseline is not at its first value."""
    elbo = Treatment_ELBO(treatment, noise=noise, **options)
    for _ in range(5):
        elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return elbo.state


def gradient(
    treatment: Treatment[Any],
    p: Problem,
    objective: str,
    noise: Noise,
    state: Any = UNSET,
    **options: Any,
) -> Tensor:
    """One estimate of the objective's gradient in all parameters, (P,)."""
    elbo = Treatment_ELBO(treatment, noise=noise, **options)
    elbo.state = state
    loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return flat_gradient(-loss, p.parameters(objective))


def expected_gradient(
    treatment: Treatment[Any], p: Problem, objective: str, state: Any, **options: Any
) -> Tensor:
    """The expectation of the gradient over all outcomes of discrete noise: a finite sum."""

    def run(noise: Replay) -> Tensor:
        found = gradient(treatment, p, objective, noise, state, **options)
        assert not noise.continuous
        return found

    return sum_of(probability * found for probability, found in outcomes(run))


def sum_of(tensors: Iterator[Tensor]) -> Tensor:
    first = next(tensors)
    return sum(tensors, first)


def exact_gradient(p: Problem, objective: str, num_samples: int = 1) -> Tensor:
    return flat_gradient(p.exact(objective, num_samples), p.parameters(objective))


def number_weighted(treatment: Treatment[Any], options: dict[str, Any]) -> int:
    """How many draws the importance-weighted bound has."""
    return int(getattr(treatment.config(**options), "num_samples", 1))


def asks_for(name: str, objective: str) -> set[str]:
    """Which kinds of noise one step takes, its state being there."""
    p, elbo = problem(), Treatment_ELBO(name)
    for _ in range(2):
        elbo.noise = probe = Probe()
        elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return probe.asked


EVERY = [(t.name, o) for t in TREATMENTS.values() for o in t.objectives]
"""Every treatment with every objective it claims to estimate."""
