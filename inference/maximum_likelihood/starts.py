"""Where maximum likelihood starts: first assignments of the rows to experts.

A start is soft responsibilities, (K, N), from which a weighted M-step makes parameters; only
`random` begins with the networks' own first values instead.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts
    from pyromoe.models.specs.fit_settings import Initialisation

    Matrix = NDArray[np.float64]

SURE = 0.9
"""The responsibility of the expert that a row is given to; a gate that is sure cannot learn."""

ENOUGH = 20_000
"""Rows from which the means of clusters are found."""


def initialisations(chosen: Sequence[Initialisation], number: int) -> list[Initialisation]:
    """Return the initialisation of each restart, (R,): the chosen ones in turn."""
    return [chosen[r % len(chosen)] for r in range(number)]


class Starts:
    """First assignments for a model and its rows.

    Args:
        model: the model, for the encoding of its response and its number of experts, K.
        x: the rows, (N, D), with their extras.
        y: their responses, (N,).
    """

    def __init__(self, model: MixtureOfExperts, x: Tensor, y: Tensor) -> None:
        self.number, size = model.num_experts, model.num_predictors
        with torch.no_grad():
            features = model.features(x, y).double().numpy()
        self.features = _scaled(features)
        self.x, rest = np.split(self.features, [size], axis=1)
        encoded = model.likelihood.encoded
        self.response = rest[:, -encoded:]
        seen = np.column_stack([np.ones(len(x)), self.features[:, :-encoded]])
        # The one-expert fit, by least squares on the response as a network would see it.
        self.residuals = self.response - seen @ np.linalg.pinv(seen) @ self.response

    def __call__(self, kind: Initialisation, round_: int, seed: int) -> Tensor | None:
        """Return responsibilities, (K, N), or None for `random`.

        Args:
            kind: which initialisation.
            round_: how often it was used before; the quantiles' cuts are random from 1 on.
            seed: of what is left to chance.
        """
        if kind == "random" or self.number == 1:
            return None
        chance = np.random.default_rng(seed)
        partitions: dict[str, Callable[[], NDArray[np.integer]]] = {
            "kmeans_x": lambda: self._clusters(self.x, chance),
            "kmeans_xy": lambda: self._clusters(self.features, chance),
            "kmeans_residuals": lambda: self._clusters(self.residuals, chance),
            "quantile": lambda: self._quantiles(round_, chance),
            "random_partition": lambda: chance.integers(self.number, size=len(self.x)),
        }
        labels = torch.from_numpy(partitions[kind]().astype(np.int64))
        ones = torch.nn.functional.one_hot(labels, self.number).double().T
        return SURE * ones + (1 - SURE) / self.number

    def _clusters(self, rows: Matrix, chance: np.random.Generator) -> NDArray[np.integer]:
        """Return the k-means clusters of rows, from one random start."""
        from sklearn.cluster import KMeans  # takes a while, and few need it
        from sklearn.exceptions import ConvergenceWarning

        if rows.shape[1] == 0 or len(rows) < self.number:
            return chance.integers(self.number, size=len(rows))
        some = chance.permutation(len(rows))[:ENOUGH]
        means = KMeans(self.number, n_init=1, random_state=int(chance.integers(2**31)))
        with warnings.catch_warnings():
            # Fewer distinct rows than clusters: some experts start with none.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.asarray(means.fit(rows[some]).predict(rows))

    def _quantiles(self, round_: int, chance: np.random.Generator) -> NDArray[np.integer]:
        """Return which interval of the response a row is in."""
        shares = np.full(self.number, 1 / self.number)
        if round_:
            shares = chance.dirichlet(np.full(self.number, 2.0))
        # Ranks, not values: repeated values are divided among the experts as they come.
        score = self.response @ np.arange(1.0, self.response.shape[1] + 1)
        place = np.empty(len(score))
        place[np.argsort(score, kind="stable")] = np.arange(len(score)) / len(score)
        return np.searchsorted(np.cumsum(shares)[:-1], place, side="right")


def _scaled(columns: Matrix) -> Matrix:
    """Return columns with mean 0 and spread 1, constant ones 0."""
    spread = columns.std(0)
    return np.asarray((columns - columns.mean(0)) / np.where(spread > 0, spread, 1.0))
