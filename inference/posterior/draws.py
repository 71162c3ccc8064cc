r"""What differs between draws of a fit: z, y, and what follows from the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.guides import DrawnGuide, Seeded
from pyromoe.inference.files.repeated import repeat
from pyromoe.inference.fitting.labels import matched
from pyromoe.inference.fitting.natural import constants
from pyromoe.inference.fitting.probabilities import log_jacobian, log_probabilities
from pyromoe.inference.posterior.simulation import predictive
from pyromoe.models.trace import Draw, run_given, trace_of, weights_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.trace import Weights

    Draws = dict[str, NDArray[Any]]

AT_ONCE = 2**25
"""Experts times rows times draws of z that are worked on at a time."""
FROM_PRIOR = 100
"""Draws of the prior at most: each evaluates the model anew, and they say how y is spread."""


def posterior_draws(fit: Fit, x: Tensor, y: Tensor) -> Draws:
    """Return what differs between draws, (C, S, ...), by name; a view where it is always the same.

    Where weights have a posterior, each draw has weights of its own; experts are then numbered in
    every draw as they are in the mean of all. Draws of NUTS were numbered when they were drawn.

    Args:
        fit: the fit.
        x: its rows, (N, D).
        y: their responses, (N,).
    """
    noise, weights = Seeded(fit.spec.seed), fit.guide.weights
    if not weights.spread:
        draws = fit.spec.output.draws
        joint = fit.log_joint(x, y)  # (N, K)
        same = _of_weights(fit, joint.to(x.dtype), fit.weights)
        own = _filled(_given_weights(fit, x, joint, noise), draws)
        # Copied once: parameters may be trained further.
        found = {n: repeat(v[None].copy(), draws) for n, v in same.items()}
        return found | {n: v[None] for n, v in own.items()}
    each = fit.weight_draws()
    found = _filled((_draw(fit, x, y, noise, w, i) for i, w in enumerate(each)), len(each))
    of_experts = [
        name for name, dims, _ in coefficients(fit, fit.weights) if dims[:1] == ("expert",)
    ]
    if not isinstance(weights, DrawnGuide):
        _number_alike(found, of_experts)
    chains = weights.chains
    shaped = {n: v.reshape(chains, -1, *v.shape[1:]) for n, v in found.items()}
    if isinstance(weights, DrawnGuide):
        shaped["diverging"] = weights.diverging.numpy().copy()
    return shaped


def prior_draws(fit: Fit, x: Tensor) -> NDArray[Any] | None:
    """Return y with weights from their priors, (1, S, N, ...); None where no weight has one.

    Weights without a prior stay as they were fitted.

    Args:
        fit: the fit.
        x: its rows, (N, D).
    """
    if not fit.guide.weights.names:
        return None
    draws, seed = min(FROM_PRIOR, fit.spec.output.draws), fit.spec.seed
    noise = Seeded(seed)
    each = (
        {"y": predictive(fit, x, 1, noise, _prior_weights(fit, x, seed + i), i)}
        for i in range(draws)
    )
    return _filled(each, draws)["y"][None]


def _prior_weights(fit: Fit, x: Tensor, seed: int) -> Weights:
    """Return the latent weights, drawn from their priors."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return weights_in(trace_of(fit.model.components, x[:1]))


def _filled(parts: Iterable[Draws], draws: int) -> Draws:
    """Return draws, (S, ...), of which parts come one after the other, (s, ...); none is kept."""
    found: Draws = {}
    done = 0
    for part in parts:
        for name, values in part.items():
            if name not in found:
                found[name] = np.empty((draws, *values.shape[1:]), values.dtype)
            found[name][done : done + len(values)] = values
        done += len(values)
    return found


def _given_weights(fit: Fit, x: Tensor, joint: Tensor, noise: Seeded) -> Iterator[Draws]:
    """Yield draws of z and y, some at a time, where weights are a point."""
    draws, some = fit.spec.output.draws, max(1, AT_ONCE // joint.numel())
    for i, first in enumerate(range(0, draws, some)):
        number = min(some, draws - first)
        z = noise.categorical(joint, number)  # (S, N)
        yield {
            "z": _smallest(z, fit.model.num_experts),
            "lp": joint.gather(-1, z.T).T.sum(-1).numpy(),
            "predictive": predictive(fit, x, number, noise, fit.weights, i),
        }


def _draw(fit: Fit, x: Tensor, y: Tensor, noise: Seeded, weights: Weights, number: int) -> Draws:
    """Return one draw of everything, (1, ...)."""
    joint = log_probabilities(fit.model, weights, x, y) + log_jacobian(fit.encoding, y)[:, None]
    z = noise.categorical(joint, 1)  # (1, N)
    found = {n: v[None] for n, v in _of_weights(fit, joint.to(x.dtype), weights).items()}
    found["z"] = _smallest(z, fit.model.num_experts)
    found["lp"] = joint.gather(-1, z.T).T.sum(-1).numpy()
    found["predictive"] = predictive(fit, x, 1, noise, weights, number)
    return found


def _of_weights(fit: Fit, joint: Tensor, weights: Weights) -> Draws:
    """Return what follows from the weights, by name."""
    own = {name: value for name, _, value in coefficients(fit, weights)}
    found = {"resp": joint.softmax(-1), "log_likelihood": joint.logsumexp(-1), **own}
    return {name: value.detach().numpy() for name, value in found.items()}


def _smallest(z: Tensor, number: int) -> NDArray[Any]:
    """Return numbers of experts as the smallest signed integers that hold K."""
    return z.numpy().astype(np.min_scalar_type(-number))


def _number_alike(found: Draws, names: list[str]) -> None:
    """Number the experts of every draw as they are in the mean of all."""
    for i, order in enumerate(matched([*found["resp"]])):
        found["resp"][i] = found["resp"][i][:, order]
        found["z"][i] = np.argsort(order)[found["z"][i]]
        for name in names:
            found[name][i] = found[name][i][order]


def coefficients(fit: Fit, weights: Weights) -> list[tuple[str, tuple[str, ...], Tensor]]:
    """Return the parameters that have a meaning of their own; hidden layers have none."""
    model = fit.model
    found: list[tuple[str, tuple[str, ...], Tensor]] = []
    many = model.likelihood.outputs > 1
    if model.experts.depth == 1:
        ((slope, bias),) = run_given(model.layers, weights)
        intercept = bias[:, 0]
        last = (("class" if fit.encoding.num_classes else "output"),) if many else ()
        slope, intercept = (t if many else t[..., 0] for t in (slope, intercept))
        found += [("expert_slope", ("expert", "expert_predictor", *last), slope)]
        found += [("expert_intercept", ("expert", *last), intercept)]
    found += run_given(model.gate_coefficients, weights)
    named = constants(model, fit.encoding, weights)
    found += [(name, dims, value) for name, (dims, value) in named.items()]
    order = weights.order if isinstance(weights, Draw) else slice(None)
    return [
        (name, dims, (value[order] if dims[:1] == ("expert",) else value).detach())
        for name, dims, value in found
    ]
