r"""Score function with a baseline learned from the datum (NVIL).

    f    = log p(y, z) - log q(z),    z ~ q
    grad = (f - b(x, y)) grad log q(z) + grad f
    b   <- one Adam step on (f - b(x, y))^2

b is a network with one hidden layer and optimiser of its own. Unbiased, since b does not see z
and is fixed before z is drawn; S evaluations of the joint. The best it can reach is
b = E[f | x, y]. Mnih and Gregor (2014), without their variance normalisation, which rescales
the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyromoe.guides import log_prob
from pyromoe.inference.treatments.treatment import Treatment

if TYPE_CHECKING:
    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint

State = dict[str, "torch.Tensor"]  # in quotes: reading the catalogue takes no torch
WEIGHTS = ("hidden", "hidden_bias", "output", "output_bias")


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


def init(config: Config, log_joint: LogJoint, logits: torch.Tensor, noise: Noise) -> State:
    """Return a network that answers 0, its Adam moments and the number of steps."""
    width = log_joint.features().shape[-1]
    chance = noise.gumbel(logits.new_zeros(width, config.hidden), 1)[0]
    weights = {
        "hidden": (chance - 0.5772) / math.sqrt(1.645 * max(1, width)),  # to mean 0, variance 1/F
        "hidden_bias": logits.new_zeros(config.hidden),
        "output": logits.new_zeros(config.hidden),
        "output_bias": logits.new_zeros(()),
    }
    zeros = {f"{kind}_{n}": torch.zeros_like(w) for n, w in weights.items() for kind in "mv"}
    return {**weights, **zeros, "step": logits.new_zeros(())}


def baseline(features: torch.Tensor, state: State) -> torch.Tensor:
    """Return b, (N,), at the features, (N, F)."""
    hidden = torch.tanh(features @ state["hidden"] + state["hidden_bias"])
    return hidden @ state["output"] + state["output_bias"]


def learn(features: torch.Tensor, f: torch.Tensor, state: State, rate: float) -> State:
    """Return the state after one Adam step towards f, (S, N)."""
    weights = {n: state[n].detach().requires_grad_() for n in WEIGHTS}
    with torch.enable_grad():
        error = (f - baseline(features, weights)).square().mean()
        gradients = torch.autograd.grad(error, list(weights.values()))
    step = state["step"] + 1
    new = {"step": step}
    for name, g in zip(WEIGHTS, gradients, strict=True):
        m = new[f"m_{name}"] = torch.lerp(g, state[f"m_{name}"], 0.9)
        v = new[f"v_{name}"] = torch.lerp(g * g, state[f"v_{name}"], 0.999)
        size = rate * (1 - 0.999**step).sqrt() / (1 - 0.9**step)
        new[name] = state[name] - size * m / (v.sqrt() + 1e-8)
    return new


def objective(
    log_joint: LogJoint, logits: torch.Tensor, config: Config, state: State, noise: Noise
) -> tuple[torch.Tensor, State]:
    """Return an estimate of the ELBO and the next state; logits are (N, K)."""
    features = log_joint.features().detach()
    z = noise.categorical(logits, config.num_samples)  # (S, N)
    log_q = log_prob(logits, z)
    f = log_joint(z) - log_q.detach()
    advantage = (f - baseline(features, state)).detach()
    score = advantage * (log_q - log_q.detach())  # zero in value, not in gradient
    new = learn(features, f.detach(), state, config.learning_rate)
    return (f + score).mean(0).sum(), new


TREATMENT = Treatment(
    "reinforce_neural_baseline",
    Config,
    objective,
    objectives=("jensen", "elbo"),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
    init=init,
)
