"""Settings of the likelihood: which family p(y | z, x) is, and its options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pyromoe.models.settings import Distinct, Name, Section


class Scaled(Section):
    """What families of real numbers have in common."""

    scale: Annotated[
        Literal["per_expert", "shared", "predicted"],
        Field(description="One noise scale an expert, one for all, or an output of the expert."),
    ] = "per_expert"


class Normal(Scaled):
    """A real response with Gaussian noise."""

    family: Annotated[Literal["normal"], Field(description="Real numbers.")]


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


Likelihood = (
    Normal
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
