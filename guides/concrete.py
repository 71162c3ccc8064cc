r"""The Concrete (Gumbel-softmax) distribution, with its density in log space.

    v = log softmax((a + g) / t),    g ~ Gumbel
    log q(v) = log (K - 1)! + (K - 1) log t + sum_k (a_k - t v_k) - K logsumexp(a - t v)

This is the density of v = log z, not of z; the two differ by a factor that cancels in every
ratio of two Concrete densities. In log space it is finite at any temperature, where the stock
density of z is not (at t = 0.1 and K = 10 it is NaN for two draws in five in float32).
Maddison, Mnih and Teh (2017), appendix C; Jang, Gu and Poole (2017).
"""

from __future__ import annotations

import torch

from pyromoe.models.softmax import log_softmax, softmax


def concrete(
    logits: torch.Tensor, gumbel: torch.Tensor, temperature: float | torch.Tensor
) -> torch.Tensor:
    """Return log z, (S, N, K), from logits, (N, K), and Gumbel noise, (S, N, K)."""
    return log_softmax((logits + gumbel) / temperature)


def log_density(
    logits: torch.Tensor, log_z: torch.Tensor, temperature: float | torch.Tensor
) -> torch.Tensor:
    """Return the log density, (S, N), of log z, (S, N, K), under logits, (N, K).

    Categories with a logit of -inf are left out of the simplex: log z must be -inf there.
    """
    possible = (logits > -torch.inf).expand_as(log_z)
    shifted = torch.where(possible, logits, 0.0) - temperature * torch.where(possible, log_z, 0.0)
    k = possible.sum(-1).to(log_z)
    normaliser = torch.where(possible, shifted, -torch.inf).logsumexp(-1)
    log_temperature = torch.as_tensor(temperature, dtype=log_z.dtype).log()
    constant = torch.lgamma(k) + (k - 1) * log_temperature
    return constant + torch.where(possible, shifted, 0.0).sum(-1) - k * normaliser


def conditional_gumbel(logits: torch.Tensor, z: torch.Tensor, gumbel: torch.Tensor) -> torch.Tensor:
    """Return perturbed logits, (..., N, K), whose largest is that of category z, (..., N).

    Their law is that of logits + Gumbel noise given that z is the argmax; the gradient in the
    logits holds z fixed. With E = exp(-gumbel) and normalised logits the largest is -log E_z,
    and the others are -log(E_k / q_k + E_z). Maddison and Tarlow (2017); Tucker et al. (2017),
    appendix C.
    """
    log_e = -gumbel  # log of standard exponentials
    top = log_e.gather(-1, z[..., None])
    possible = (logits > -torch.inf).expand_as(log_e)
    others = -torch.logaddexp(log_e - torch.where(possible, logits, 0.0), top)
    others = torch.where(possible, others, -torch.inf)
    chosen = z[..., None] == torch.arange(logits.shape[-1], device=z.device)
    return torch.where(chosen, -top, others)


def reparameterised(
    slope: torch.Tensor, v: torch.Tensor, z: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return slope . (d b / d logits - d b / d logits given z), (S, N, K), b = softmax(v / t).

    v comes from `conditional_gumbel`. With E_k and E_z its exponentials, dv_k / d logit_k is 1 in
    the first term and 1 - exp(v_k - v_z) in the second, so their difference is exp(v_k - v_z).
    Tucker et al. (2017), appendix B.
    """
    b = softmax(v / temperature)
    moved = b * (slope - (b * slope).sum(-1, keepdim=True)) / temperature
    return moved * (v - v.gather(-1, z[..., None])).exp()
