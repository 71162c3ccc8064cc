"""The families p(y | z, x), by name: one file each."""

from __future__ import annotations

from pyromoe.models.likelihoods.bernoulli import Bernoulli as Bernoulli
from pyromoe.models.likelihoods.beta import Beta as Beta
from pyromoe.models.likelihoods.binomial import Binomial as Binomial
from pyromoe.models.likelihoods.categorical import Categorical as Categorical
from pyromoe.models.likelihoods.gamma import Gamma as Gamma
from pyromoe.models.likelihoods.joint import Joint as Joint
from pyromoe.models.likelihoods.likelihood import Likelihood as Likelihood
from pyromoe.models.likelihoods.mixed import Mixed as Mixed, Noise as Noise
from pyromoe.models.likelihoods.multivariate_normal import (
    MultivariateNormal as MultivariateNormal,
)
from pyromoe.models.likelihoods.negative_binomial import NegativeBinomial as NegativeBinomial
from pyromoe.models.likelihoods.normal import Normal as Normal
from pyromoe.models.likelihoods.ordinal import Ordinal as Ordinal
from pyromoe.models.likelihoods.poisson import Poisson as Poisson
from pyromoe.models.likelihoods.skew_normal import SkewNormal as SkewNormal
from pyromoe.models.likelihoods.student_t import StudentT as StudentT
from pyromoe.models.likelihoods.zero_inflated_poisson import (
    ZeroInflatedPoisson as ZeroInflatedPoisson,
)

FAMILIES: dict[str, type[Likelihood]] = {
    f.family: f
    for f in (
        *(Normal, MultivariateNormal, StudentT, SkewNormal),
        *(Bernoulli, Binomial, Categorical, Ordinal),
        *(Poisson, NegativeBinomial, ZeroInflatedPoisson),
        *(Gamma, Beta),
    )
}
