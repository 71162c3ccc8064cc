"""What happens in a fit, told as it happens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyromoe
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.divide import Data


class Log(Protocol):
    """Takes what happens in a fit: the name of an event, and its values, which JSON holds.

    `started`: a process begins: `version`, `seed` and what is fitted.
    `resumed`: it goes on with a part: `part`, `step`, and the rows of the `history` so far.
    `row`: a row of the history.
    `checkpoint`: a part is saved: `part`, `step`.
    `retry`: a restart goes back to where its numbers were finite: `restart`, `step`, `why`.
    `alarm`: a restart whose experts collapse, or that is left behind: `restart`, `step`, `what`.
    `stopped`: by a signal or an error: `why`.
    `ended`: log-likelihoods, nats; `steps`, `seconds`.
    """

    def __call__(self, event: str, /, **values: Any) -> None:
        """Take an event."""


def silent(event: str, /, **values: Any) -> None:
    """Keep nothing."""


@contextmanager
def told(log: Log, plan: Plan, data: Data) -> Iterator[None]:
    """Tell that a fit begins, and why, where it stops before its end."""
    spec = plan.spec
    log(
        "started",
        version=pyromoe.__version__,
        seed=spec.seed,
        data=data.source,
        rows={"train": data.size, "test": data.tested},
        experts=spec.experts.number,
        treatment=plan.treatment.name,
        objective=plan.objective,
        optimiser=spec.fit.optimiser or "adam",
        restarts=spec.fit.restarts,
    )
    try:
        yield
    except BaseException as error:
        log("stopped", why=one_line(str(error) or type(error).__name__))
        raise


def tell_end(log: Log, found: Fit) -> None:
    """Tell what came out of a fit."""
    names = ("log_likelihood", "effective_experts", "steps", "seconds", "parameters_sha256")
    log("ended", **{name: found.metrics[name] for name in names})
