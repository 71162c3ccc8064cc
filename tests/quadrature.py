"""Expectations over Gumbel noise, as integrals.

Three experts and one datum leave two noise variables, the differences of three Gumbels, whose
density is 2 exp(-a-b) / (1 + exp(-a) + exp(-b))^3. The trapezoid rule converges exponentially
for a smooth integrand, so a comparison is not a matter of luck: it sees a bias of 1e-7. With two
experts one logistic variable is left, and a jump at the boundary of the two can be met exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from problems import Problem, Replay, flat_gradient

from pyromoe.inference.elbo import UNSET, Treatment_ELBO

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.inference.treatments import Treatment


def grid(step: float = 0.2, reach: float = 36.0) -> tuple[Tensor, float]:
    """Points (M, 2) and their spacing."""
    line = torch.arange(-reach, reach, step)
    return torch.cartesian_prod(line, line), step


def log_density_of_differences(d: Tensor) -> Tensor:
    """Of (g_1 - g_3, g_2 - g_3), three standard Gumbels; d is (M, 2)."""
    zeros = torch.zeros(len(d), 1)
    total: Tensor = -d.sum(-1) - 3 * torch.cat([zeros, -d], -1).logsumexp(-1)
    return total + torch.log(torch.tensor(2.0))


def repeated(p: Problem, times: int) -> Problem:
    """The same datum many times, one row for each point of the grid."""
    return replace(p, x=p.x.expand(times, 1), y=p.y.expand(times))


def by_row(
    treatment: Treatment[Any],
    p: Problem,
    objective: str,
    gumbel: Tensor,
    z: int | None,
    state: Any,
    options: dict[str, Any],
) -> Tensor:
    """The gradient in the gate's and the guide's logits, (2, M, K), at noise (M, K)."""
    many, (rows, k) = repeated(p, len(gumbel)), gumbel.shape
    gate = torch.zeros(rows, k, requires_grad=True)
    guide = torch.zeros(rows, k, requires_grad=True)

    def shifted(log_joint: Any, logits: Tensor, config: Any, state: Any, noise: Any) -> Any:
        # In the Jensen bound the guide is the gate, so only one of the two is moved.
        prior = log_joint.log_prior
        moved = log_joint.with_prior((prior + gate).log_softmax(-1))
        joint = log_joint if objective == "jensen" else moved
        logits = (logits.detach() + guide).log_softmax(-1)
        return treatment.objective(joint, logits, config, state, noise)

    draws = [] if z is None else [torch.full((1, rows), z)]
    noise = Replay(*draws, gumbel=gumbel[None])
    elbo = Treatment_ELBO(replace(treatment, objective=shifted), noise=noise, **options)
    elbo.state = state
    value = -elbo.differentiable_loss(many.model, many.guide(objective), many.x, many.y)
    both = torch.autograd.grad(value, [gate, guide], allow_unused=True)
    return torch.stack([torch.zeros_like(gate) if g is None else g for g in both])


def treated_gradient(
    treatment: Treatment[Any],
    p: Problem,
    objective: str,
    step: float = 0.2,
    reach: float = 36.0,
    z: int | None = None,
    state: Any = UNSET,
    **options: Any,
) -> Tensor:
    """The expected gradient in the gate's and the guide's logits, (2, K), of three experts.

    Where a treatment draws z first, the expectation is over its Gumbel noise, for the given z.
    """
    points, step = grid(step, reach)
    weights = log_density_of_differences(points).exp() * step**2
    gumbel = torch.cat([points, torch.zeros(len(points), 1)], -1)
    rows = by_row(treatment, p, objective, gumbel, z, state, options)
    return (weights[:, None] * rows).sum(1)


def exact_logits(p: Problem, objective: str) -> Tensor:
    """The exact gradient in the gate's and the guide's logits, (2, K), one datum."""
    log_p, ell, log_q = (part.detach() for part in p.log_parts())
    gate = torch.zeros(ell.shape, requires_grad=True)
    guide = torch.zeros(ell.shape, requires_grad=True)
    if objective == "jensen":
        value = ((log_p + guide).softmax(-1) * ell).sum()
    else:
        q = (log_q + guide).log_softmax(-1)
        value = (q.exp() * ((log_p + gate).log_softmax(-1) + ell - q)).sum()
    return flat_gradient(value, [gate, guide]).reshape(2, -1)


def picked_mean(treatment: Treatment[Any], p: Problem, temperature: float) -> Tensor:
    """The expected gradient in the first of two experts' logit, of the Jensen bound.

    The noise is d = g_1 - g_2, logistic; u = (d + a_1 - a_2) / t is integrated on each side of 0,
    where the argmax jumps, by Gauss and Legendre's rule; beyond 60 the gradient is e^-60.
    """
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(200))
    u = torch.cat([30 * (nodes + 1), -30 * (nodes + 1)])
    log_p = p.log_parts()[0].detach()[0]
    d = temperature * u - (log_p[0] - log_p[1])
    density = torch.sigmoid(d) * torch.sigmoid(-d)
    gumbel = torch.stack([d, torch.zeros_like(d)], -1)
    rows = by_row(treatment, p, "jensen", gumbel, None, None, {"temperature": temperature})
    return (30 * temperature * weights.repeat(2) * density * rows[1, :, 0]).sum()


def mean_given(treatment: Treatment[Any], p: Problem, z: int, **options: Any) -> Tensor:
    """The same for a treatment that draws z first: the mean over its noise for that z."""
    d = torch.arange(-40.0, 40.0, 0.02)
    density = torch.sigmoid(d) * torch.sigmoid(-d)
    gumbel = torch.stack([d, torch.zeros_like(d)], -1)
    rows = by_row(treatment, p, "jensen", gumbel, z, None, options)
    return (0.02 * density * rows[1, :, 0]).sum()


def over_triangle(treatment: Treatment[Any], p: Problem, objective: str) -> Tensor:
    """The expected gradient in the gate's and the guide's logits, (2, K), over Dirichlet noise.

    For an integrand that is linear in pi between the lines pi_i = c pi_j, where c is a ratio of
    two of the probabilities q. With pi = (u (1 - v), (1 - u) (1 - v), v), u is uniform and v has
    density 2 (1 - v); between the lines Gauss and Legendre's rule is exact in v, and in u, where
    the integral is rational, as good as exact.
    """
    q = p.log_parts()[2 if objective == "elbo" else 0].detach()[0].exp()
    ratios = (q[:, None] / q[None, :]).flatten().unique()
    crossings = ratios[:, None] / (ratios[:, None] + ratios[None, :])
    u, weight_u = pieces(torch.cat([ratios / (1 + ratios), crossings.flatten()])[None], 12)
    u, weight_u = u[0], weight_u[0]
    lines = torch.cat([r / (r + ratios) for r in (u[:, None], 1 - u[:, None])], -1)  # (U, L)
    v, weight_v = pieces(lines, 3)
    weights = (weight_u[:, None] * weight_v * 2 * (1 - v)).flatten()
    u = u[:, None].expand_as(v)
    pi = torch.stack([u * (1 - v), (1 - u) * (1 - v), v], -1).flatten(0, 1)
    inside = weights > 1e-300
    rows = by_row(treatment, p, objective, -pi[inside].log(), None, None, {})
    return (weights[inside, None] * rows).sum(1)


def pieces(breaks: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights, (B, M), of Gauss and Legendre's rule on every piece of [0, 1]."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(order))
    ends = torch.cat([torch.zeros(len(breaks), 1), breaks, torch.ones(len(breaks), 1)], -1)
    ends = ends.sort(-1).values
    half = ends.diff(dim=-1)[..., None] / 2
    return (ends[:, :-1, None] + half * (1 + nodes)).flatten(1), (half * weights).flatten(1)
