r"""Each expert takes a share of what the experts before it have left.

    log p(z = k | x) = log v_k + sum_{j<k} log(1 - v_j),    v_k = sigmoid(b_k + w_k . x),  v_K = 1

The first K - 1 sticks have a prior that empties experts which the data do not need: b_k is normal
with the mean and variance of the logit of Beta(1, c), digamma(1) - digamma(c) and trigamma(1) +
trigamma(c); without predictors that is a Dirichlet process of concentration c, cut off at K, up to
the shape of the logit. Emptying needs b integrated out, since a single value would pay nothing for
an expert more, so the gate carries q(b_k) = Normal(m_k, s_k^2) and replaces both logarithms by
lower bounds of their expectations, with t = m_k + w_k . x and u^2 = t^2 + s_k^2:

    E log v_k >= log sigmoid(u) + (t - u) / 2,    E log(1 - v_k) >= log sigmoid(u) - (t + u) / 2

exact as s falls to 0. What they sum to below 1 is lost in normalising, and log_factor gives it back
with the KL of q from the prior: maximised is a lower bound of log p(y), b integrated out. Slopes
are single values. Blei and Jordan (2006); Jaakkola and Jordan (2000); Ren et al. (2011).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from pyro.nn import PyroSample
from torch import Tensor, nn

from pyromoe.models.gates.gate import Gate

if TYPE_CHECKING:
    from pyromoe.models.gates.gate import Coefficient
    from pyromoe.models.priors import Kind

FIRST_SD = 0.1


class StickBreaking(Gate):
    """Slopes, and a normal distribution of the intercept, for each of K - 1 sticks.

    Args:
        inputs: D; sticks that do not depend on x where it is 0.
        num_experts: K, the truncation.
        generator: where the first values are drawn from.
        concentration: c; the smaller, the fewer experts are expected.

    >>> import torch
    >>> from pyromoe.models.gates import StickBreaking
    >>> gate = StickBreaking(inputs=0, num_experts=3)
    >>> gate(torch.zeros(1, 0)).softmax(-1).detach()  # nearly alike at first, (N, K)
    tensor([[0.3336, 0.3332, 0.3332]])
    """

    def __init__(
        self,
        inputs: int,
        num_experts: int,
        generator: torch.Generator | None = None,
        *,
        concentration: float = 0.1,
    ) -> None:
        super().__init__()
        sticks = num_experts - 1
        value = torch.empty(inputs, sticks)
        self.slope = nn.Parameter(value.normal_(0, max(1, inputs) ** -0.5, generator=generator))
        alike = -torch.arange(sticks, 0, -1).to(value).log()  # every expert with 1 / K
        self.mean = nn.Parameter(alike)
        self.log_sd = nn.Parameter(torch.full((sticks,), math.log(FIRST_SD)))
        one, c = torch.tensor([1.0, concentration], dtype=torch.float64)
        self.prior_mean = float(one.digamma() - c.digamma())
        self.prior_sd = float((one.polygamma(1) + c.polygamma(1)).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Return the bounds of E log p(z = k | x), (N, K); they sum to 1 or less."""
        slope = self.slope.reshape(self.slope.shape[-2:])  # Pyro's Predictive pads it
        t = self.mean + x @ slope  # (N, K - 1)
        u = (t.square() + (2 * self.log_sd).exp()).sqrt()
        both = nn.functional.logsigmoid(u)
        zero = t.new_zeros(len(t), 1)
        log_left = (both - (t + u) / 2).cumsum(-1)
        return torch.cat([both + (t - u) / 2, zero], -1) + torch.cat([zero, log_left], -1)

    def log_terms(self, x: Tensor) -> Tensor | None:
        """Return the logarithms of the sums over k, (N,)."""
        found: Tensor = self(x).logsumexp(-1)
        return found

    def log_factor(self, x: Tensor, size: int, weight: Tensor | float = 1.0) -> Tensor | None:
        """Return these, added up, less KL(q(b) || p(b))."""
        ratio = self.log_sd - math.log(self.prior_sd)
        shift = (self.mean - self.prior_mean) / self.prior_sd
        kl = ((2 * ratio).exp() + shift.square() - 1) / 2 - ratio
        each = super().log_factor(x, size, weight)
        return None if each is None else each - kl.sum()

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make the slopes latent sites: Normal(0, scale^2), independent."""
        start = self.slope.detach().clone()
        prior = dist.Normal(torch.zeros_like(start), scale).to_event(2)
        del self.slope
        setattr(self, "slope", PyroSample(prior))  # noqa: B010  # no longer a parameter
        return {"slope": start}

    def coefficients(self) -> list[Coefficient]:
        """Return slopes, (K - 1, D), intercepts and their deviations, (K - 1,), in log odds."""
        return [
            ("gate_slope", ("stick", "gate_predictor"), self.slope.T),
            ("gate_intercept", ("stick",), self.mean),
            ("gate_intercept_sd", ("stick",), self.log_sd.exp()),
        ]
