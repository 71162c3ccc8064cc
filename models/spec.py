"""What a user may write in a specification, with every default.

Reading a file into a `Spec`, with positions for the messages, is `pyromoe.models.spec_file`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pyromoe.models.family_settings import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Gamma,
    Likelihood,
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
from pyromoe.models.model_settings import Data, ExpertPrior, Experts, Prior, Priors, Split
from pyromoe.models.responses import RESPONSES, families
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
        Likelihood, Field(discriminator="family", description="Distribution of the response.")
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

    @model_validator(mode="after")
    def _check_extras(self) -> Spec:
        family, data = self.likelihood.family, self.data
        response = RESPONSES[family]
        if data.offset is not None and response.link is None:
            what = f"an offset means nothing in family {family}: added to all, it cancels"
            raise problem(what, "remove it", at=("data", "offset"))
        if data.exposure is not None and response.link != "log":
            what = f"family {family} has no log link"
            remedy = f"use it with {', '.join(families('log'))}"
            raise problem(what, remedy, at=("data", "exposure"))
        if data.trials is not None and not response.trials:
            what = f"family {family} has no trials"
            raise problem(what, "remove it, or set family: binomial", at=("data", "trials"))
        if data.trials is None and response.trials:
            remedy = "name a column, or write a number, such as trials: 10"
            what = f"required for family {family}, but missing"
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
