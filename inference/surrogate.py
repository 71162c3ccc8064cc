r"""A small network that a treatment learns while the model is fitted.

    network(features) = W_2 activation(features W_1 + b_1) + b_2

Weights and the moments of Adam are a dictionary of tensors, so that a treatment can take them as
its state and return them. The network starts at 0. Kingma and Ba (2015).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyromoe.guides import Noise

State = dict[str, "torch.Tensor"]  # in quotes: reading the catalogue takes no torch


def start(weights: Mapping[str, torch.Tensor]) -> State:
    """Return the state of weights that have not learned yet."""
    zeros = {f"{kind}_{n}": torch.zeros_like(w) for n, w in weights.items() for kind in "mv"}
    step = next(iter(weights.values())).new_zeros(())
    return {**weights, **zeros, "step": step}


def network(
    features: torch.Tensor, hidden: int, outputs: int, noise: Noise
) -> dict[str, torch.Tensor]:
    """Return first weights for features, (N, F): hidden units H, and outputs."""
    return {
        "hidden": normalised(features.new_zeros(features.shape[-1], hidden), noise),
        "hidden_bias": features.new_zeros(hidden),
        "output": features.new_zeros(hidden, outputs),
        "output_bias": features.new_zeros(outputs),
    }


def normalised(like: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return random weights, (F, H), of mean 0 and variance 1 / F."""
    gumbel = noise.gumbel(like, 1)[0]  # mean 0.5772, variance 1.645
    return (gumbel - 0.5772) / math.sqrt(1.645 * max(1, len(like)))


def weights(state: State) -> State:
    """Return the weights in a state, without the moments."""
    return {name: state[name] for name in state if f"m_{name}" in state}


def activations(features: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the inputs of the hidden units, (N, H), at features, (N, F)."""
    return features @ weights["hidden"] + weights["hidden_bias"]


def evaluate(
    features: torch.Tensor,
    weights: Mapping[str, torch.Tensor],
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the outputs, (N, outputs), at features, (N, F)."""
    hidden = activation(activations(features, weights))
    return hidden @ weights["output"] + weights["output_bias"]


def learn(
    error: Callable[[Mapping[str, torch.Tensor]], torch.Tensor], state: State, rate: float
) -> State:
    """Return the state after one step of Adam on an error, a scalar function of the weights."""
    now = {name: value.detach().requires_grad_() for name, value in weights(state).items()}
    with torch.enable_grad():
        gradients = torch.autograd.grad(error(now), list(now.values()))
    step = state["step"] + 1
    new = {"step": step}
    for name, g in zip(now, gradients, strict=True):
        m = new[f"m_{name}"] = torch.lerp(g, state[f"m_{name}"], 0.9)
        v = new[f"v_{name}"] = torch.lerp(g * g, state[f"v_{name}"], 0.999)
        size = rate * (1 - 0.999**step).sqrt() / (1 - 0.9**step)
        new[name] = state[name] - size * m / (v.sqrt() + 1e-8)
    return new
