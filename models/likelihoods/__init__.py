"""The families p(y | z, x), by name: one file each."""

from __future__ import annotations

from pyromoe.models.likelihoods.bernoulli import Bernoulli
from pyromoe.models.likelihoods.beta import Beta
from pyromoe.models.likelihoods.binomial import Binomial
from pyromoe.models.likelihoods.categorical import Categorical
from pyromoe.models.likelihoods.gamma import Gamma
from pyromoe.models.likelihoods.joint import Joint
from pyromoe.models.likelihoods.likelihood import Likelihood
from pyromoe.models.likelihoods.mixed import Mixed, Noise
from pyromoe.models.likelihoods.multivariate_normal import MultivariateNormal
from pyromoe.models.likelihoods.negative_binomial import NegativeBinomial
from pyromoe.models.likelihoods.normal import Normal
from pyromoe.models.likelihoods.ordinal import Ordinal
from pyromoe.models.likelihoods.poisson import Poisson
from pyromoe.models.likelihoods.skew_normal import SkewNormal
from pyromoe.models.likelihoods.student_t import StudentT
from pyromoe.models.likelihoods.zero_inflated_poisson import ZeroInflatedPoisson

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Gamma",
    "Joint",
    "Likelihood",
    "Mixed",
    "MultivariateNormal",
    "NegativeBinomial",
    "Noise",
    "Normal",
    "Ordinal",
    "Poisson",
    "SkewNormal",
    "StudentT",
    "ZeroInflatedPoisson",
]

FAMILIES: dict[str, type[Likelihood]] = {
    f.family: f
    for f in (
        *(Normal, MultivariateNormal, StudentT, SkewNormal),
        *(Bernoulli, Binomial, Categorical, Ordinal),
        *(Poisson, NegativeBinomial, ZeroInflatedPoisson),
        *(Gamma, Beta),
    )
}
"""Every family by its name in a spec."""
