"""What a user may write in a specification, with every default.

`pyromoe.models.read_spec` reads a file into one, with positions for the messages.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pyromoe.models.specs.data_settings import Data, Missing, Split
from pyromoe.models.specs.family_settings import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Gamma,
    Likelihood,
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
from pyromoe.models.specs.fit_settings import Fit, Guide, Treatment
from pyromoe.models.specs.gate_settings import (
    CosineGate,
    EqualGate,
    Gate,
    GaussianGate,
    NetworkGate,
    StickBreakingGate,
    TopKGate,
)
from pyromoe.models.specs.model_settings import ExpertPrior, Experts, Prior, Priors
from pyromoe.models.specs.model_spec import ModelSpec
from pyromoe.models.specs.output_settings import Compare, Output, Select
from pyromoe.models.specs.settings import Name
from pyromoe.models.tables.responses import RESPONSES

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
    "GaussianGate",
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
    "Select",
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


class Spec(ModelSpec):
    """A mixture of experts, its data, and how to fit it.

    >>> from pyromoe.models import Spec
    >>> tree = {"data": {"dataset": "engel"}, "likelihood": {"family": "normal"}}
    >>> spec = Spec.model_validate(tree)
    >>> spec.experts.number, spec.treatment.name
    (4, 'enumerate')
    """

    priors: Annotated[
        Priors, Field(description="Priors on the weights of standardised predictors.")
    ] = Priors()
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
    select: Annotated[Select, Field(description="The number of experts.")] = Select()
    output: Annotated[Output, Field(description="What is written.")] = Output()
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of all that is random.")] = 0

    @model_validator(mode="after")
    def _fill_priors(self) -> Spec:
        """Fill in the defaults of priors, which follow from other sections (docs/weights.md)."""
        standardised = self.data.standardise == "predictors_and_response" and all(
            RESPONSES[family].standardised for own in self.families for family in own
        )
        spread = self.guide.weights != "point"
        # Sections are not to be assigned to by anybody else.
        object.__setattr__(self, "priors", self.priors.filled(standardised, spread))
        return self
