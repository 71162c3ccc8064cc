"""Settings of the model: what p(y | x) is, with every default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pyromoe.models.specs.settings import (
    Columns,
    Names,
    Positive,
    Section,
    Widths,
    problem,
)


class Network(Section):
    """A function of the predictors: the settings that experts and gate share."""

    kind: Annotated[
        Literal["constant", "linear", "mlp"], Field(description="Form of the function.")
    ] = "linear"
    # The default depends on `kind`, so it cannot be a constant.
    hidden: Widths = Field(
        default_factory=lambda known: [32] if known["kind"] == "mlp" else [],
        description="Widths of the hidden layers, for kind mlp only; [32] if left out.",
    )
    activation: Annotated[
        Literal["relu", "tanh", "silu", "gelu"], Field(description="Nonlinearity of kind mlp.")
    ] = "relu"
    dropout: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Probability with which a hidden unit is left out in a step of adam, adamw "
            "or sgd, for kind mlp only; nothing is left out when rows are predicted.",
        ),
    ] = 0.0
    predictors: Annotated[
        Columns, Field(description="The predictors it sees: all, or some of data.predictors.")
    ] = "all"

    @field_validator("hidden")
    @classmethod
    def _check_hidden(cls, hidden: list[int], info: ValidationInfo) -> list[int]:
        kind = info.data.get("kind")
        if hidden and kind not in ("mlp", None):
            raise problem(f"kind {kind} has no hidden layers", "remove it, or set kind: mlp")
        if not hidden and kind == "mlp":
            raise problem("kind mlp needs a hidden layer", "write [32], or set kind: linear")
        return hidden

    @field_validator("dropout")
    @classmethod
    def _check_dropout(cls, dropout: float, info: ValidationInfo) -> float:
        kind = info.data.get("kind")
        if dropout and kind not in ("mlp", None):
            what = f"kind {kind} has no hidden units to leave out"
            raise problem(what, "remove it, or set kind: mlp")
        return dropout


class Experts(Network):
    """The K functions that predict the response."""

    number: Annotated[int, Field(ge=1, le=4096, description="How many experts, K.")] = 4
    kind: Annotated[Literal["linear", "mlp"], Field(description="Form of each expert.")] = "linear"
    shared: Names = Field(
        default=[],
        description="Predictors whose coefficients are the same in all experts, kind linear.",
    )
    intercept: Annotated[
        Literal["per_expert", "shared"],
        Field(description="An intercept for each expert, or one for all, kind linear."),
    ] = "per_expert"
    noise: Annotated[
        bool,
        Field(
            description="Whether the last expert is for outliers: a constant density over the "
            "range of the response."
        ),
    ] = False
    mix: Annotated[
        Literal["parameters", "log_likelihoods", "likelihoods"],
        Field(
            description="What is averaged over the experts when z is relaxed to weights: "
            "their outputs, their log densities, or their densities."
        ),
    ] = "log_likelihoods"

    @model_validator(mode="after")
    def _check_experts(self) -> Experts:
        if self.kind != "linear" and (self.shared or self.intercept == "shared"):
            at = "shared" if self.shared else "intercept"
            raise problem("only linear experts share coefficients", "set kind: linear", at=(at,))
        for i, name in enumerate(self.shared):
            if self.predictors != "all" and name not in self.predictors:
                what = f"'{name}' is not one of experts.predictors"
                raise problem(what, "list it there too, or remove it", at=("shared", i))
        if self.noise and self.number < 2:
            remedy = "set number to 2 or more"
            raise problem("an expert for outliers needs another beside it", remedy, at=("noise",))
        return self


class Prior(Section):
    """A prior on weights; kind none leaves plain maximum likelihood."""

    kind: Annotated[
        Literal["none", "normal", "laplace", "horseshoe", "hierarchical"],
        Field(
            description="Form of the prior: laplace and horseshoe pull small coefficients to 0, "
            "hierarchical pulls the experts' to what they have in common, by how much is learned."
        ),
    ] = "normal"
    scale: Positive | None = Field(
        default_factory=lambda known: None if known["kind"] == "none" else 1.0,
        description="Its standard deviation, or how large a coefficient may be; not for kind "
        "none; 1.0 if left out.",
    )

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float | None, info: ValidationInfo) -> float | None:
        kind = info.data.get("kind")
        if scale is not None and kind == "none":
            raise problem("kind none has no scale", "remove it, or set kind: normal")
        if scale is None and kind not in ("none", None):
            raise problem(f"kind {kind} needs a scale", "write a number above 0")
        return scale


class ExpertPrior(Prior):
    """The prior on the weights of the experts."""

    scale: Positive | None = Field(
        default_factory=lambda known: None if known["kind"] == "none" else 2.5,
        description="Its standard deviation, or how large a coefficient may be; not for kind "
        "none. Left out: 1.0 for kind normal and a standardised response, otherwise 2.5.",
    )


class ScalePrior(Section):
    """The prior on what the likelihood learns beside the networks: scales and dispersions."""

    kind: Annotated[
        Literal["none", "normal"],
        Field(
            description="normal: of the logarithm of a scale, around where it starts. Left out: "
            "none for weights at a point, normal where they have a posterior."
        ),
    ] = "none"
    scale: Positive | None = Field(
        default_factory=lambda known: None if known["kind"] == "none" else 0.5,
        description="Its standard deviation, for kind normal only; 0.5 if left out.",
    )

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float | None, info: ValidationInfo) -> float | None:
        kind = info.data.get("kind")
        if scale is not None and kind == "none":
            raise problem("kind none has no scale", "remove it, or set kind: normal")
        if scale is None and kind == "normal":
            raise problem("kind normal needs a scale", "write a number above 0")
        return scale


class Priors(Section):
    """Priors on the weights, for standardised predictors."""

    experts: Annotated[ExpertPrior, Field(description="Prior of the experts.")] = ExpertPrior()
    gate: Annotated[Prior, Field(description="Prior of the gate.")] = Prior()
    scales: Annotated[
        ScalePrior, Field(description="Prior of the likelihood's own parameters.")
    ] = ScalePrior()

    def filled(self, standardised: bool, spread: bool) -> Priors:
        """Return the same with what is left out.

        Args:
            standardised: whether the response is on a scale of its own spread, where a slope
                above 1 is rare.
            spread: whether weights have a posterior; it is none where a scale has no prior.
        """
        update: dict[str, Section] = {}
        experts = self.experts
        if standardised and experts.kind == "normal" and "scale" not in experts.model_fields_set:
            update["experts"] = experts.model_copy(update={"scale": 1.0})
        any_prior = experts.kind != "none" or self.gate.kind != "none"
        if spread and any_prior and "kind" not in self.scales.model_fields_set:
            update["scales"] = ScalePrior(kind="normal")
        return self.model_copy(update=update) if update else self
