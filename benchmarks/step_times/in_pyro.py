"""The same step in Pyro: `SVI.step` with an ELBO and an optimiser of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.ops.indexing import Vindex
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case
    from torch import Tensor

from by_hand import network
from problem import DRAWS, RATE, TEMPERATURE


def step(case: Case, treatment: str) -> Callable[[], float]:
    """Return a step of SVI."""
    pyro.clear_param_store()
    pyro.enable_validation(False)
    x, y = (torch.from_numpy(a) for a in case.data())
    first = {n: torch.from_numpy(v) for n, v in case.values().items()}

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        values = {n: pyro.param(n, v) for n, v in first.items()}
        return network(values, "gate", x)[0].log_softmax(-1), network(values, "experts", x)

    def chosen(x: Tensor, y: Tensor) -> None:
        log_p, logits = parts(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=log_p), infer={"enumerate": "parallel"})
            of_z = Vindex(logits)[z, torch.arange(len(x))]
            pyro.sample("y", dist.Categorical(logits=of_z), obs=y)

    def relaxed(x: Tensor, y: Tensor) -> None:
        log_p, logits = parts(x)
        with pyro.plate("data", len(x)):
            standard = dist.Gumbel(torch.zeros(len(x), case.num_experts), 1.0).to_event(1)
            weights = ((log_p + pyro.sample("g", standard)) / TEMPERATURE).softmax(-1)
            if treatment == "straight_through_gumbel_softmax":
                hard = one_hot(weights.argmax(-1), case.num_experts)
                weights = hard + weights - weights.detach()
            each = logits.log_softmax(-1)[:, torch.arange(len(x)), y].T
            pyro.factor("y", (weights * each).sum(-1))

    def gate_of(x: Tensor, y: Tensor) -> None:
        log_p, _ = parts(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=log_p))

    def noise(x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("g", dist.Gumbel(torch.zeros(len(x), case.num_experts), 1.0).to_event(1))

    adam: Any = pyro.optim.Adam({"lr": RATE})  # type: ignore[attr-defined]  # made at import
    if treatment == "enumerate":
        svi = SVI(chosen, lambda x, y: None, adam, TraceEnum_ELBO(max_plate_nesting=1))
    elif treatment == "leave_one_out":
        svi = SVI(chosen, gate_of, adam, TraceGraph_ELBO(num_particles=DRAWS))
    else:
        svi = SVI(relaxed, noise, adam, Trace_ELBO())
    return lambda: float(svi.step(x, y))
