"""Settings of the data: which column plays which part, and what is done with the rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pyromoe.models.specs.settings import (
    Columns,
    Location,
    Name,
    Names,
    Responses,
    Section,
    Trials,
    problem,
)


class Split(Section):
    """Which rows are kept back to test the fit."""

    test: Annotated[float, Field(ge=0, lt=1, description="Share of the rows kept back.")] = 0.2
    by: Annotated[Literal["random"], Field(description="How the test rows are chosen.")] = "random"


class Missing(Section):
    """What is done about missing values."""

    responses: Annotated[
        Literal["refuse", "drop", "marginalise"],
        Field(
            description="A missing response is an error, removes the row, or is summed out, so "
            "that the row's other responses, or those of its group, still count."
        ),
    ] = "refuse"
    predictors: Annotated[
        Literal["refuse", "drop", "indicate"],
        Field(
            description="A missing predictor is an error, removes the row, or is set to its "
            "column's mean (a name to no level), with a column that is 1 where it is missing."
        ),
    ] = "refuse"


class Stream(Section):
    """How a table is read that is not held in memory."""

    buffer: Annotated[
        int,
        Field(
            ge=2,
            le=10**9,
            description="Rows held in memory for shuffling: half of them are fitted to while the "
            "others are read.",
        ),
    ] = 2**20


class Data(Section):
    """The table, and the part that each column plays."""

    file: Annotated[
        Location | None,
        Field(
            description="A .csv, .csv.gz or .parquet file, or a folder of .parquet files, relative "
            "to the specification."
        ),
    ] = None
    dataset: Annotated[
        Name | None,
        Field(description="A dataset that comes with scikit-learn or statsmodels, e.g. digits."),
    ] = None
    response: Annotated[
        Responses | None,
        Field(
            description="Column to predict, or a list of several that share one z; a dataset may "
            "have one of its own."
        ),
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
    group: Annotated[
        Name | None,
        Field(
            description="Column of names: rows with the same one share one z, and the gate sees "
            "the first of them."
        ),
    ] = None
    weights: Annotated[
        Name | None,
        Field(description="Column of numbers above 0: how often each row counts in the fit."),
    ] = None
    missing: Annotated[
        Missing, Field(description="Whether missing values are refused, dropped or allowed for.")
    ] = Missing()
    standardise: Annotated[
        Literal["none", "predictors", "predictors_and_response"],
        Field(description="Which numeric columns are shifted to mean 0 and scaled to spread 1."),
    ] = "predictors_and_response"
    split: Annotated[Split, Field(description="Rows kept back to test the fit.")] = Split()
    stream: Annotated[
        Stream | None,
        Field(
            description="Read the table again and again, a part at a time, where it is larger than "
            "memory; {} for the defaults. Left out: it is held in memory."
        ),
    ] = None

    @property
    def responses(self) -> list[str]:
        """The columns to predict; none where the dataset has its own."""
        if isinstance(self.response, list):
            return self.response
        return [] if self.response is None else [self.response]

    @model_validator(mode="after")
    def _check_columns(self) -> Data:
        if self.file is not None and self.dataset is not None:
            raise problem("file is given too", "keep one of file and dataset", at=("dataset",))
        if self.response is None and self.dataset is None:
            raise problem("required, but missing", "name the column to predict", at=("response",))
        if self.offset is not None and self.exposure is not None:
            remedy = "keep one of offset and exposure"
            raise problem("offset is given too", remedy, at=("exposure",))
        if self.stream is not None and self.group is not None:
            what = "a table that is streamed has no groups: their rows may be far apart"
            raise problem(what, "remove data.group, or data.stream", at=("group",))
        if self.predictors == "all":
            return self
        for i, name in enumerate(self.predictors):
            if name in self.responses:
                what = f"'{name}' is {'the' if len(self.responses) == 1 else 'a'} response"
                raise problem(what, "remove it here", at=("predictors", i))
        known = set(self.predictors)
        for i, name in enumerate(self.categorical):
            if name not in known:
                raise problem(
                    f"'{name}' is not a predictor",
                    "list it under data.predictors too, or remove it",
                    at=("categorical", i),
                )
        return self
