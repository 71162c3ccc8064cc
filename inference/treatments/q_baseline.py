r"""Score function with a learned baseline for every expert, summed out.

    ell_k  = log p(y | z = k, x),    z ~ q
    grad = sum_k c_k grad q_k + (ell_z - c_z) grad log q(z) - grad KL(q || p) + grad ell_z
    c   <- one Adam step on (ell_z - c_z)^2

c(x, y), with one output for each expert, is a running mean of past ell plus a network with one
hidden layer. Unbiased for every c, and without noise where c = ell; a value baseline, b(x, y), is
the special case of equal outputs. S evaluations of the likelihood; two draws are worth more than
twice the steps. The surrogate of Grathwohl et al. (2018) with z discrete, where its expectation is
a sum over the gate alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import expectation, log_prob
from pyromoe.guides.categorical import kl_divergence
from pyromoe.inference import surrogate
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint


@dataclass(frozen=True, slots=True)
class Config:
    """S, the number of draws for each datum; the width and learning rate of c, and its mean's."""

    num_samples: int = 1
    hidden: int = 128
    learning_rate: float = 0.005
    decay: float = 0.99

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.hidden < 1:
            raise ValueError(
                "num_samples and hidden must be at least 1, "
                f"got {self.num_samples} and {self.hidden}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")


def init(
    config: Config, log_joint: LogJoint, logits: torch.Tensor, noise: Noise
) -> surrogate.State:
    """Return a network that answers 0 for every expert, and a mean of nothing yet."""
    features = log_joint.features().to(logits)
    state = surrogate.start(surrogate.network(features, config.hidden, logits.shape[-1], noise))
    return state | {"past": logits.new_zeros(2)}  # the weighted sum of ell, and of the weights


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
    ell = log_joint.likelihood(z)
    mean = state["past"][0] / state["past"][1].clamp_min(1 - config.decay)
    c = mean + surrogate.evaluate(features, state, torch.relu)  # (N, K)
    score = (ell - c.gather(-1, z.T).T).detach() * (log_q - log_q.detach())
    summed = expectation(logits, c.T)
    kl = kl_divergence(logits, log_joint.log_prior)

    def error(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        c = mean + surrogate.evaluate(features, weights, torch.relu)
        return (ell.detach() - c.gather(-1, z.T).T).square().mean()

    value = ell + score + (summed - summed.detach()) - kl  # score and sum are zero in value
    seen = torch.stack([ell.detach().mean(), torch.ones_like(mean)])
    past = {"past": torch.lerp(seen, state["past"], config.decay)}
    return value.mean(0), surrogate.learn(error, state, config.learning_rate) | past


TREATMENT = Treatment(
    "q_baseline",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
