"""What a user may write in a specification, with every default.

Reading a file into a `Spec`, with positions for the messages, is `pyromoe.models.spec_file`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pyromoe.models.data_settings import Data, Missing, Split
from pyromoe.models.family_settings import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Gamma,
    Likelihood,
    Likelihoods,
    Mixed,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Ordinal,
    Poisson,
    SkewNormal,
    StudentT,
    ZeroInflatedPoisson,
)
from pyromoe.models.fit_settings import Compare, Fit, Guide, Output, Treatment
from pyromoe.models.gate_settings import (
    CosineGate,
    EqualGate,
    Gate,
    NetworkGate,
    StickBreakingGate,
    TopKGate,
    linear_if_unsaid,
)
from pyromoe.models.model_settings import ExpertPrior, Experts, Prior, Priors
from pyromoe.models.responses import RESPONSES, Family, families
from pyromoe.models.settings import Name, Section, problem

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Compare",
    "CosineGate",
    "Data",
    "EqualGate",
    "ExpertPrior",
    "Experts",
    "Fit",
    "Gamma",
    "Gate",
    "Guide",
    "Likelihood",
    "Missing",
    "Mixed",
    "MultivariateNormal",
    "NegativeBinomial",
    "NetworkGate",
    "Normal",
    "Ordinal",
    "Output",
    "Poisson",
    "Prior",
    "Priors",
    "SkewNormal",
    "Spec",
    "Split",
    "StickBreakingGate",
    "StudentT",
    "TopKGate",
    "Treatment",
    "ZeroInflatedPoisson",
]


def _long_form(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class Spec(Section):
    """A mixture of experts, its data, and how to fit it."""

    version: Annotated[Literal[1], Field(description="Version of this format.")] = 1
    data: Annotated[Data, Field(description="The table.")]
    likelihood: Annotated[
        Likelihoods,
        Field(description="Distribution of the response, or a list of one for each of several."),
    ]
    experts: Annotated[Experts, Field(description="The experts.")] = Experts()
    gate: Annotated[
        Gate,
        Field(discriminator="kind", description="The gate."),
        BeforeValidator(linear_if_unsaid),
    ] = NetworkGate()
    priors: Annotated[Priors, Field(description="Priors on the weights.")] = Priors()
    objective: Annotated[
        Literal["marginal", "jensen", "elbo", "iwae"] | None,
        Field(description="What is maximised; left out: what the treatment estimates first."),
    ] = None
    guide: Annotated[Guide, Field(description="Approximation to the posterior.")] = Guide()
    treatment: Annotated[
        Treatment,
        BeforeValidator(_long_form, json_schema_input_type=Treatment | Name),
        Field(description="How the gradient gets through z: a name, or a name with options."),
    ] = Treatment()
    fit: Annotated[Fit, Field(description="The optimiser and its steps.")] = Fit()
    compare: Annotated[Compare, Field(description="What is set side by side.")] = Compare()
    output: Annotated[Output, Field(description="What is written.")] = Output()
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Start of all chance.")] = 0

    @property
    def likelihoods(self) -> list[Likelihood]:
        """A likelihood for each response, or one for a vector of responses."""
        if isinstance(self.likelihood, list):
            return self.likelihood
        vector = isinstance(self.likelihood, MultivariateNormal)
        return [self.likelihood] * max(1, 1 if vector else len(self.data.responses))

    @property
    def families(self) -> list[tuple[Family, ...]]:
        """The families of each likelihood: one for all experts, or one for each expert."""
        return [
            tuple(each.family for each in one.experts) if isinstance(one, Mixed) else (one.family,)
            for one in self.likelihoods
        ]

    @model_validator(mode="after")
    def _check_responses(self) -> Spec:
        several = len(self.data.responses)
        if isinstance(self.likelihood, list) and len(self.likelihood) != max(1, several):
            what = f"{len(self.likelihood)} likelihoods for {max(1, several)} responses"
            remedy = "give one for each of data.response, in the same order"
            raise problem(what, remedy, at=("likelihood",))
        for own in self.families:
            responses = [RESPONSES[family] for family in own]
            if any(r.vector for r in responses) and isinstance(self.likelihood, list):
                remedy = "write it alone: likelihood: {family: multivariate_normal}"
                what = "multivariate_normal is for all responses together"
                raise problem(what, remedy, at=("likelihood",))
            if responses[0].vector and not isinstance(self.data.response, list):
                remedy = "list them, as in response: [y1, y2]"
                what = f"family {own[0]} needs several responses"
                raise problem(what, remedy, at=("data", "response"))
            varied = len(own) > 1
            if varied and len(own) != self.experts.number:
                what = f"{len(own)} families for {self.experts.number} experts"
                raise problem(what, "give one for each expert", at=("likelihood",))
            if (varied or self.experts.noise) and any(
                r.read is None or r.trials for r in responses
            ):
                what = "experts of different families, or noise, are for plain numbers alone"
                raise problem(what, "choose other families", at=("likelihood",))
            if (varied or self.experts.noise) and self.experts.mix == "parameters":
                what = "experts of different families have no parameters in common to mix"
                raise problem(what, "use log_likelihoods", at=("experts", "mix"))
        return self

    @model_validator(mode="after")
    def _check_extras(self) -> Spec:
        data, known = self.data, [f for families in self.families for f in families]
        responses = [RESPONSES[family] for family in known]
        links = {r.link for r in responses}
        named = " and ".join(sorted({*known}))
        if data.offset is not None and links == {None}:
            what = f"an offset means nothing in family {named}: added to all, it cancels"
            raise problem(what, "remove it", at=("data", "offset"))
        if data.offset is not None and len(links) > 1 and len(self.families) == 1:
            what = f"an offset would mean different things in families {named}"
            raise problem(what, "remove it", at=("data", "offset"))
        if data.offset is not None and len(data.responses) > 1 and not links & {"log", "logit"}:
            what = "an offset has no unit in common with several real responses"
            raise problem(what, "subtract it from the response", at=("data", "offset"))
        if data.exposure is not None and "log" not in links:
            what = f"family {named} has no log link"
            remedy = f"use it with {', '.join(families('log'))}"
            raise problem(what, remedy, at=("data", "exposure"))
        trials = any(r.trials for r in responses)
        if data.trials is not None and not trials:
            what = f"family {named} has no trials"
            raise problem(what, "remove it, or set family: binomial", at=("data", "trials"))
        if data.trials is None and trials:
            remedy = "name a column, or write a number, such as trials: 10"
            what = f"required for family {named}, but missing"
            raise problem(what, remedy, at=("data", "trials"))
        return self

    @model_validator(mode="after")
    def _check_gate(self) -> Spec:
        gate, number = self.gate, self.experts.number
        levels = gate.levels if isinstance(gate, NetworkGate) else None
        if levels is not None and math.prod(levels) != number:
            what = f"{' x '.join(map(str, levels))} leaves are not the {number} experts"
            remedy = f"set experts.number: {math.prod(levels)}, or other levels"
            raise problem(what, remedy, at=("gate", "levels"))
        if isinstance(gate, TopKGate) and gate.active > number:
            what, remedy = f"{gate.active} of {number} experts", f"write at most {number}"
            raise problem(what, remedy, at=("gate", "active"))
        return self

    @model_validator(mode="after")
    def _check_predictors(self) -> Spec:
        if self.data.predictors == "all":
            return self
        known = set(self.data.predictors)
        for part in ("experts", "gate"):
            names = getattr(self, part).predictors
            for i, name in enumerate([] if names == "all" else names):
                if name not in known:
                    raise problem(
                        f"'{name}' is not one of data.predictors",
                        "list it there too, or remove it",
                        at=(part, "predictors", i),
                    )
        return self
