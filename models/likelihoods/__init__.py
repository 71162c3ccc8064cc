"""The families p(y | z, x), by name: one file each."""

from __future__ import annotations

from pyromoe.models.likelihoods.bernoulli import Bernoulli as Bernoulli
from pyromoe.models.likelihoods.categorical import Categorical as Categorical
from pyromoe.models.likelihoods.likelihood import Likelihood as Likelihood
from pyromoe.models.likelihoods.normal import Normal as Normal
from pyromoe.models.likelihoods.poisson import Poisson as Poisson

FAMILIES: dict[str, type[Likelihood]] = {
    f.family: f for f in (Bernoulli, Categorical, Normal, Poisson)
}
