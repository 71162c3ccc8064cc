"""Settings of the fit: guide, treatment and optimiser, with every default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Tag

from pyromoe.models.specs.settings import Distinct, Name, Section, Widths, word_or

WeightsGuide = Literal["point", "mean_field", "low_rank", "full_rank", "flow", "laplace", "nuts"]


class Guide(Section):
    """The approximation to the posterior."""

    z: Annotated[
        Literal["prior", "amortised", "posterior"] | None,
        Field(description="Distribution of z given the data; left out: what the objective needs."),
    ] = None
    hidden: Widths = Field(
        default=[32], description="Widths of the hidden layers of an amortised guide."
    )
    weights: Annotated[
        WeightsGuide,
        Field(
            description="Distribution of the weights that have a prior: point is one value, the "
            "posterior's mode; laplace is normal around it; mean_field, low_rank and full_rank "
            "are normal, flow is not; nuts draws from the posterior itself."
        ),
    ] = "point"
    warmup: Annotated[
        int,
        Field(ge=10, le=10**6, description="Steps of nuts before draws are kept, each chain."),
    ] = 300


class Treatment(Section):
    """How the gradient gets through z, by name, with the options of that treatment."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[Name, Field(description="A name from `pyromoe treatments`.")] = "enumerate"

    @property
    def options(self) -> dict[str, object]:
        """The settings beside the name; the treatment itself checks them."""
        return dict(self.model_extra or {})


Initialisation = Literal[
    "random", "kmeans_x", "kmeans_xy", "kmeans_residuals", "quantile", "random_partition"
]
Initialisations = Annotated[
    Annotated[Initialisation, Tag("word")]
    | Annotated[list[Initialisation], Field(min_length=1), Distinct, Tag("other")],
    word_or("word"),
]
Stochastic = Literal["adam", "adamw", "sgd"]
Optimiser = Literal["adam", "adamw", "sgd", "em", "lbfgs"]
CONVERGED = ("em", "lbfgs")
"""The optimisers that end where the gradient vanishes."""
DECAY = 0.01
"""The weight decay of adamw where none is named, as in torch."""


class EarlyStopping(Section):
    """Training rows kept back, to stop where they are predicted best."""

    share: Annotated[
        float,
        Field(gt=0, lt=1, description="The part of the training rows that no step sees."),
    ] = 0.1
    patience: Annotated[
        int,
        Field(ge=1, le=10**6, description="Epochs without a better value after which to stop."),
    ] = 20


class Fit(Section):
    """How the parameters are found."""

    optimiser: Annotated[
        Optimiser | None,
        Field(
            description="adam, adamw, sgd take stochastic steps. em and lbfgs, for treatment "
            "enumerate with the objective marginal, maximise the likelihood until its gradient "
            "vanishes, on all rows and in float64. Left out: lbfgs for plain maximum likelihood "
            "in float64 with all rows in a batch (or no batch_size named, and up to 50,000 rows), "
            "adam otherwise."
        ),
    ] = None
    initialisation: Annotated[
        Initialisations | None,
        Field(
            description="Where restarts begin: the networks' random values, or a first assignment "
            "of the rows to experts; a list is gone through in turn. Left out: all for em and "
            "lbfgs, random for the others."
        ),
    ] = None
    learning_rate: Annotated[float, Field(gt=0, le=10, description="Length of a step.")] = 0.01
    schedule: Annotated[
        Literal["constant", "cosine"], Field(description="Course of the learning rate.")
    ] = "constant"
    # The default depends on `optimiser`, so it cannot be a constant.
    weight_decay: float = Field(
        default_factory=lambda known: DECAY if known.get("optimiser") == "adamw" else 0.0,
        ge=0,
        le=1e6,
        description="How fast parameters are pulled to 0: decoupled from the gradient for adamw, "
        "times the parameters added to it for adam and sgd, as in torch. Left out: 0.01 for "
        "adamw, 0 for the others.",
    )
    early_stopping: Annotated[
        EarlyStopping | None,
        Field(
            description="Keep training rows back, stop a restart when their log p(y | x) gets no "
            "better, and return the parameters where it was best; {} for the defaults. Left out: "
            "all rows are fitted to, for all epochs."
        ),
    ] = None
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=10**9), Tag("other")]
        | Annotated[Literal["full"], Tag("full")],
        word_or("full"),
        Field(description="Rows in a step, or full for all of them."),
    ] = 256
    epochs: Annotated[int, Field(ge=1, le=10**6, description="Passes over the rows.")] = 200
    restarts: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Fits from different starts, of which the best is kept; 32 for em and "
            "lbfgs if left out.",
        ),
    ] = 4
    precision: Annotated[
        Literal["float32", "float64"], Field(description="Type of the numbers.")
    ] = "float32"
    device: Annotated[
        Literal["cpu", "cuda"],
        Field(
            description="Where steps are computed: on the CPU, or on a GPU by CUDA; of several "
            "processes on a machine each takes one GPU."
        ),
    ] = "cpu"
    mode: Annotated[
        Literal["auto", "eager", "captured", "compiled"],
        Field(
            description="How steps are run: in Python, as a captured graph (the same bits), or as "
            "one compiled by torch; auto chooses by the work ahead."
        ),
    ] = "auto"
    shards: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="Parts of a batch, each computed by itself and added up in one order, so "
            "that one process and several give the same bits; each process has some of them. Left "
            "out: 1, and 8 under torchrun.",
        ),
    ] = None
    expert_parallel: Annotated[
        bool,
        Field(
            description="Under torchrun, each process holds a share of the experts, and rows go to "
            "those that hold them: for banks of experts that do not fit one device. The same "
            "numbers to rounding; without several processes it changes nothing."
        ),
    ] = False
    checkpoint_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            description="Seconds between two checkpoints, from which an interrupted fit goes on.",
        ),
    ] = 60.0
