"""Settings of the gate: what p(z | x) is, with every default.

`form` names the class in `pyromoe.models.gates.GATES`, and `options` are its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag

from pyromoe.models.specs.model_settings import Network
from pyromoe.models.specs.settings import Columns, Distinct, Name, Positive, Section, word_or

Levels = Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=12)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Seen = Annotated[Columns, Field(description="The predictors it sees: all, or some of them.")]


class _Gate(Section):
    """What all settings of a gate have in common."""

    kind: str

    @property
    def form(self) -> str:
        """The name of the gate in the table."""
        return self.kind

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the gate beside its sizes."""
        return self.model_dump(exclude={"kind", "predictors"})


class EqualGate(_Gate):
    """Every expert has probability 1 / K; nothing is learned."""

    kind: Annotated[Literal["equal"], Field(description="1 / K for each expert.")]
    predictors: ClassVar[Sequence[str]] = ()


class NetworkGate(Network, _Gate):
    """A softmax of constants, of linear functions or of a network; a tree of them with levels."""

    kind: Annotated[
        Literal["constant", "linear", "mlp"], Field(description="Form of the logits.")
    ] = "linear"
    levels: Annotated[
        Levels | None,
        Field(
            description="Branches at each level of a tree of softmaxes, from the root; their "
            "product is experts.number. Left out: one softmax."
        ),
    ] = None

    @property
    def form(self) -> str:
        """The name of the gate in the table."""
        return self.kind if self.levels is None else "hierarchical"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the gate beside its sizes."""
        network = self.model_dump(
            include={"hidden", "activation", "dropout"} if self.hidden else set()
        )
        return network if self.levels is None else network | {"levels": self.levels}


class CosineGate(_Gate):
    """Angles between a projection of the predictors and a direction for each expert."""

    kind: Annotated[Literal["cosine"], Field(description="Angles to directions.")]
    predictors: Seen = "all"
    dimensions: Annotated[
        int, Field(ge=2, le=65536, description="Width of the projection of the predictors.")
    ] = 8


class TopKGate(_Gate):
    """A softmax of linear functions in which only the largest few keep probability."""

    kind: Annotated[Literal["top_k"], Field(description="Only the largest logits count.")]
    predictors: Seen = "all"
    active: Annotated[
        int, Field(ge=1, le=4096, description="How many experts keep probability in each row.")
    ] = 2
    balance: Annotated[
        Weight, Field(description="Weight of the load-balance loss, nats a row; 0 leaves it out.")
    ] = 0.01
    z_loss: Annotated[
        Weight, Field(description="Weight of the squared log-sum of logits, nats a row.")
    ] = 0.001


class StickBreakingGate(_Gate):
    """Each expert takes a share of what those before it have left; unneeded ones are emptied."""

    kind: Annotated[Literal["stick_breaking"], Field(description="Shares of what is left.")]
    predictors: Annotated[
        Annotated[Literal["all"], Tag("all")] | Annotated[list[Name], Distinct, Tag("other")],
        word_or("all"),
        Field(description="The predictors it sees: all, or some; [] for sticks without any."),
    ] = "all"
    concentration: Annotated[
        Positive, Field(description="Of the Beta(1, concentration) prior: small for few experts.")
    ] = 0.1


class GaussianGate(_Gate):
    """A normal distribution of the predictors for each expert, fitted to them too."""

    kind: Annotated[Literal["gaussian"], Field(description="Where the predictors lie.")]
    predictors: Seen = "all"
    covariance: Annotated[
        Literal["full", "diagonal", "shared", "shared_diagonal"],
        Field(description="A covariance for each expert, whole or diagonal, or one for all."),
    ] = "shared"
    density: Annotated[
        float,
        Field(ge=0, le=1, description="Weight of log p(x) beside log p(y | x): 1 for the joint."),
    ] = 1.0


def linear_if_unsaid(value: object) -> object:
    """Fill in the kind that a gate has by default."""
    return {"kind": "linear", **value} if isinstance(value, dict) else value


Gate = EqualGate | NetworkGate | CosineGate | TopKGate | StickBreakingGate | GaussianGate
