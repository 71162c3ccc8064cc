"""What every gate is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pyro.nn import PyroModule

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.models.priors import Kind

Coefficient = tuple[str, tuple[str, ...], "Tensor"]
"""A name, the names of the dimensions, and the values."""


class Gate(PyroModule):
    """p(z | x): from predictors to the unnormalised log probability of each expert.

    A gate is made by `GATES[name](inputs, num_experts, generator, ...)`: D, how many predictors it
    sees, K, and where its first values are drawn from.

    >>> import torch
    >>> from pyromoe.models.gates import Gate
    >>> class Sign(Gate):
    ...     def forward(self, x):
    ...         return torch.cat([x, -x], -1)
    ...
    >>> Sign()(torch.tensor([[1.0], [0.0]])).softmax(-1)  # (N, K)
    tensor([[0.8808, 0.1192],
            [0.5000, 0.5000]])
    """

    redundant: int = 0
    """How many parameters more it has than probabilities can tell apart."""
    generative: bool = False
    """Whether it is fitted to what the predictors look like, too, by its `log_terms`."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return log p(z = k | x) up to a number for each row, (N, K), at x, (N, D)."""

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make the gate's coefficients latent sites; here there are none.

        Returns:
            Where the sites start, by name.
        """
        return {}

    def log_terms(self, x: Tensor) -> Tensor | None:
        """Return what each row adds to what is maximised, beside its log p(y | x), (N,) in nats.

        Args:
            x: predictors, (N, D).

        Returns:
            None where there is nothing.
        """
        return None

    def log_factor(self, x: Tensor, size: int, weight: Tensor | float = 1.0) -> Tensor | None:
        """Return what is maximised beside log p(y | x) of the whole data, a scalar in nats.

        Args:
            x: predictors of a batch, (N, D).
            size: the number of rows of the whole data set.
            weight: how often each row counts, (N,).

        Returns:
            None where there is nothing.
        """
        each = self.log_terms(x)
        return None if each is None else size * (weight * each).mean()

    def coefficients(self) -> list[Coefficient]:
        """Return the parameters that have a meaning of their own, for a reader."""
        return []
