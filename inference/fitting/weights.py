r"""The posterior of the weights: its density, its curvature, draws of it.

    f(v) = log p(y | x, v) + log p(v),    v all weights as one vector, scales by their logarithm

z is summed out, so that f is smooth in v; the Jacobian of the scales belongs to log p(v).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.guides import DrawnGuide, LaplaceGuide, Seeded
from pyromoe.inference.files.arviz_versions import pareto_k
from pyromoe.inference.fitting.derivatives import jacobian
from pyromoe.inference.fitting.labels import matched
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.nuts import draw
from pyromoe.inference.fitting.probabilities import log_jacobian, log_probabilities, to_tensors
from pyromoe.models import log_joint

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data.divide import Data

    Report = Callable[[float, str], None]

LARGEST = 1e8
"""No weight of a usable posterior is larger."""
DRAWS = 200
"""Draws from which the ELBO and Pareto's k are estimated."""
ENOUGH = 1000
"""Rows by which the experts of two draws are matched."""


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
        self.x, self.y = to_tensors(data.whole("a posterior of weights"), spec)
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


def complete(
    spec: Spec,
    data: Data,
    model: MixtureOfExperts,
    guide: WeightedGuide,
    report: Report,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Find what the guide of the weights still lacks; return what is to be said of it.

    Args:
        spec: of the fit.
        data: the rows.
        model: fitted.
        guide: fitted; the curvature of a Laplace guide, or the draws of NUTS, are put into it.
        report: called with the share that is done and what is being done.
        checkpoints: where each chain of NUTS is saved, and taken from.

    Raises:
        NumericalError: where a Laplace guide is not at a maximum, or has no width to speak of.
    """
    weights = guide.weights
    if not weights.spread:
        return {}
    posterior = LogPosterior(model, guide, data, spec)
    if isinstance(weights, DrawnGuide):
        found = draw(posterior.with_slope, weights, spec, report, checkpoints)
        number_alike(posterior, weights)
        return found
    if isinstance(weights, LaplaceGuide):
        curve(posterior, weights)
    ratios = log_ratios(posterior, DRAWS, spec.seed)
    return {"elbo": float(ratios.mean()), "pareto_k": pareto_k(ratios.numpy())}


def number_alike(posterior: LogPosterior, weights: DrawnGuide) -> None:
    """Number the experts of every draw as they are at the point, by the rows that they share."""
    some = slice(None, None, -(-len(posterior.x) // ENOUGH))
    x, y = posterior.x[some], posterior.y[some]
    each = [weights.vector(), *weights.kept.flatten(0, 1)]
    given = [weights.weights_at(v) for v in each]
    shares = [log_probabilities(posterior.model, w, x, y).softmax(-1).numpy() for w in given]
    orders = torch.from_numpy(np.stack(matched(shares)[1:]))
    weights.order.copy_(orders.view_as(weights.order))


def curve(posterior: LogPosterior, weights: LaplaceGuide) -> None:
    """Put the inverse of the curvature at the mode into a Laplace guide.

    Raises:
        NumericalError: where f is not curved downwards in every direction, or so little that draws
            have no end: where a scale of a prior is 0, nothing depends on its logarithm.
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
    v, _ = weights.draws(Seeded(0), DRAWS)
    drawn = [t for one in v for t in weights.weights_at(one).values()]
    if not all(bool((t.abs() < LARGEST).all()) for t in drawn):
        what = "guide.weights laplace: the posterior is nearly flat in some direction"
        raise NumericalError(f"{what}; choose mean_field or full_rank, or priors of kind normal")
