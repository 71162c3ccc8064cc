r"""Priors of the weights of a bank of networks.

    normal        w ~ Normal(0, s^2)
    laplace       w ~ Laplace(0, s)
    horseshoe     w = u t l c / sqrt(c^2 + t^2 l^2),   u ~ Normal(0, 1),   l ~ HalfCauchy(1),
                  t ~ HalfCauchy(0.1),   c = s
    hierarchical  w_k = m + t u_k,   u_k ~ Normal(0, 1),   m ~ Normal(0, s^2),
                  t ~ HalfNormal(s / 25)

The last two are written with standardised weights u, so that neither a sampler nor a single value
falls into the funnel of a small t (Betancourt and Girolami, 2015). The horseshoe is the regularised
one (Piironen and Vehtari, 2017): coefficients are near 0, or at most of size s. The hierarchical
prior pools the experts: m is what they have in common, t how far they are from it, each its own
for every layer. A single network, as a gate is, has m = 0 and t ~ HalfNormal(s). Intercepts are
normal under laplace and horseshoe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroSample
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["normal", "laplace", "horseshoe", "hierarchical"]
GLOBAL = 0.1
"""The scale of the horseshoe's t."""
POOLED = 0.04
"""The scale of the hierarchical t among several networks, as a share of s."""


@dataclass(frozen=True)
class Prior:
    """How a tensor becomes latent sites, and how it is read from them.

    Attributes:
        place: makes the sites of the tensor with a name, its prior of some spread; returns the
            values at which they give back the tensor, by name.
        read: returns the tensor, as the sites are.
    """

    place: Callable[[PyroModule, str, Tensor, float], dict[str, Tensor]]
    read: Callable[[PyroModule, str], Tensor]


def _site(module: PyroModule, name: str, prior: dist.TorchDistribution, like: Tensor) -> Tensor:
    """Make a latent site and return where it starts."""
    if name in dict(module.named_parameters(recurse=False)):
        delattr(module, name)
    setattr(module, name, PyroSample(prior.to_event(like.dim())))
    return like.detach().clone()


def _normal(module: PyroModule, name: str, value: Tensor, spread: float) -> dict[str, Tensor]:
    prior = dist.Normal(torch.zeros_like(value), spread)
    return {name: _site(module, name, prior, value)}


def _laplace(module: PyroModule, name: str, value: Tensor, spread: float) -> dict[str, Tensor]:
    prior = dist.Laplace(torch.zeros_like(value), spread)
    return {name: _site(module, name, prior, value)}


def _horseshoe(module: PyroModule, name: str, value: Tensor, spread: float) -> dict[str, Tensor]:
    start, one = value.detach(), torch.ones_like(value)
    module.register_buffer(f"{name}_slab", one.new_tensor(spread), persistent=False)
    local, tied = one, one.new_tensor(GLOBAL)
    width = local * tied * spread / (spread**2 + (local * tied).square()).sqrt()
    return {
        name: _site(module, name, dist.Normal(torch.zeros_like(value), 1.0), start / width),
        f"{name}_local": _site(module, f"{name}_local", dist.HalfCauchy(one), local),
        f"{name}_global": _site(module, f"{name}_global", dist.HalfCauchy(tied), tied),
    }


def _of_horseshoe(module: PyroModule, name: str) -> Tensor:
    u, local, tied, slab = (
        getattr(module, f"{name}{end}") for end in ("", "_local", "_global", "_slab")
    )
    width = tied * local
    found: Tensor = u * width * slab / (slab.square() + width.square()).sqrt()
    return found


def _hierarchical(module: PyroModule, name: str, value: Tensor, spread: float) -> dict[str, Tensor]:
    start, size = value.detach(), value.new_tensor(spread)
    found = {}
    if len(value) > 1:
        size = POOLED * size
        mean, name_of_mean = torch.zeros_like(value[:1]), f"{name}_mean"
        prior = dist.Normal(torch.zeros_like(mean), spread)
        found[name_of_mean] = _site(module, name_of_mean, prior, mean)
    half, name_of_spread = size / 2, f"{name}_spread"
    found[name_of_spread] = _site(module, name_of_spread, dist.HalfNormal(size), half)
    standard = dist.Normal(torch.zeros_like(value), 1.0)
    return {name: _site(module, name, standard, start / half), **found}


def _of_hierarchical(module: PyroModule, name: str) -> Tensor:
    found: Tensor = getattr(module, name) * getattr(module, f"{name}_spread")
    return found + getattr(module, f"{name}_mean", 0.0)


def _as_it_is(module: PyroModule, name: str) -> Tensor:
    value: Tensor = getattr(module, name)
    return value


PRIORS: dict[Kind, Prior] = {
    "normal": Prior(_normal, _as_it_is),
    "laplace": Prior(_laplace, _as_it_is),
    "horseshoe": Prior(_horseshoe, _of_horseshoe),
    "hierarchical": Prior(_hierarchical, _of_hierarchical),
}


def is_hyperparameter(site: str) -> bool:
    """Whether a site belongs to a prior, and is no weight that p(y | x) could tell from others."""
    return is_positive(site) or site.endswith("_mean")


def is_positive(site: str) -> bool:
    """Whether a site of a prior is a scale, which is above 0."""
    return site.rsplit("_", 1)[-1] in ("local", "global", "spread")
