r"""A normal distribution of the predictors for each expert: a row goes where it is likely.

    p(z = k | x) = w_k N(x; m_k, S_k) / p(x),    p(x) = sum_j w_j N(x; m_j, S_j)

Beside log p(y | x), `density` times log p(x) is maximised: with 1 the joint log p(y, x) of
predictors and response, with 0 log p(y | x) alone. What the predictors look like then says where
the experts lie, which helps where rows are few and normal distributions fit. Xu, Jordan and Hinton
(1995); as cluster-weighted modelling, Gershenfeld (1997) and Ingrassia, Minotti and Vittadini
(2012); between 0 and 1, Bouchard and Triggs (2004).

S_k^-1 = L_k L_k', L_k lower triangular, and where it has a prior, S_k^-1 is Wishart with n = D + 2
degrees of freedom and mean I / s, s = K^(-2 / D) (Fraley and Raftery, 2007). Entries of L are then
independent (Bartlett, 1933):

    L_ii^2 ~ Gamma((n - i + 1) / 2, n s / 2),  i = 1..D,    L_ij ~ Normal(0, 1 / (n s)),  i > j

Where S is diagonal, each entry of its inverse is Wishart by itself, with n = 3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from pyro.nn import PyroSample
from torch import Tensor, nn
from torch.distributions import AffineTransform, ExpTransform

from pyromoe.models.gates.gate import Gate

if TYPE_CHECKING:
    from pyromoe.models.gates.gate import Coefficient
    from pyromoe.models.likelihoods.multivariate_normal import Covariance
    from pyromoe.models.priors import Kind

FIRST_SPREAD = 0.5
"""Of the means, where predictors have 1."""


class Gaussian(Gate):
    """A weight, a mean and a covariance of the predictors for each expert.

    Args:
        inputs: D.
        num_experts: K.
        generator: where the first means are drawn from.
        covariance: "full" or "diagonal" for each expert, or one for all, which makes log odds
            linear in x.
        density: the weight of log p(x) in what is maximised.

    >>> import torch
    >>> from pyromoe.models.gates import Gaussian
    >>> gate = Gaussian(inputs=2, num_experts=3, covariance="diagonal")
    >>> [(name, tuple(values.shape)) for name, _, values in gate.coefficients()]
    [('gate_weight', (3,)), ('gate_mean', (3, 2)), ('gate_sd', (3, 2))]
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        covariance: Covariance = "shared",
        density: float = 1.0,
    ) -> None:
        super().__init__()
        self.density, self.generative = density, density > 0
        number = 1 if covariance.startswith("shared") else num_experts
        self.number, self.inputs = number, inputs
        self.is_full = covariance in ("full", "shared") and inputs > 1
        self.intercept = nn.Parameter(torch.zeros(num_experts))
        mean = torch.empty(num_experts, inputs)
        self.mean = nn.Parameter(mean.normal_(0, FIRST_SPREAD, generator=generator))
        self.log_diagonal = nn.Parameter(torch.zeros(number, inputs))
        within = inputs
        if self.is_full:
            rows, columns = torch.tril_indices(inputs, inputs, -1)
            self.below = nn.Parameter(torch.zeros(number, len(rows)))
            # Of each entry of L, its place among those below the diagonal and a 0 after them.
            places = torch.full((inputs, inputs), len(rows))
            places[rows, columns] = torch.arange(len(rows))
            self.register_buffer("places", places, persistent=False)
            within += len(rows)
        told = (num_experts - 1) * (1 + inputs + (within if number > 1 else 0))
        self.redundant = sum(p.numel() for p in self.parameters()) - told

    def forward(self, x: Tensor) -> Tensor:
        """Return log w_k N(x; m_k, S_k), (N, K)."""
        root = self._root()
        mean = self.mean.reshape(self.mean.shape[-2], 1, self.inputs)  # Pyro's Predictive pads it
        apart = (x - mean) * root[:, None] if root.dim() == 2 else x @ root - mean @ root
        log_size = self.log_diagonal.sum(-1).flatten() - self.inputs * math.log(2 * math.pi) / 2
        weights = self.intercept.flatten().log_softmax(-1)
        return weights + log_size - apart.square().sum(-1).T / 2

    def log_terms(self, x: Tensor) -> Tensor | None:
        """Return `density` times log p(x), (N,)."""
        return self.density * self(x).logsumexp(-1) if self.generative else None

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make everything latent sites: S^-1 Wishart, the others Normal(0, scale^2)."""
        starts = {name: p.detach().clone() for name, p in self.named_parameters()}
        number, inputs = self.mean.shape
        like = starts["log_diagonal"]
        spread = number ** (-2 / max(1, inputs))
        freedom = (inputs if self.is_full else 1) + 2
        left = freedom - torch.arange(inputs).to(like) * self.is_full
        square = dist.Gamma((left / 2).expand_as(like), like.new_tensor(freedom * spread / 2))
        halves = [ExpTransform().inv, AffineTransform(0.0, 0.5)]  # from L_ii^2 to log L_ii
        priors: dict[str, dist.TorchDistribution] = {
            "intercept": dist.Normal(torch.zeros_like(starts["intercept"]), scale),
            "mean": dist.Normal(torch.zeros_like(starts["mean"]), scale),
            "log_diagonal": dist.TransformedDistribution(square, halves),
        }
        if self.is_full:
            deviation = (freedom * spread) ** -0.5
            priors["below"] = dist.Normal(torch.zeros_like(starts["below"]), deviation)
        for name, prior in priors.items():
            delattr(self, name)
            setattr(self, name, PyroSample(prior.to_event(starts[name].dim())))
        return starts

    def coefficients(self) -> list[Coefficient]:
        """Return w, (K,), m and the roots of S's diagonal, (K, D), and correlations, (K, D, D)."""
        root, number = self._root(), len(self.mean)
        inverse = 1 / root if root.dim() == 2 else torch.linalg.inv(root)  # S = inverse' inverse
        sd = inverse if root.dim() == 2 else inverse.square().sum(-2).sqrt()
        found: list[Coefficient] = [
            ("gate_weight", ("expert",), self.intercept.softmax(-1)),
            ("gate_mean", ("expert", "gate_predictor"), self.mean),
            ("gate_sd", ("expert", "gate_predictor"), sd.expand(number, -1)),
        ]
        if self.is_full:
            unit = inverse / sd[:, None]
            both = ("expert", "gate_predictor", "gate_predictor_2")
            found += [("gate_correlation", both, (unit.mT @ unit).expand(number, -1, -1))]
        return found

    def _root(self) -> Tensor:
        """Return L, (K, D, D), or its diagonal, (K, D), or one for all, (1, ...)."""
        diagonal = self.log_diagonal.reshape(self.number, self.inputs).exp()
        if not self.is_full:
            return diagonal
        below = self.below.reshape(self.number, -1)
        entries = torch.cat([below, below.new_zeros(len(below), 1)], -1)
        return entries[:, self.places] + torch.diag_embed(diagonal)
