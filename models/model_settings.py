"""Settings of the model and its data: what p(y | x) is, with every default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pyromoe.models.settings import (
    Columns,
    Location,
    Name,
    Names,
    Positive,
    Section,
    Trials,
    Widths,
    problem,
)


class Split(Section):
    """Which rows are kept back to test the fit."""

    test: Annotated[float, Field(ge=0, lt=1, description="Share of the rows kept back.")] = 0.2
    by: Annotated[Literal["random"], Field(description="How the test rows are chosen.")] = "random"


class Data(Section):
    """The table, and the part that each column plays."""

    file: Annotated[
        Location | None,
        Field(description="A .csv, .csv.gz or .parquet file, relative to the specification."),
    ] = None
    dataset: Annotated[
        Name | None,
        Field(description="A dataset that comes with scikit-learn or statsmodels, e.g. digits."),
    ] = None
    response: Annotated[
        Name | None, Field(description="Column to predict; a dataset may have one of its own.")
    ] = None
    predictors: Annotated[
        Columns, Field(description="Columns to predict from; all means all but the response.")
    ] = "all"
    categorical: Names = Field(
        default=[], description="Predictors whose values are names, even if they look like numbers."
    )
    offset: Annotated[
        Name | None,
        Field(description="Column added to each expert's linear predictor of the location."),
    ] = None
    exposure: Annotated[
        Name | None,
        Field(description="Column whose logarithm is the offset, for families with a log link."),
    ] = None
    trials: Annotated[
        Trials | None,
        Field(description="Trials of each row, for family binomial: a column, or one number."),
    ] = None
    standardise: Annotated[
        Literal["none", "predictors", "predictors_and_response"],
        Field(description="Which numeric columns are shifted to mean 0 and scaled to spread 1."),
    ] = "predictors_and_response"
    split: Annotated[Split, Field(description="Rows kept back to test the fit.")] = Split()

    @model_validator(mode="after")
    def _check_columns(self) -> Data:
        if self.file is not None and self.dataset is not None:
            raise problem("file is given too", "keep one of file and dataset", at=("dataset",))
        if self.response is None and self.dataset is None:
            raise problem("required, but missing", "name the column to predict", at=("response",))
        if self.offset is not None and self.exposure is not None:
            remedy = "keep one of offset and exposure"
            raise problem("offset is given too", remedy, at=("exposure",))
        if self.predictors == "all":
            return self
        if self.response in self.predictors:
            at = ("predictors", self.predictors.index(self.response))
            raise problem(f"'{self.response}' is the response", "remove it here", at=at)
        known = set(self.predictors)
        for i, name in enumerate(self.categorical):
            if name not in known:
                raise problem(
                    f"'{name}' is not a predictor",
                    "list it under data.predictors too, or remove it",
                    at=("categorical", i),
                )
        return self


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


class Experts(Network):
    """The K functions that predict the response."""

    number: Annotated[int, Field(ge=1, le=4096, description="How many experts, K.")] = 4
    kind: Annotated[Literal["linear", "mlp"], Field(description="Form of each expert.")] = "linear"
    mix: Annotated[
        Literal["parameters", "log_likelihoods", "likelihoods"],
        Field(
            description="What is averaged over the experts when z is relaxed to weights: "
            "their outputs, their log densities, or their densities."
        ),
    ] = "log_likelihoods"


class Prior(Section):
    """A prior on weights; kind none leaves plain maximum likelihood."""

    kind: Annotated[Literal["none", "normal"], Field(description="Form of the prior.")] = "normal"
    scale: Positive | None = Field(
        default_factory=lambda known: None if known["kind"] == "none" else 1.0,
        description="Its standard deviation, for kind normal only; 1.0 if left out.",
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


class ExpertPrior(Prior):
    """The prior on the weights of the experts."""

    scale: Positive | None = Field(
        default_factory=lambda known: None if known["kind"] == "none" else 2.5,
        description="Its standard deviation, for kind normal only; 2.5 if left out.",
    )


class Priors(Section):
    """Priors on the weights, for standardised predictors."""

    experts: Annotated[ExpertPrior, Field(description="Prior of the experts.")] = ExpertPrior()
    gate: Annotated[Prior, Field(description="Prior of the gate.")] = Prior()
