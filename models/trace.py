"""Running Pyro programs and reading their traces: nothing else touches Pyro's handlers."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import NonlocalExit
from torch import nn

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from pyro.params.param_store import ParamStoreDict
    from pyro.poutine.runtime import Message
    from pyro.poutine.trace_struct import Trace
    from torch import Tensor

Program = Any
"""A Pyro model or guide: a callable, often a `PyroModule`."""
Weights = dict[str, "Tensor"]
"""Values of latent sites other than z, by name."""


class Draw(Weights):
    """Weights as a sampler drew them, which may have numbered the experts otherwise.

    Args:
        weights: by name.
        order: their number of the expert k of the fit, (K,).
    """

    def __init__(self, weights: Weights, order: Tensor) -> None:
        super().__init__(weights)
        self.order = order


class Assign(Messenger):
    """Give latent sites chosen values, by name; None stands for the whole support.

    Unlike conditioning it leaves a site latent, so that its density still counts as a prior.
    """

    def __init__(self, values: Mapping[str, Tensor | None]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Message[..., Any]) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            fn: Any = msg["fn"]
            value = self.values[str(msg["name"])]
            msg["value"] = fn.enumerate_support(expand=False) if value is None else value
            msg["done"] = True


class Standardised(Messenger):
    """Draw normal sites from chance that is given, not from torch's global generator.

    Args:
        normal: returns standard normal numbers of the shape and type of a tensor.
    """

    def __init__(self, normal: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.normal = normal

    def _pyro_sample(self, msg: Message[..., Any]) -> None:
        fn: Any = msg["fn"]
        while isinstance(fn, dist.Independent):
            fn = fn.base_dist
        if type(fn) is dist.Normal and not msg["done"] and not msg["is_observed"]:
            msg["value"] = fn.loc + fn.scale * self.normal(fn.loc)
            msg["done"] = True


def guide_trace(
    guide: Program,
    *args: Any,
    site: str = "z",
    normal: Callable[[Tensor], Tensor] | None = None,
    **kwargs: Any,
) -> Trace:
    """Return a guide's trace in which z was enumerated, so that no chance was spent on it.

    Args:
        guide: the guide.
        *args: its arguments.
        site: the name of z.
        normal: where normal sites are drawn from; torch's global generator where it is None.
        **kwargs: more arguments of the guide.
    """
    assigned = Assign({site: None})(guide)
    drawn = assigned if normal is None else Standardised(normal)(assigned)
    return trace_of(drawn, *args, **kwargs)


def logits_in(trace: Trace, site: str = "z") -> Tensor | None:
    """Return the normalised logits of z in a trace, (N, K), or None where it has no z."""
    return log_probs(trace.nodes[site]["fn"]) if site in trace else None


def log_density_of_weights(trace: Trace, site: str = "z") -> Tensor | float:
    """Return the log density of a model's or guide's latent sites other than z, a scalar.

    Factors outside of every plate, penalties for instance, are terms of it.
    """
    nodes = [*_of_weights(trace, site), *filter(_is_factor, samples(trace))]
    return sum((n["fn"].log_prob(n["value"]).sum() for n in nodes), 0.0)


def latent_logits(
    program: Program, *args: Any, site: str = "z", weights: Weights | None = None, **kwargs: Any
) -> Tensor:
    """Return a model's log p(z = k | x), (N, K); what comes after z is not run.

    Raises:
        ValueError: for a program without the site.

    >>> import torch
    >>> from pyromoe.models import MixtureOfExperts, latent_logits
    >>> from pyromoe.models.gates import Equal
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(4), num_experts=4, gate=Equal)
    >>> latent_logits(model, torch.zeros(1, 2)).exp()  # (N, K)
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def at_latent(message: Message[..., Any]) -> bool:
        return message["name"] == site

    try:
        escaping = poutine.escape(Assign(weights or {})(program), escape_fn=at_latent)
        trace_of(escaping, *args, **kwargs)
    except NonlocalExit as escaped:
        return log_probs(escaped.site["fn"])
    raise ValueError(f"the program has no latent site {site!r}")


def weights_in(trace: Trace, site: str = "z") -> Weights:
    """Return the values of a guide's latent sites other than z, by name."""
    return {n["name"]: n["value"] for n in _of_weights(trace, site)}


def run_given(program: Program, weights: Weights, *args: Any) -> Any:
    """Return what a program returns when its latent sites have the given values."""
    with pyro.get_param_store().scope(), poutine.block(), Assign(weights):
        return program(*args)


def log_probs(fn: Any) -> Tensor:
    """Return log p(z = k), (N, K), of a distribution with a finite support."""
    if isinstance(fn, dist.Categorical):
        logits: Tensor = fn.logits
        return logits
    support = fn.enumerate_support(expand=False)
    values: Tensor = fn.log_prob(support)
    return values.movedim(0, -1)


def weighted(weight: Tensor | float) -> AbstractContextManager[object]:
    """Return a handler in which each datum counts as often as its weight, (N,), says."""
    handler: AbstractContextManager[object] = poutine.scale(scale=weight)
    return handler


def trace_of(program: Program, *args: Any, **kwargs: Any) -> Trace:
    """Run a program and return its trace."""
    # A store of its own: the global one would tie together two models in one process. Hidden from
    # handlers around it: a guide that asks the model for its gate has no such sites itself.
    store = pyro.get_param_store()
    with store.scope(), poutine.block():
        trace = poutine.trace(program).get_trace(*args, **kwargs)
        if not _PASSED_IN.get():
            _refuse_orphans(store)
        return trace


_PASSED_IN: ContextVar[bool] = ContextVar("passed_in", default=False)


@contextmanager
def parameters_passed_in() -> Iterator[None]:
    """Run programs whose modules hold plain tensors for a while, in the place of parameters.

    A stray `pyro.param` cannot be told from these, and must have been looked for before.
    """
    token = _PASSED_IN.set(True)
    try:
        yield
    finally:
        _PASSED_IN.reset(token)


def _refuse_orphans(store: ParamStoreDict) -> None:
    """Raise an error for a parameter that no module holds: the next run would make it anew.

    A module's parameters are in the store as they are, so that what is not an `nn.Parameter` was
    made by `pyro.param` itself.
    """
    for name, value in store.named_parameters():
        if not isinstance(value, nn.Parameter):
            raise InputError(
                f"pyro.param({name!r}) belongs to no module and would never be trained",
                remedy="make it a PyroParam, or an nn.Parameter, of a PyroModule",
            )


def samples(trace: Trace) -> list[Any]:
    """Return the sample sites of a trace, its plates left out."""
    return [
        node
        for node in trace.nodes.values()
        if node["type"] == "sample" and type(node["fn"]).__name__ != "_Subsample"
    ]


def observed(trace: Trace) -> list[Any]:
    """Return the observed sites of a trace; a factor outside of every plate observes nothing."""
    return [n for n in samples(trace) if n["is_observed"] and not _is_factor(n)]


def _is_factor(node: Any) -> bool:
    return isinstance(node["fn"], Unit) and not node["cond_indep_stack"]


def _of_weights(trace: Trace, site: str) -> list[Any]:
    return [n for n in samples(trace) if n["name"] != site and not n["is_observed"]]
