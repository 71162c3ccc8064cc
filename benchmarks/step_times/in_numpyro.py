"""The same step in NumPyro: its jitted update, and many updates in one `fori_loop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO

if TYPE_CHECKING:
    from collections.abc import Callable

    from problem import Case

from problem import DRAWS, RATE, TEMPERATURE

LOOP = 100
"""How many updates are in one call of the loop."""


def network(values: dict[str, Any], who: str, x: Any) -> Any:
    """Return the outputs of a bank of networks, (K, N, P)."""
    depth = sum(name.startswith(f"{who}.weight") for name in values)
    h = jnp.broadcast_to(x, (len(values[f"{who}.weight_0"]), *x.shape))
    for i in range(depth):
        h = jnp.einsum("knd,kdp->knp", h, values[f"{who}.weight_{i}"]) + values[f"{who}.bias_{i}"]
        h = jax.nn.relu(h) if i < depth - 1 else h
    return h


def programs(case: Case, treatment: str) -> tuple[Any, Any, Any]:
    """Return model, guide and ELBO."""
    first = case.values()

    def parts(x: Any) -> tuple[Any, Any]:
        values = {n: numpyro.param(n, jnp.asarray(v)) for n, v in first.items()}
        log_p = jax.nn.log_softmax(network(values, "gate", x)[0])
        return log_p, network(values, "experts", x)

    def chosen(x: Any, y: Any) -> None:
        log_p, logits = parts(x)
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Categorical(logits=log_p), infer={"enumerate": "parallel"})
            numpyro.sample("y", dist.Categorical(logits=logits[z, jnp.arange(len(x))]), obs=y)

    def relaxed(x: Any, y: Any) -> None:
        log_p, logits = parts(x)
        with numpyro.plate("data", len(x)):
            zeros = jnp.zeros((len(x), case.num_experts))
            g = numpyro.sample("g", dist.Gumbel(zeros, 1).to_event(1))
            weights = jax.nn.softmax((log_p + g) / TEMPERATURE)
            if treatment == "straight_through_gumbel_softmax":
                hard = jax.nn.one_hot(weights.argmax(-1), case.num_experts)
                weights = hard + weights - jax.lax.stop_gradient(weights)
            each = jax.nn.log_softmax(logits)[:, jnp.arange(len(x)), y].T
            numpyro.factor("y", (weights * each).sum(-1))

    def gate_of(x: Any, y: Any) -> None:
        log_p, _ = parts(x)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Categorical(logits=log_p))

    def noise(x: Any, y: Any) -> None:
        with numpyro.plate("data", len(x)):
            zeros = jnp.zeros((len(x), case.num_experts))
            numpyro.sample("g", dist.Gumbel(zeros, 1).to_event(1))

    if treatment == "enumerate":
        return chosen, lambda x, y: None, TraceEnum_ELBO(max_plate_nesting=1)
    if treatment == "leave_one_out":
        return chosen, gate_of, TraceGraph_ELBO(num_particles=DRAWS)
    return relaxed, noise, Trace_ELBO()


def ready(case: Case, treatment: str) -> tuple[Any, Any, Any, Any]:
    """Return the SVI, its first state, x and y."""
    x, y = (jnp.asarray(a) for a in case.data())
    svi = SVI(
        *programs(case, treatment)[:2], numpyro.optim.Adam(RATE), programs(case, treatment)[2]
    )
    return svi, svi.init(jax.random.PRNGKey(0), x, y), x, y


def update(case: Case, treatment: str) -> Callable[[], float]:
    """Return a step by the jitted update, its loss read after each."""
    svi, state, x, y = ready(case, treatment)
    run = jax.jit(svi.update)

    def step() -> float:
        nonlocal state
        state, loss = run(state, x, y)
        return float(loss)

    return step


def loop(case: Case, treatment: str) -> Callable[[], float]:
    """Return `LOOP` steps in one call."""
    svi, state, x, y = ready(case, treatment)

    def updates(state: Any, x: Any, y: Any) -> Any:
        return jax.lax.fori_loop(0, LOOP, lambda i, s: svi.update(s, x, y)[0], state)

    many: Any = jax.jit(updates)

    def steps() -> float:
        nonlocal state
        state = jax.block_until_ready(many(state, x, y))
        return 0.0

    return steps
