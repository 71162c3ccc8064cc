r"""Draws of a density by the No-U-Turn sampler, Pyro's (Hoffman and Gelman, 2014).

Only f(v) = log p(v) and its gradient are asked for, both at once, and thousands of times: they are
a graph, compiled where there is much to draw. What Pyro itself does between two of them takes
longer than a compiled small model.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro.infer import MCMC, NUTS

from pyromoe.inference.files.arviz_versions import quiet_arviz
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.steps import graph as graphs
from pyromoe.inference.steps.replay import replayed
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.guides import DrawnGuide
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.models import Spec

    Report = Callable[[float, str], None]
    Slope = Callable[[Tensor], list[Tensor]]

DEPTH = 8
"""A path of NUTS doubles at most so often."""
LONG = 1000
"""From so many transitions on, mode auto compiles: that takes as long as they gain."""


class _Potential(torch.autograd.Function):
    """-f with the gradient that a graph has found beside it."""

    @staticmethod
    def forward(context: Any, v: Tensor, with_slope: Any) -> Tensor:
        value, slope = with_slope(v)
        context.save_for_backward(slope)
        return -torch.as_tensor(value)

    @staticmethod
    def backward(context: Any, *given: Tensor) -> tuple[Tensor, None]:
        (slope,) = context.saved_tensors
        return -given[0] * slope, None


def draw(
    with_slope: Slope,
    weights: DrawnGuide,
    spec: Spec,
    report: Report,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Draw the weights, all chains from the mode; put them into the guide.

    Args:
        with_slope: f and its gradient.
        weights: at the mode.
        spec: of the fit.
        report: called with the share that is done and what is being done.
        checkpoints: with the chains that have ended, which are not repeated.

    Returns:
        How many transitions diverged, R-hat and effective sample size of f, and how it was
        evaluated.
    """
    mode = weights.vector()
    chains, number, _ = weights.kept.shape
    with pyro.validation_enabled(False):
        report(0.0, "NUTS, making its graph")
        transitions = chains * (spec.guide.warmup + number)
        fast, ran = evaluated(with_slope, mode, spec.fit.mode, transitions)
        levels = []
        for chain in range(chains):

            def tell(kernel: Any, samples: Any, stage: str, i: int, chain: int = chain) -> None:
                size = spec.guide.warmup if "arm" in stage else number
                share = (i + 1) / size / 2 + (0.0 if "arm" in stage else 0.5)
                text = f"NUTS, chain {chain + 1} of {chains}, {stage.lower()}"
                report(min(1.0, (chain + share) / chains), text)

            name = f"chain {chain + 1}"
            ended = None if checkpoints is None else checkpoints.take(name)
            if ended is None:
                kept, diverged = chain_from(fast, mode, spec, (chain, number), tell)
                ended = Saved({"kept": kept, "diverging": diverged})
                if checkpoints is not None:
                    checkpoints.keep(name, ended)
            weights.kept[chain].copy_(ended.tensors["kept"])
            weights.diverging[chain].copy_(ended.tensors["diverging"])
            levels.append([float(fast(v)[0]) for v in weights.kept[chain]])
    found = {"divergences": int(weights.diverging.sum()), **_convergence(np.array(levels))}
    return {"nuts": {**found, "mode": ran}}


def evaluated(with_slope: Slope, at: Tensor, mode: str, transitions: int) -> tuple[Slope, str]:
    """Return the same function as `fit.mode` asks, and what became of it.

    Auto does not measure, so that the same spec gives the same draws every time.

    Args:
        with_slope: f and its gradient.
        at: a point, (P,).
        mode: as in a spec.
        transitions: how many are to be made.
    """
    if mode == "eager":
        return with_slope, mode
    try:
        captured = graphs.capture(with_slope, [at])
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return with_slope, "eager"
    graph, ran = replayed(captured), "captured"
    if mode == "compiled" or (mode == "auto" and transitions >= LONG):
        with suppress(Exception):  # no compiler, or what inductor raises
            graph, ran = graphs.compiled(captured, [at]), "compiled"

    def fast(v: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return graph(v)

    return fast, ran


def chain_from(
    with_slope: Slope,
    mode: Tensor,
    spec: Spec,
    chain: tuple[int, int],
    tell: Callable[..., None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the draws of one chain of NUTS, (S, P), and whether their transition diverged, (S,).

    Args:
        with_slope: f and its gradient.
        mode: near where it starts, (P,).
        spec: has the seed and the length of the warm-up.
        chain: the chain's number, and S.
        tell: called after every transition, as Pyro's `hook_fn`.

    Raises:
        NumericalError: where Pyro gives up, as it does at weights at which f has no value.
    """
    number, size = chain
    with torch.random.fork_rng(devices=[]):
        pyro.set_rng_seed((spec.seed * 1009 + number) % 2**32)
        start = {"v": mode + 0.1 * torch.randn_like(mode)}
        potential: Any = _Potential.apply
        kernel = NUTS(
            potential_fn=lambda at: potential(at["v"], with_slope),
            max_tree_depth=DEPTH,
        )
        sampler = MCMC(
            kernel,
            num_samples=size,
            warmup_steps=spec.guide.warmup,
            initial_params=start,
            hook_fn=tell,
            disable_progbar=True,
        )
        try:
            sampler.run()
        except (RuntimeError, ValueError) as error:
            what = f"guide.weights nuts: chain {number + 1} broke down ({one_line(str(error))})"
            remedy = "choose a narrower prior, of kind normal for instance, or mean_field"
            raise NumericalError(f"{what}; {remedy}") from error
        found = sampler.diagnostics().get("divergences", {})
    diverging = torch.zeros(size, dtype=torch.bool)
    diverging[[draw for each in found.values() for draw in each]] = True
    return sampler.get_samples()["v"], diverging


def _convergence(levels: NDArray[np.float64]) -> dict[str, float]:
    """Return R-hat and effective sample size of a quantity, (C, S), that has no labels."""
    arviz = quiet_arviz()
    return {"r_hat": float(arviz.rhat(levels)), "ess": float(arviz.ess(levels))}
