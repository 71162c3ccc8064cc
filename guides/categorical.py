"""q(z) = Categorical(logits), one row of logits for each datum."""

from __future__ import annotations

import torch

from pyromoe.models.pick import pick
from pyromoe.models.softmax import log_softmax


def log_prob(logits: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return log q(z), (S, N), of integers z, (S, N), under logits, (N, K).

    >>> import torch
    >>> from pyromoe.guides import log_prob
    >>> log_prob(torch.zeros(1, 4), torch.tensor([[0], [3]])).exp()
    tensor([[0.2500],
            [0.2500]])
    """
    return pick(log_softmax(logits), z)


def expectation(log_q: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return sum_k q_k values_k, (N,), for log q, (N, K), and values, (K, N).

    A category of probability 0 counts for nothing, whatever its value is, and neither value nor
    gradient is then NaN.

    >>> import torch
    >>> from pyromoe.guides import expectation
    >>> log_q = torch.tensor([[0.5, 0.5, 0.0]]).log()  # (N, K)
    >>> expectation(log_q, torch.tensor([[1.0], [3.0], [float("inf")]]))
    tensor([2.])
    """
    possible = log_q > -torch.inf
    return (log_q.exp() * torch.where(possible, values.T, 0.0)).sum(-1)


def one_hot(z: torch.Tensor, num_classes: int, like: torch.Tensor) -> torch.Tensor:
    """Return integers z, (S, N), as corners of the simplex, (S, N, K), of like's type, (...).

    >>> import torch
    >>> from pyromoe.guides import one_hot
    >>> one_hot(torch.tensor([[1, 0]]), 3, torch.empty(0))
    tensor([[[0., 1., 0.],
             [1., 0., 0.]]])
    """
    # By comparison: torch's own looks at the values, which a captured graph cannot.
    return (z[..., None] == torch.arange(num_classes, device=z.device)).to(like)


def kl_divergence(log_q: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """Return KL(q || p), (N,), in nats, of two categoricals, (N, K) each."""
    return expectation(log_q, (log_q - log_p).T)


def gradient_only(logits: torch.Tensor) -> torch.Tensor:
    """Return zeros that have the gradient of the logits, and none where these are -inf."""
    possible = logits > -torch.inf
    finite = torch.where(possible, logits, 0.0)
    return finite - finite.detach()
