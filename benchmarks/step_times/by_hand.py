"""The same step in plain torch, written out for these models: eager, and compiled as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case

from problem import DRAWS, RATE, TEMPERATURE

Values = dict[str, Tensor]


def network(values: Values, who: str, x: Tensor) -> Tensor:
    """Return the outputs of a bank of networks, (K, N, P)."""
    depth = sum(name.startswith(f"{who}.weight") for name in values)
    h = x.expand(len(values[f"{who}.weight_0"]), *x.shape)
    for i in range(depth):
        h = torch.baddbmm(values[f"{who}.bias_{i}"], h, values[f"{who}.weight_{i}"])
        h = h.relu() if i < depth - 1 else h
    return h


def loss_of(treatment: str) -> Callable[[Values, Tensor, Tensor, Tensor | None], Tensor]:
    """Return minus the objective of a treatment, from parameters, x, y and raw noise."""

    def loss(values: Values, x: Tensor, y: Tensor, noise: Tensor | None) -> Tensor:
        log_p = network(values, "gate", x)[0].log_softmax(-1)  # (N, K)
        rows = torch.arange(len(x))
        each = network(values, "experts", x).log_softmax(-1)[:, rows, y].T  # (N, K)
        if treatment == "enumerate":
            return -(log_p + each).logsumexp(-1).sum()
        assert noise is not None
        if treatment == "leave_one_out":
            cumulated = log_p.detach().exp().cumsum(-1)
            z = torch.searchsorted(cumulated, noise * cumulated[:, -1:], right=True)
            chosen = each.gather(1, z)
            log_q = log_p.gather(1, z)
            f = chosen.detach()
            others = (f.sum(1, keepdim=True) - f) / (DRAWS - 1)
            return -(chosen + (f - others) * (log_q - log_q.detach())).mean(1).sum()
        gumbel = -noise[0].clamp_min(1e-38).log()
        weights = ((log_p + gumbel) / TEMPERATURE).softmax(-1)
        if treatment == "straight_through_gumbel_softmax":
            hard = one_hot(weights.argmax(-1), weights.shape[-1])
            weights = hard + weights - weights.detach()
        return -(weights * each).sum()

    return loss


def draw(treatment: str, case: Case, generator: torch.Generator) -> Tensor | None:
    """Return the raw noise of a step."""
    if treatment == "enumerate":
        return None
    if treatment == "leave_one_out":
        return torch.empty(case.rows, DRAWS).uniform_(generator=generator)
    return torch.empty(1, case.rows, case.num_experts).exponential_(generator=generator)


def eager(case: Case, treatment: str) -> Callable[[], float]:
    """Return a step with torch.optim.Adam."""
    x, y = (torch.from_numpy(a) for a in case.data())
    values = {n: torch.from_numpy(v).requires_grad_() for n, v in case.values().items()}
    optimiser = torch.optim.Adam(values.values(), lr=RATE)
    loss, generator = loss_of(treatment), torch.Generator().manual_seed(0)

    def step() -> float:
        optimiser.zero_grad()
        value = loss(values, x, y, draw(treatment, case, generator))
        value.backward()
        optimiser.step()
        return float(value.detach())

    return step


def compiled(case: Case, treatment: str) -> Callable[[], float]:
    """Return a step whose gradient and optimiser are one compiled function."""
    x, y = (torch.from_numpy(a) for a in case.data())
    loss, generator = loss_of(treatment), torch.Generator().manual_seed(0)

    def whole(values: Values, mean: Values, square: Values, count: Tensor, *rest: Any) -> Any:
        gradients, value = torch.func.grad_and_value(loss)(values, *rest)
        count = count + 1
        mean = {n: 0.9 * mean[n] + 0.1 * g for n, g in gradients.items()}
        square = {n: 0.999 * square[n] + 0.001 * g * g for n, g in gradients.items()}
        size, root = RATE / (1 - 0.9**count), (1 - 0.999**count).sqrt()
        values = {
            n: v - size * mean[n] / (square[n].sqrt() / root + 1e-8) for n, v in values.items()
        }
        return values, mean, square, count, value

    values = {n: torch.from_numpy(v) for n, v in case.values().items()}
    zeros = [{n: torch.zeros_like(v) for n, v in values.items()} for _ in range(2)]
    state: Any = (values, *zeros, torch.zeros(()))
    torch._dynamo.reset()  # one case after the other, not versions of one
    run = torch.compile(whole)

    def step() -> float:
        nonlocal state
        with torch.no_grad():
            *state, value = run(*state, x, y, draw(treatment, case, generator))
        return float(value)

    return step
