r"""q(weights): normal distributions of all weights together, and what flows make of them.

    v = T(e),    e ~ Normal(0, I),    log q(v) = log N(e) - log |det dT / de|

    mean_field   v = m + s e                                     P variances
    low_rank     v = m + s e + F e',    F of shape (P, r)        P variances and r directions
    full_rank    v = m + L e,           L lower triangular       every covariance
    flow         v = m + s A(e),        A autoregressive         no normal distribution any more

v are all weights as one vector, (P,), scales by their logarithm, whose Jacobian is counted. The
noise e is a site of its own, so that whoever runs the guide decides where chance comes from.
Kucukelbir et al. (2017); Ong, Nott and Smith (2018); Kingma et al. (2016).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import AutoRegressiveNN, PyroModule
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyromoe.guides.noise import Noise

FIRST_SD = 0.05
"""Standard deviation of every weight at the start."""
OPEN = 2.0
"""A flow's stretch starts at 1 and stays below 1 + exp(-OPEN)."""
RANK = 8
"""Directions of a low-rank guide at most."""


def log_normal(e: Tensor) -> Tensor:
    """Return the log density, (S,), of standard normal numbers, (S, P)."""
    return -(e.square() + math.log(2 * math.pi)).sum(-1) / 2


class WeightGuide(PyroModule):
    """A distribution of all latent weights as one vector.

    Args:
        values: where each site starts, by the site's name.
        positive: the sites that are above 0, whose logarithm is an entry of the vector.
        generator: where the first values are drawn from, if chance is needed.

    >>> import torch
    >>> from pyromoe.guides import WEIGHT_GUIDES, Seeded
    >>> guide = WEIGHT_GUIDES["full_rank"]({"w": torch.zeros(2, 3), "b": torch.zeros(2)})
    >>> v, log_q = guide.draws(Seeded(0), 5)
    >>> v.shape, log_q.shape  # (S, P) and (S,)
    (torch.Size([5, 8]), torch.Size([5]))
    """

    spread = True
    """Whether draws differ from each other."""
    chains = 1
    """Draws come in so many runs of one length."""
    more = 0
    """How many numbers of noise there are beside one for each weight."""

    def __init__(
        self,
        values: dict[str, Tensor],
        positive: Collection[str] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.names, self.positive = list(values), frozenset(positive)
        self.shapes = [value.shape for value in values.values()]
        start = [v.log() if n in self.positive else v for n, v in values.items()]
        flat = torch.cat([v.detach().reshape(-1) for v in start])
        self.size = len(flat)
        self.loc = nn.Parameter(flat.clone())
        self.prepare(generator)

    @abstractmethod
    def prepare(self, generator: torch.Generator | None) -> None:
        """Make the other parameters."""

    @abstractmethod
    def transport(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return v, (P,), and log q(v) - log N(e), a scalar in nats, at noise e, (P + more,)."""

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: no weight has a value of its own."""
        return {}

    def stored(self) -> dict[str, Tensor]:
        """Return what is trained, by name."""
        return {f"guide.weights.{name}": p for name, p in self.named_parameters()}

    def values(self) -> dict[str, Tensor]:
        """Return the weights at the centre of the distribution, by the site's name."""
        return self.weights_at(self.transport(self.loc.new_zeros(self.size + self.more))[0])

    def weights_at(self, v: Tensor) -> dict[str, Tensor]:
        """Return the weights, by the site's name, at a vector of them, (P,)."""
        parts = v.split([shape.numel() for shape in self.shapes])
        shaped = {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}
        return {n: p.exp() if n in self.positive else p for n, p in shaped.items()}

    @torch.no_grad()
    def draws(self, noise: Noise, number: int) -> tuple[Tensor, Tensor]:
        """Return draws of the vector v, (S, P), and their log q(v), (S,), nats."""
        e = noise.normal(self.loc.new_zeros(self.size + self.more), number)
        moved = [self.transport(one) for one in e]
        log_q = torch.stack([density for _, density in moved]) + log_normal(e)
        return torch.stack([v for v, _ in moved]), log_q

    def forward(self) -> dict[str, Tensor]:
        """Draw the weights."""
        zero = self.loc.new_zeros(self.size + self.more)
        standard = dist.Normal(zero, 1.0).to_event(1)
        e = pyro.sample("weights_noise", standard, infer={"is_auxiliary": True})
        v, log_density = self.transport(e)
        found = {}
        for name, value in self.weights_at(v).items():
            if name in self.positive:
                log_density = log_density - value.log().sum()
            law = dist.Delta(value, log_density=log_density, event_dim=value.dim())
            found[name] = pyro.sample(name, law)
            log_density = torch.zeros_like(log_density)  # said once
        return found


class MeanField(WeightGuide):
    """Independent normal distributions."""

    def prepare(self, generator: torch.Generator | None) -> None:
        """Make the scales."""
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(FIRST_SD)))

    def transport(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `WeightGuide.transport`."""
        return self.loc + self.log_scale.exp() * noise, -self.log_scale.sum()


class LowRank(WeightGuide):
    """Normal, its covariance of low rank but for variances of each weight's own."""

    def prepare(self, generator: torch.Generator | None) -> None:
        """Make the scales and the directions."""
        self.more = min(RANK, self.size)
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(FIRST_SD)))
        value = torch.empty(self.size, self.more).normal_(generator=generator)
        self.factor = nn.Parameter(value.to(self.loc) * FIRST_SD / self.more**0.5 / 10)

    def transport(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `WeightGuide.transport`; the determinant by the matrix determinant lemma."""
        scale = self.log_scale.exp()
        v = self.loc + scale * noise[: self.size] + self.factor @ noise[self.size :]
        d = (v - self.loc) / scale
        f = self.factor / scale[:, None]
        small = torch.eye(self.more, dtype=f.dtype, device=f.device) + f.mT @ f
        root = torch.linalg.cholesky(small)
        projected = torch.linalg.solve_triangular(root, (f.mT @ d)[:, None], upper=False)
        square = d.square().sum() - projected.square().sum()
        log_det = self.log_scale.sum() + root.diagonal().log().sum()
        constant = self.more / 2 * math.log(2 * math.pi)
        return v, noise.square().sum() / 2 - square / 2 - log_det + constant


class FullRank(WeightGuide):
    """Normal, with every covariance."""

    def prepare(self, generator: torch.Generator | None) -> None:
        """Make the Cholesky factor; what stands above its diagonal is not used."""
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(FIRST_SD)))
        self.lower = nn.Parameter(self.loc.new_zeros(self.size, self.size))

    def transport(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `WeightGuide.transport`."""
        scale = self.log_scale.exp()
        v = self.loc + scale * (noise + self.lower.tril(-1) @ noise)
        return v, -self.log_scale.sum()


class Flow(WeightGuide):
    """An autoregressive flow between the noise and normal distributions."""

    def prepare(self, generator: torch.Generator | None) -> None:
        """Make the flow, which starts near the identity."""
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(FIRST_SD)))
        seed = 0 if generator is None else generator.initial_seed()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # In their own order: one left to chance would have to be kept with the weights.
            order = torch.LongTensor(range(self.size))
            network = AutoRegressiveNN(self.size, [2 * self.size], permutation=order)
        for name, parameter in network.named_parameters():
            if name.startswith("layers.1"):
                nn.init.zeros_(parameter)
        self.network = network.to(self.loc)

    def transport(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `WeightGuide.transport`; entry i is moved and stretched by those before it."""
        move, raw = self.network(noise)
        at_zero = math.log(1 + math.exp(-OPEN))
        stretch = nn.functional.logsigmoid(raw + OPEN) + at_zero
        bent = stretch.exp() * noise + move
        return self.loc + self.log_scale.exp() * bent, -(stretch + self.log_scale).sum()


WEIGHT_GUIDES: dict[str, Callable[..., WeightGuide]] = {
    "mean_field": MeanField,
    "low_rank": LowRank,
    "full_rank": FullRank,
    "flow": Flow,
}
"""The guides of weights that have a spread, by their names in a spec."""
