r"""The posterior of the weights: its density, its curvature, draws of it.

    f(v) = log p(y | x, v) + log p(v),    v all weights as one vector, scales by their logarithm

z is summed out, so that f is smooth in v; the Jacobian of the scales belongs to log p(v).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro.infer import MCMC, NUTS

from pyromoe.guides import DrawnGuide, LaplaceGuide, Seeded
from pyromoe.inference import graph as graphs
from pyromoe.inference.density import log_jacobian, to_tensors
from pyromoe.inference.loop import NumericalError
from pyromoe.inference.standard_errors import jacobian
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data import Data

    Report = Callable[[float, str], None]

DRAWS = 200
"""Draws from which the ELBO and Pareto's k are estimated."""
DEPTH = 8
"""A path of NUTS doubles at most so often."""


class LogPosterior:
    """f as a function of the weights as one vector; other parameters stay as they are.

    Args:
        model: the mixture.
        guide: whose weights give the vector its order.
        data: the rows.
        spec: their types.
    """

    def __init__(
        self, model: MixtureOfExperts, guide: WeightedGuide, data: Data, spec: Spec
    ) -> None:
        self.model, self.weights = model, guide.weights
        self.x, self.y = to_tensors(data.train, spec)
        jacobian_of_y = log_jacobian(data.encoding, self.y) * model.weight(self.x)
        self.constant = float(jacobian_of_y.sum())

    def __call__(self, v: Tensor) -> Tensor:
        """Return f, a scalar in nats on the original scale of y, at v, (P,)."""
        weights = self.weights.weights_at(v)
        joint = log_joint(self.model, self.x, self.y, weights=weights)
        each = joint.enumerate().logsumexp(0)
        total = (each * joint.scale).sum() + joint.log_prior_of_weights + self.constant
        for name in self.weights.positive:
            total = total + weights[name].log().sum()
        return total

    def with_slope(self, v: Tensor) -> list[Tensor]:
        """Return f and its gradient, (P,)."""
        leaf = v.detach().requires_grad_()
        with torch.enable_grad():
            value = self(leaf)
            (slope,) = torch.autograd.grad(value, leaf)
        return [value.detach(), slope.detach()]


def log_ratios(posterior: LogPosterior, number: int, seed: int) -> Tensor:
    """Return f(v) - log q(v), (S,), at draws v of the guide; their mean is the ELBO, nats."""
    v, log_q = posterior.weights.draws(Seeded(seed), number)
    with torch.no_grad():
        f = torch.stack([posterior(one) for one in v])
    return (f - log_q).double()


def pareto_k(ratios: Tensor) -> float:
    """Return Pareto's k of importance ratios, (S,): above 0.7 the guide is far from the posterior.

    Vehtari et al. (2024); Yao et al. (2018).
    """
    _, k = _arviz().psislw(ratios.numpy())
    return float(k)


def complete(
    spec: Spec, data: Data, model: MixtureOfExperts, guide: WeightedGuide, report: Report
) -> dict[str, Any]:
    """Find what the guide of the weights still lacks; return what is to be said of it.

    Args:
        spec: of the fit.
        data: the rows.
        model: fitted.
        guide: fitted; the curvature of a Laplace guide, or the draws of NUTS, are put into it.
        report: called with the share that is done and what is being done.

    Raises:
        NumericalError: where a Laplace guide is not at a maximum.
    """
    weights = guide.weights
    if not weights.spread:
        return {}
    posterior = LogPosterior(model, guide, data, spec)
    if isinstance(weights, DrawnGuide):
        return draw(posterior, weights, spec, report)
    if isinstance(weights, LaplaceGuide):
        curve(posterior, weights)
    ratios = log_ratios(posterior, DRAWS, spec.seed)
    return {"elbo": float(ratios.mean()), "pareto_k": pareto_k(ratios)}


def curve(posterior: LogPosterior, weights: LaplaceGuide) -> None:
    """Put the inverse of the curvature at the mode into a Laplace guide.

    Raises:
        NumericalError: where f is not curved downwards in every direction.
    """

    def slope(v: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(posterior(v), v, create_graph=True)
        return found

    information = -jacobian(slope, weights.vector()).double()
    size, directions = torch.linalg.eigh((information + information.mT) / 2)
    if float(size[0]) <= 0:
        what = "guide.weights laplace: the weights are not at a maximum of the posterior"
        raise NumericalError(f"{what}; set fit.optimiser: lbfgs, or choose mean_field")
    weights.root.copy_(directions / size.sqrt())


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
    posterior: LogPosterior, weights: DrawnGuide, spec: Spec, report: Report
) -> dict[str, Any]:
    """Draw the weights by NUTS, z summed out, all chains from the mode; put them into the guide.

    Returns:
        How many transitions diverged, and R-hat and effective sample size of f.
    """
    mode = weights.vector()
    with pyro.validation_enabled(False):
        graph: Callable[..., list[Tensor]] = graphs.capture(posterior.with_slope, [mode])

        def fast(v: Tensor) -> list[Tensor]:
            with torch.no_grad():
                return graph(v)

        chains, number, _ = weights.kept.shape
        diverged, levels = 0, []
        for chain in range(chains):

            def tell(kernel: Any, samples: Any, stage: str, i: int, chain: int = chain) -> None:
                size = spec.guide.warmup if "arm" in stage else number
                share = (i + 1) / size / 2 + (0.0 if "arm" in stage else 0.5)
                text = f"NUTS, chain {chain + 1} of {chains}, {stage.lower()}"
                report(min(1.0, (chain + share) / chains), text)

            kept, bad = chain_from(fast, mode, spec, (chain, number), tell)
            weights.kept[chain].copy_(kept)
            diverged += bad
            levels.append([float(fast(v)[0]) for v in kept])
    return {"nuts": {"divergences": diverged, **_convergence(np.array(levels))}}


def chain_from(
    with_slope: Callable[[Tensor], list[Tensor]],
    mode: Tensor,
    spec: Spec,
    chain: tuple[int, int],
    tell: Callable[..., None] | None = None,
) -> tuple[Tensor, int]:
    """Return the draws of one chain of NUTS, (S, P), and how many transitions diverged.

    Args:
        with_slope: f and its gradient.
        mode: near where it starts, (P,).
        spec: has the seed and the length of the warm-up.
        chain: the chain's number, and S.
        tell: called after every transition, as Pyro's `hook_fn`.
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
        sampler.run()
        found = sampler.diagnostics().get("divergences", {})
    return sampler.get_samples()["v"], sum(len(each) for each in found.values())


def _convergence(levels: NDArray[np.float64]) -> dict[str, float]:
    """Return R-hat and effective sample size of a quantity, (C, S), that has no labels."""
    arviz = _arviz()
    return {"r_hat": float(arviz.rhat(levels)), "ess": float(arviz.ess(levels))}


def _arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its own announcement, on import
        import arviz
    return arviz
