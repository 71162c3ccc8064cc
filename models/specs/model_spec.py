"""The part of a specification that says what p(y | x) is, and of what data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pyromoe.models.specs.data_settings import Data
from pyromoe.models.specs.family_settings import Likelihood, Likelihoods, Mixed, MultivariateNormal
from pyromoe.models.specs.gate_settings import (
    Gate,
    GaussianGate,
    NetworkGate,
    TopKGate,
    linear_if_unsaid,
)
from pyromoe.models.specs.model_settings import Experts
from pyromoe.models.specs.settings import Section, problem
from pyromoe.models.tables.responses import RESPONSES, families

if TYPE_CHECKING:
    from pyromoe.models.tables.responses import Family


class ModelSpec(Section):
    """A mixture of experts and its data."""

    version: Annotated[Literal[1], Field(description="Version of this format.")] = 1
    data: Annotated[Data, Field(description="The table, and what each column is for.")]
    likelihood: Annotated[
        Likelihoods,
        Field(description="Distribution of the response, or a list of one for each of several."),
    ]
    experts: Annotated[Experts, Field(description="The functions that predict the response.")] = (
        Experts()
    )
    gate: Annotated[
        Gate,
        Field(
            discriminator="kind",
            description="The probability of each expert, given the predictors.",
        ),
        BeforeValidator(linear_if_unsaid),
    ] = NetworkGate()

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
    def _check(self) -> ModelSpec:
        check_responses(self)
        check_extras(self)
        check_gate(self)
        check_predictors(self)
        return self


def check_responses(spec: ModelSpec) -> None:
    """Refuse likelihoods that do not fit the responses, or each other."""
    several = len(spec.data.responses)
    if isinstance(spec.likelihood, list) and len(spec.likelihood) != max(1, several):
        what = f"{len(spec.likelihood)} likelihoods for {max(1, several)} responses"
        remedy = "give one for each of data.response, in the same order"
        raise problem(what, remedy, at=("likelihood",))
    for own in spec.families:
        responses, varied = [RESPONSES[family] for family in own], len(own) > 1
        if any(r.vector for r in responses) and (varied or isinstance(spec.likelihood, list)):
            remedy = "write it alone: likelihood: {family: multivariate_normal}"
            what = "multivariate_normal is for all responses together"
            raise problem(what, remedy, at=("likelihood",))
        if responses[0].vector and not isinstance(spec.data.response, list):
            remedy = "list them, as in response: [y1, y2]"
            what = f"family {own[0]} needs several responses"
            raise problem(what, remedy, at=("data", "response"))
        if varied and len(own) != spec.experts.number:
            what = f"{len(own)} families for {spec.experts.number} experts"
            raise problem(what, "give one for each expert", at=("likelihood",))
        if (varied or spec.experts.noise) and any(r.read is None or r.trials for r in responses):
            what = "experts of different families, or noise, are for plain numbers alone"
            raise problem(what, "choose other families", at=("likelihood",))
        if (varied or spec.experts.noise) and spec.experts.mix == "parameters":
            what = "experts of different families have no parameters in common to mix"
            raise problem(what, "use log_likelihoods", at=("experts", "mix"))


def check_extras(spec: ModelSpec) -> None:
    """Refuse offset, exposure and trials where they mean nothing."""
    data, known = spec.data, [f for families in spec.families for f in families]
    responses = [RESPONSES[family] for family in known]
    links = {r.link for r in responses}
    named = " and ".join(sorted({*known}))
    if data.offset is not None and links == {None}:
        what = f"an offset means nothing in family {named}: added to all, it cancels"
        raise problem(what, "remove it", at=("data", "offset"))
    if data.offset is not None and len(links) > 1 and len(spec.families) == 1:
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


def check_gate(spec: ModelSpec) -> None:
    """Refuse a gate that does not fit the number of experts."""
    gate, number = spec.gate, spec.experts.number
    levels = gate.levels if isinstance(gate, NetworkGate) else None
    if levels is not None and math.prod(levels) != number:
        what = f"{' x '.join(map(str, levels))} leaves are not the {number} experts"
        remedy = f"set experts.number: {math.prod(levels)}, or other levels"
        raise problem(what, remedy, at=("gate", "levels"))
    if isinstance(gate, TopKGate) and gate.active > number:
        what, remedy = f"{gate.active} of {number} experts", f"write at most {number}"
        raise problem(what, remedy, at=("gate", "active"))
    if isinstance(gate, GaussianGate) and spec.data.standardise == "none":
        what = "a gaussian gate takes predictors of mean 0 and spread 1, and these stay as they are"
        raise problem(what, "set data.standardise: predictors", at=("gate", "kind"))


def check_predictors(spec: ModelSpec) -> None:
    """Refuse predictors of experts or gate that are not among those of the data."""
    if spec.data.predictors == "all":
        return
    known = set(spec.data.predictors)
    for part in ("experts", "gate"):
        names = getattr(spec, part).predictors
        for i, name in enumerate([] if names == "all" else names):
            if name not in known:
                raise problem(
                    f"'{name}' is not one of data.predictors",
                    "list it there too, or remove it",
                    at=(part, "predictors", i),
                )
