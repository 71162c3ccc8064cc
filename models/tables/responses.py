"""What each family asks of the response: known without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pyromoe.models.tables.columns import counts, numbers, positives, proportions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.models.tables.columns import FloatArray
    from pyromoe.models.tables.table import Rows

Family = Literal[
    "normal",
    "multivariate_normal",
    "student_t",
    "skew_normal",
    "bernoulli",
    "binomial",
    "categorical",
    "ordinal",
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "gamma",
    "beta",
]


@dataclass(frozen=True, slots=True)
class Response:
    """What a family's response is.

    Attributes:
        link: what the expert's first output, and so an offset, is of the mean or location; None
            where an offset means nothing.
        read: returns the column as numbers, every value checked; None where it holds classes.
        standardised: whether shifting and scaling it leaves it in the family.
        classes: how many classes it may have at most; 0 where it has none.
        ordered: whether its classes are.
        trials: whether it is a count of successes in trials.
        vector: whether it may be several columns at once.
    """

    link: Literal["identity", "log", "logit"] | None
    read: Callable[[Rows, str], FloatArray] | None = None
    standardised: bool = False
    classes: float = 0
    ordered: bool = False
    trials: bool = False
    vector: bool = False

    @property
    def codes(self) -> bool:
        """Whether a model takes the response as integers, the codes of its classes."""
        return self.classes > 2


REAL = Response("identity", numbers, standardised=True)
COUNT = Response("log", counts)
RESPONSES: dict[Family, Response] = {
    "normal": REAL,
    "multivariate_normal": Response("identity", numbers, standardised=True, vector=True),
    "student_t": REAL,
    "skew_normal": REAL,
    "bernoulli": Response("logit", classes=2),
    "binomial": Response("logit", counts, trials=True),
    "categorical": Response(None, classes=float("inf")),
    "ordinal": Response("logit", classes=float("inf"), ordered=True),
    "poisson": COUNT,
    "negative_binomial": COUNT,
    "zero_inflated_poisson": COUNT,
    "gamma": Response("log", positives),
    "beta": Response("logit", proportions),
}


def families(*links: str) -> tuple[str, ...]:
    """Return the families with one of some links."""
    return tuple(name for name in get_args(Family) if RESPONSES[name].link in links)
