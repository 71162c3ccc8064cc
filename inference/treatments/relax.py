r"""Score function with a learned surrogate as control variate (RELAX).

    v    = log q + Gumbel noise, given that z is the argmax,    b = softmax(v / t)
    grad = (f(z) - c(b)) grad log q(z) + dc/db (grad b - grad b given z) + grad f(z)
    c   <- one Adam step on the squared length of that gradient in the logits

c(b; x, y) is a network with one hidden layer; it is asked at the relaxed point and the experts at
the corner alone. Unbiased for every c; S evaluations of the joint. Grathwohl, Choi, Wu, Roeder and
Duvenaud (2018), without the expert's own likelihood in c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob, one_hot
from pyromoe.guides.categorical import gradient_only
from pyromoe.guides.concrete import conditional_gumbel, reparameterised
from pyromoe.inference import surrogate
from pyromoe.inference.treatments.treatment import Treatment
from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """t, the temperature; S, draws for each datum; the surrogate's width and learning rate."""

    temperature: float = 0.5
    num_samples: int = 1
    hidden: int = 32
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.num_samples < 1 or self.hidden < 1:
            raise ValueError(
                "num_samples and hidden must be at least 1, "
                f"got {self.num_samples} and {self.hidden}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")


def init(
    config: Config, log_joint: LogJoint, logits: torch.Tensor, noise: Noise
) -> surrogate.State:
    """Return a surrogate that answers 0."""
    weights = surrogate.network(log_joint.features().to(logits), config.hidden, 1, noise)
    weights["of_z"] = logits.new_zeros(logits.shape[-1], config.hidden)
    return surrogate.start(weights)


def evaluate(
    features: torch.Tensor, b: torch.Tensor, weights: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return c(b), (S, N), and its derivative in b, (S, N, K)."""
    hidden = torch.tanh(surrogate.activations(features, weights) + b @ weights["of_z"])
    output = weights["output"]
    value = (hidden @ output + weights["output_bias"])[..., 0]
    return value, ((1 - hidden.square()) * output[:, 0]) @ weights["of_z"].T


def objective(
    log_joint: LogJoint,
    logits: torch.Tensor,
    config: Config,
    state: surrogate.State,
    noise: Noise,
) -> tuple[torch.Tensor, surrogate.State]:
    """Return an estimate of the ELBO and the next state; logits are (N, K)."""
    t, log_q = config.temperature, logits.detach()
    features = log_joint.features().to(logits).detach()
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    v = conditional_gumbel(log_q, z, noise.gumbel(logits, config.num_samples))
    b, corners = softmax(v / t), one_hot(z, logits.shape[-1], logits)
    f = log_joint(z) - log_prob(log_q, z)

    def gradient(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        c, slope = evaluate(features, b, weights)
        return (f.detach() - c)[..., None] * corners + reparameterised(slope, v, z, t)

    def variance(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        g = gradient(weights)
        return (g - log_q.exp() * g.sum(-1, keepdim=True)).square().sum(-1).mean()

    value = f + (gradient(state).detach() * gradient_only(logits)).sum(-1)
    return value.mean(0), surrogate.learn(variance, state, config.learning_rate)


TREATMENT = Treatment(
    "relax",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
