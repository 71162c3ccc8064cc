r"""What differs between draws of a fit: z, y, and what follows from the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.guides import Seeded
from pyromoe.inference.labels import matched
from pyromoe.inference.natural import constants
from pyromoe.inference.probabilities import log_jacobian, log_probabilities
from pyromoe.models.blend import select
from pyromoe.models.groups import NOTHING
from pyromoe.models.trace import run_given

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.result import Fit
    from pyromoe.models.trace import Weights


def posterior_draws(fit: Fit, x: Tensor, y: Tensor) -> dict[str, NDArray[Any]]:
    """Return what differs between draws, (C, S, ...), by name; a view where it is always the same.

    Where weights have a posterior, each draw has weights of its own; experts are then numbered in
    every draw as they are in the mean of all.

    Args:
        fit: the fit.
        x: its rows, (N, D).
        y: their responses, (N,).
    """
    noise = Seeded(fit.spec.seed)
    if not fit.guide.weights.spread:
        draws = fit.spec.output.draws
        joint = fit.log_joint(x, y)  # (N, K)
        found = {n: _repeated(v, draws) for n, v in _of_weights(fit, joint, fit.weights).items()}
        z = noise.categorical(joint, draws)  # (S, N)
        found["z"] = z[None].short().numpy()
        found["lp"] = joint.gather(-1, z.T).T.sum(-1)[None].numpy()
        found["predictive"] = _predictive(fit, x, draws, noise, fit.weights)[None]
        return found
    each = [_draw(fit, x, y, noise, w, i) for i, w in enumerate(fit.weight_draws())]
    own = [name for name, dims, _ in coefficients(fit, fit.weights) if dims[:1] == ("expert",)]
    _number_alike(each, own)
    chains = fit.guide.weights.chains
    stacked = {name: np.stack([one[name] for one in each]) for name in each[0]}
    return {n: v.reshape(chains, len(each) // chains, *v.shape[1:]) for n, v in stacked.items()}


def _draw(
    fit: Fit, x: Tensor, y: Tensor, noise: Seeded, weights: Weights, number: int
) -> dict[str, NDArray[Any]]:
    joint = log_probabilities(fit.model, weights, x, y) + log_jacobian(fit.encoding, y)[:, None]
    z = noise.categorical(joint, 1)  # (1, N)
    found = {n: v.detach().numpy() for n, v in _of_weights(fit, joint, weights).items()}
    found["z"] = z[0].short().numpy()
    found["lp"] = joint.gather(-1, z.T).sum().numpy()
    found["predictive"] = _predictive(fit, x, 1, noise, weights, number)[0]
    return found


def _of_weights(fit: Fit, joint: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Return what follows from the weights, by name."""
    own = {name: value for name, _, value in coefficients(fit, weights)}
    return {"resp": joint.softmax(-1), "log_likelihood": joint.logsumexp(-1), **own}


def _number_alike(each: list[dict[str, NDArray[Any]]], names: list[str]) -> None:
    """Number the experts of every draw as they are in the mean of all."""
    orders = matched([one["resp"] for one in each])
    for one, order in zip(each, orders, strict=True):
        one["resp"] = one["resp"][:, order]
        one["z"] = np.argsort(order)[one["z"]].astype(one["z"].dtype)
        for name in names:
            one[name] = one[name][order]


def _repeated(values: Tensor, draws: int) -> NDArray[Any]:
    """Return values that are the same in every draw, (1, S, ...), without copying them."""
    array = values.detach().numpy()
    return np.broadcast_to(array, (1, draws, *array.shape))


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
    return [(name, dims, value.detach()) for name, dims, value in found]


def _predictive(
    fit: Fit, x: Tensor, draws: int, noise: Seeded, weights: Weights, number: int = 0
) -> NDArray[Any]:
    """Return draws of y, (S, N), on the original scale; classes as their codes."""
    found = original(fit, simulated(fit, x, draws, noise, weights, fit.spec.seed + number))
    if fit.data is None or fit.encoding.group is None:
        return found
    found = found.astype(np.float64)
    found[:, fit.data.train.rows == NOTHING] = np.nan
    return found


def simulated(
    fit: Fit, x: Tensor, draws: int, noise: Seeded, weights: Weights, seed: int
) -> Tensor:
    """Return draws of z and then y given x, (S, N), encoded.

    Args:
        fit: the fit.
        x: the rows, (N, D).
        draws: S.
        noise: from which z is drawn.
        weights: of the model.
        seed: of y.
    """
    gate, parameters = fit.components(x, weights)
    z = noise.categorical(gate.log(), draws)
    chosen = {name: select(z, value) for name, value in parameters.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        y: Tensor = fit.model.likelihood.distribution(**chosen).sample()
    return y


def original(fit: Fit, y: Tensor) -> NDArray[Any]:
    """Return responses, (..., N), on the original scale; classes as their codes."""
    targets, values = fit.encoding.targets, y.numpy()
    if len(targets) == 1:
        codes = bool(targets[0].labels) and not np.isnan(values).any()
        return values.astype(np.int16) if codes else _decoded(fit, values, 0)
    return np.stack([_decoded(fit, values[..., r], r) for r in range(len(targets))], -1)


def _decoded(fit: Fit, values: NDArray[Any], r: int) -> NDArray[Any]:
    """Return a response on its original scale; classes stay codes."""
    return values if fit.encoding.targets[r].labels else fit.encoding.decode(values, r)
