"""What every treatment of z is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint

C = TypeVar("C")
State = Any
ObjectiveName = Literal["marginal", "jensen", "elbo", "iwae"]


def stateless(config: object, log_joint: LogJoint, logits: torch.Tensor, noise: Noise) -> None:
    """Return the state of a treatment that learns nothing."""


@dataclass(frozen=True, slots=True)
class Treatment(Generic[C]):
    """A named way to treat z; the fields are claims that tests check.

    Attributes:
        name: the key in `TREATMENTS`, equal to the name of the file.
        config: the knobs; every field has a default.
        objective: takes log p(y, z | x), the normalised logits of q, (N, K) (None where z is
            summed out without a guide), the config, the state and the noise; returns a
            value for each datum, (N,), and the next state. Their sum estimates the objective in
            nats, and its gradient the objective's gradient. Under "iwae" q may be the gate
            itself, and the objective's gradient then runs through both.
        objectives: what it can estimate, the default first.
        unbiased: whether the gradient's expectation is the exact gradient of that objective.
        evaluations: expert likelihoods a datum and step, from the config and K.
        needs_relaxed_likelihood: whether it asks for the likelihood inside the simplex, or for
            its derivative at a corner; all K experts then run.
        hard: whether z is a corner in value and soft in gradient.
        exact_value: whether the value's expectation is the objective itself; false where what is
            optimised is another quantity, with a penalty or without some of the experts.
        needs_own_guide: whether q is trained for another objective than the model, so that the
            gate, which is part of the model, cannot be q.
        init: the first state, from the same arguments.

    >>> from pyromoe.inference import TREATMENTS
    >>> treatment = TREATMENTS["leave_one_out"]
    >>> treatment.summary, treatment.objectives, treatment.unbiased
    ('Score function with a leave-one-out baseline', ('jensen', 'elbo'), True)
    >>> treatment.evaluations(treatment.config(num_samples=4), 8)  # of 8 experts
    4
    """

    name: str
    config: type[C]
    objective: Callable[[LogJoint, torch.Tensor, C, State, Noise], tuple[torch.Tensor, State]]
    objectives: tuple[ObjectiveName, ...]
    unbiased: bool
    evaluations: Callable[[C, int], int]
    needs_relaxed_likelihood: bool = False
    hard: bool = False
    exact_value: bool = True
    needs_own_guide: bool = False
    init: Callable[[C, LogJoint, torch.Tensor, Noise], State] = stateless

    @property
    def description(self) -> str:
        """The docstring of the treatment's file, with formula, claim, cost and source."""
        return (sys.modules[self.objective.__module__].__doc__ or "").strip()

    @property
    def summary(self) -> str:
        """The first line of the description, without its full stop."""
        return self.description.split("\n", 1)[0].rstrip(".")
