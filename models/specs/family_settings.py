"""Settings of the likelihood: which family p(y | z, x) is, and its options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from pyromoe.models.specs.settings import Distinct, Name, Section


class Scaled(Section):
    """What families of real numbers have in common."""

    scale: Annotated[
        Literal["per_expert", "shared", "predicted"],
        Field(description="One noise scale an expert, one for all, or an output of the expert."),
    ] = "per_expert"


class Normal(Scaled):
    """A real response with Gaussian noise."""

    family: Annotated[Literal["normal"], Field(description="Real numbers.")]


class MultivariateNormal(Section):
    """Several real responses with correlated Gaussian noise."""

    family: Annotated[
        Literal["multivariate_normal"], Field(description="Several columns of real numbers.")
    ]
    covariance: Annotated[
        Literal["full", "diagonal", "shared", "shared_diagonal"],
        Field(description="A covariance for each expert, whole or diagonal, or one for all."),
    ] = "full"


class StudentT(Scaled):
    """A real response with noise of heavy tails."""

    family: Annotated[Literal["student_t"], Field(description="Real numbers with outliers.")]


class SkewNormal(Scaled):
    """A real response with noise that leans to one side."""

    family: Annotated[Literal["skew_normal"], Field(description="Real numbers, skewed.")]


class Bernoulli(Section):
    """A response with two classes."""

    family: Annotated[Literal["bernoulli"], Field(description="Two classes.")]


class Binomial(Section):
    """A response of successes in a known number of trials, `data.trials`."""

    family: Annotated[Literal["binomial"], Field(description="Successes in data.trials trials.")]


class Categorical(Section):
    """A response with two or more classes."""

    family: Annotated[Literal["categorical"], Field(description="Two or more classes.")]


class Ordinal(Section):
    """A response with two or more classes in order."""

    family: Annotated[Literal["ordinal"], Field(description="Two or more classes in order.")]
    levels: Annotated[
        Annotated[list[Name], Field(min_length=2), Distinct] | None,
        Field(description="The classes from the lowest to the highest; not needed for numbers."),
    ] = None


class Poisson(Section):
    """A response of counts."""

    family: Annotated[Literal["poisson"], Field(description="Counts 0, 1, 2, ...")]


class NegativeBinomial(Section):
    """A response of counts that vary more than a Poisson's."""

    family: Annotated[Literal["negative_binomial"], Field(description="Overdispersed counts.")]


class ZeroInflatedPoisson(Section):
    """A response of counts with more zeros than a Poisson's."""

    family: Annotated[
        Literal["zero_inflated_poisson"], Field(description="Counts with too many zeros.")
    ]


class Gamma(Section):
    """A positive response whose spread is in proportion to its mean."""

    family: Annotated[Literal["gamma"], Field(description="Numbers above 0.")]


class Beta(Section):
    """A response of proportions."""

    family: Annotated[Literal["beta"], Field(description="Numbers strictly between 0 and 1.")]


Single = (
    Normal
    | MultivariateNormal
    | StudentT
    | SkewNormal
    | Bernoulli
    | Binomial
    | Categorical
    | Ordinal
    | Poisson
    | NegativeBinomial
    | ZeroInflatedPoisson
    | Gamma
    | Beta
)

Family = Annotated[Single, Field(discriminator="family")]


class Mixed(Section):
    """A response of one family in some experts and of another in others."""

    family: Annotated[Literal["mixed"], Field(description="A family for each expert.")]
    experts: Annotated[
        list[Family], Field(min_length=1, description="The likelihood of each expert in turn.")
    ]


Likelihood = Annotated[Single | Mixed, Field(discriminator="family")]
Likelihoods = Annotated[
    Annotated[Likelihood, Tag("one")]
    | Annotated[list[Likelihood], Field(min_length=1), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]
"""One for the response, or for each of several responses; or a list of one for each."""
