"""Problems small enough that the exact gradient is known, and noise that replays outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.guides import AmortisedGuide, PriorGuide, log_prob
from pyromoe.inference.elbo import UNSET, Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import MixtureOfExperts
from pyromoe.models.likelihoods import Normal

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        guide = list(self.amortised.parameters()) if objective == "elbo" else []
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

    def exact(self, objective: str) -> Tensor:
        """The objective in closed form, a scalar."""
        log_p, ell, log_q = self.log_parts()
        if objective == "marginal":
            return (log_p + ell).logsumexp(-1).sum()
        if objective == "jensen":
            return (log_p.exp() * ell).sum()
        return (log_q.exp() * (log_p + ell - log_q)).sum()


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


def flat_gradient(value: Tensor, parameters: list[Tensor]) -> Tensor:
    """The gradient in all parameters, flattened, (P,)."""
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


class Replay:
    """Noise whose draws are given; remembers the logits of what was asked for."""

    def __init__(self, z: Tensor | None = None, gumbel: Tensor | None = None) -> None:
        self.z, self.given_gumbel = z, gumbel
        self.asked: list[tuple[Tensor, int]] = []
        self.continuous = False

    def categorical(self, logits: Tensor, num_samples: int) -> Tensor:
        self.asked.append((logits.detach(), num_samples))
        return logits.new_zeros(num_samples, len(logits)).long() if self.z is None else self.z

    def gumbel(self, logits: Tensor, num_samples: int) -> Tensor:
        self.continuous = True
        if self.given_gumbel is not None:
            return self.given_gumbel
        return logits.new_zeros(num_samples, *logits.shape)


def warm_state(treatment: Treatment[Any], p: Problem, objective: str, noise: Noise) -> Any:
    """A state that has learned something, so that a baseline is not at its first value."""
    elbo = Treatment_ELBO(treatment, noise=noise)
    for _ in range(5):
        elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return elbo.state


def gradient(
    treatment: Treatment[Any], p: Problem, objective: str, noise: Noise, state: Any = UNSET
) -> Tensor:
    """One estimate of the objective's gradient in all parameters, (P,)."""
    elbo = Treatment_ELBO(treatment, noise=noise)
    elbo.state = state
    loss = elbo.differentiable_loss(p.model, p.guide(objective), p.x, p.y)
    return flat_gradient(-loss, p.parameters(objective))


def outcomes(asked: list[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Every value of z, (S, N), with its probability; treatments here draw at most once."""
    if not asked:
        yield torch.zeros(0, dtype=torch.long), torch.tensor(1.0)
        return
    ((logits, num_samples),) = asked
    n, k = logits.shape
    for outcome in product(range(k), repeat=num_samples * n):
        z = torch.tensor(outcome).reshape(num_samples, n)
        yield z, log_prob(logits, z).sum().exp()


def expected_gradient(treatment: Treatment[Any], p: Problem, objective: str, state: Any) -> Tensor:
    """The expectation of the gradient over all outcomes of discrete noise: a finite sum."""
    probe = Replay()
    gradient(treatment, p, objective, probe, state)
    assert not probe.continuous
    total = torch.tensor(0.0)
    for z, probability in outcomes(probe.asked):
        total = total + probability * gradient(treatment, p, objective, Replay(z), state)
    return total


def exact_gradient(p: Problem, objective: str) -> Tensor:
    return flat_gradient(p.exact(objective), p.parameters(objective))


EVERY = [(t.name, o) for t in TREATMENTS.values() for o in t.objectives]
"""Every treatment with every objective it claims to estimate."""
