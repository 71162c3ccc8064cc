"""Exact densities of rows, z summed out, and rows as tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromoe.models import log_joint
from pyromoe.models.likelihoods.observed import is_observed
from pyromoe.models.tables.responses import RESPONSES
from pyromoe.models.trace import Draw

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data.divide import Part
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.trace import Weights

CHUNK = 8192
"""Rows evaluated at a time, so that K experts' outputs of all rows need not fit in memory."""


def effective_experts(responsibilities: Tensor) -> float:
    """Return exp of the entropy of the mean responsibility: 1 if one expert has all the rows."""
    share = responsibilities.double().mean(0)
    return float(torch.special.xlogy(share, share).sum().neg().exp())


@torch.no_grad()
def log_probabilities(model: MixtureOfExperts, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """Return log p(y, z = k | x), (N, K), on the encoded scale, in nats.

    The experts of a `Draw` are numbered as those of the fit.
    """
    parts = [
        log_joint(model, a, b, weights=weights).enumerate().T
        for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    ]
    joint = torch.cat(parts)
    return joint[:, weights.order] if isinstance(weights, Draw) else joint


def log_likelihood(model: MixtureOfExperts, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """Return log p(y | x), (N,), on the encoded scale, in nats."""
    return log_probabilities(model, weights, x, y).logsumexp(-1)


@torch.no_grad()
def log_prior(model: MixtureOfExperts, weights: Weights, x: Tensor, y: Tensor, size: int) -> float:
    """Return the log prior of the weights and what the gate adds to it, nats, at any rows.

    Args:
        model: the model.
        weights: where.
        x: some of the rows, (n, D).
        y: their responses, (n,).
        size: N, of all.
    """
    joint = log_joint(model, x[:CHUNK], y[:CHUNK], size, weights=weights)
    return float(joint.log_prior_of_weights)


def log_jacobian(encoding: Encoding, y: Tensor) -> Tensor:
    """Return what to add to the log density of each encoded datum, (N,), nats.

    Only what was observed counts: each number of it was divided by its standard deviation.
    """
    there = is_observed(y).to(torch.float64)
    log_sd = torch.tensor([math.log(target.sd) for target in encoding.targets]).double()
    each = there if len(log_sd) > 1 else there[..., None]
    total = -(each @ log_sd)
    return total.reshape(len(y), -1).sum(-1)


def to_tensors(part: Part, spec: Spec) -> tuple[Tensor, Tensor]:
    """Return x, extras included, and y, (N,), in the precision of the fit; codes are integers."""
    dtype = getattr(torch, spec.fit.precision)
    y = torch.from_numpy(np.asarray(part.y))
    codes = RESPONSES[spec.families[0][0]].codes and not y.is_floating_point()
    return torch.from_numpy(part.x).to(dtype), y if codes else y.to(dtype)
