r"""Score function with a baseline learned from the datum (NVIL).

    f    = log p(y, z) - log q(z),    z ~ q
    grad = (f - b(x, y)) grad log q(z) + grad f
    b   <- one Adam step on (f - b(x, y))^2

b is a network with one hidden layer and an optimiser of its own. Unbiased, since b does not see z
and is fixed before z is drawn; S evaluations of the joint. The best it can reach is
b = E[f | x, y]. Mnih and Gregor (2014), without their variance normalisation, which rescales
the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob
from pyromoe.inference import surrogate
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum; the baseline's width and learning rate."""

    num_samples: int = 1
    hidden: int = 32
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
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
    """Return a network that answers 0."""
    features = log_joint.features().to(logits)
    return surrogate.start(surrogate.network(features, config.hidden, 1, noise))


def objective(
    log_joint: LogJoint,
    logits: torch.Tensor,
    config: Config,
    state: surrogate.State,
    noise: Noise,
) -> tuple[torch.Tensor, surrogate.State]:
    """Return an estimate of the ELBO and the next state; logits are (N, K)."""
    features = log_joint.features().to(logits).detach()
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    baseline = surrogate.evaluate(features, state, torch.tanh)[:, 0]
    score = (f - baseline).detach() * (log_q - log_q.detach())  # zero in value, not in gradient

    def error(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        b = surrogate.evaluate(features, weights, torch.tanh)[:, 0]
        return (f.detach() - b).square().mean()

    return (f + score).mean(0), surrogate.learn(error, state, config.learning_rate)


TREATMENT = Treatment(
    "reinforce_neural_baseline",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
