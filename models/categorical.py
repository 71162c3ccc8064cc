"""Pyro's Categorical of logits, in fewer operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch

from pyromoe.models.softmax import log_softmax

if TYPE_CHECKING:
    from torch import Tensor
    from torch.types import _size


class Categorical(dist.Categorical):
    """A distribution over K categories.

    Pyro's own normalises in a dozen operations, and its gradient in another six.

    Args:
        logits: (..., K); -inf for a category that is impossible.
        normalised: whether they are log probabilities already.
        validate_args: see Pyro.
    """

    def __init__(
        self, logits: Tensor, *, normalised: bool = False, validate_args: bool | None = None
    ) -> None:
        self.logits = logits if normalised else log_softmax(logits)
        self._param, self._num_events = self.logits, logits.shape[-1]
        shape = logits.shape[:-1]
        super(torch.distributions.Categorical, self).__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: object = None) -> Categorical:
        """Return the same distribution for more data."""
        logits = self.logits.expand(*batch_shape, self._num_events)
        return type(self)(logits, normalised=True, validate_args=self._validate_args)
