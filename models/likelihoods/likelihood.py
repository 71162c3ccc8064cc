"""What every family is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pyro.nn import PyroModule

if TYPE_CHECKING:
    from pyro.distributions import TorchDistribution
    from torch import Tensor


class Likelihood(PyroModule):
    """p(y | z, x): from the outputs of K networks to a distribution of y.

    Attributes:
        family: the name in a spec.
        outputs: P, how many outputs of an expert it needs.
        encoded: E, the width of `encode`.
    """

    family: ClassVar[str]
    outputs: int
    encoded: int = 1

    @abstractmethod
    def parameters_of(self, outputs: Tensor, z: Tensor | None = None) -> dict[str, Tensor]:
        """Return each expert's parameters, (K, N, ...), from its outputs, (K, N, P).

        Args:
            outputs: of all experts, or of the chosen ones, (..., N, P).
            z: which were chosen, (..., N); None for all.
        """

    @abstractmethod
    def distribution(self, **parameters: Tensor) -> TorchDistribution:
        """Return the distribution with the given parameters."""

    def mean(self, **parameters: Tensor) -> Tensor:
        """Return the mean of y; for classes their probabilities, with one more dimension."""
        mean: Tensor = self.distribution(**parameters).mean
        return mean

    def encode(self, y: Tensor) -> Tensor:
        """Return y, (N,), as the input of a network, (N, E)."""
        return y[:, None]
