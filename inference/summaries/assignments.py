"""The assignments of a run as its `posterior.nc` has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import entr, logsumexp  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.runs.reading import open_posterior, read_encoding, spec_in
from pyromoe.models.tables.groups import NOTHING

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from pyromoe.models.data.encoding import Encoding

    FloatArray = NDArray[np.float64]


SUM = 1e-3
"""How far responsibilities may be from the sum 1, in single precision."""


@dataclass(frozen=True)
class Assignments:
    """The training data of a run and who has them; a datum is a row, or a group of rows.

    Attributes:
        encoding: how its table became numbers.
        responsibilities: r = p(z | y, x), their mean over chains and draws, (N, K).
        first: the first row of each datum in the table, from 0, (N,).
        datum: which datum each of M rows belongs to, (M,).
        row: the place of each row in the table, (M,).
        x: encoded predictors of each row, (M, D).
        y: responses of each row, classes as codes, (M, R); NaN where one is missing.
        log_likelihood: log p(y | x) of each datum, nats, (N,).
        chains: how many.
        draws: of each chain.
    """

    encoding: Encoding
    responsibilities: FloatArray
    first: NDArray[np.int64]
    datum: NDArray[np.int64]
    row: NDArray[np.int64]
    x: FloatArray
    y: FloatArray
    log_likelihood: FloatArray
    chains: int
    draws: int

    @property
    def number(self) -> int:
        """K."""
        return int(self.responsibilities.shape[1])

    @property
    def shares(self) -> FloatArray:
        """Of each expert, (K,)."""
        share: FloatArray = self.responsibilities.mean(0)
        return share

    @property
    def entropy(self) -> FloatArray:
        """Of each datum's responsibilities, nats, (N,)."""
        each: FloatArray = entr(self.responsibilities).sum(1)
        return each

    @property
    def leader(self) -> NDArray[np.int64]:
        """The leading expert of each datum, (N,)."""
        first: NDArray[np.int64] = self.responsibilities.argmax(1)
        return first

    @property
    def unit(self) -> str:
        """What a datum is."""
        return "rows" if self.encoding.group is None else "groups"

    @property
    def of_rows(self) -> FloatArray:
        """Responsibilities of each row, (M, K)."""
        each: FloatArray = self.responsibilities[self.datum]
        return each


def read_assignments(folder: Path) -> Assignments:
    """Return what a run directory says of the training data.

    Raises:
        InputError: where a file cannot be read, or lacks something.
    """
    encoding, experts = read_encoding(folder), spec_in(folder).spec.experts.number
    with open_posterior(folder) as tree:
        found = assignments_of(encoding, tree)
        _check(found, experts)
        return found


def _check(of: Assignments, experts: int) -> None:
    """Refuse assignments that are not of this encoding and this many experts."""
    r, data, labels = of.responsibilities, len(of.first), [t.labels for t in of.encoding.targets]
    shapes = (
        r.shape == (data, experts)
        and of.log_likelihood.shape == (data,)
        and of.x.shape == (len(of.row), len(of.encoding.columns))
        and of.y.shape == (len(of.row), len(labels))
    )
    if not shapes or not data:
        raise ValueError("its arrays are not of the sizes that the spec and the encoding say")
    if not (np.isfinite(r).all() and np.isfinite(of.x).all() and (r >= 0).all()):
        raise ValueError("a number in it is not finite, or a probability negative")
    if np.abs(r.sum(1) - 1).max() > SUM or of.row.min() < 0 or of.row.dtype.kind != "i":
        raise ValueError("responsibilities do not sum to 1, or rows are not of a table")
    for y, known in zip(of.y.T, labels, strict=True):
        codes = y[np.isfinite(y)]
        if known and len(codes) and not (codes.min() >= 0 and codes.max() < len(known)):
            raise ValueError("a class in it is not known")


def assignments_of(encoding: Encoding, tree: xr.DataTree) -> Assignments:
    """Return what a fit says of its training data.

    Args:
        encoding: of the fit.
        tree: its `posterior.nc`, or from `to_datatree`.
    """
    known = tree["constant_data"]
    row = known["row"].to_numpy()  # (N,) or (G, M)
    there = row != NOTHING
    log_likelihood = tree["log_likelihood"]["y"].to_numpy()
    chains, draws = log_likelihood.shape[:2]
    return Assignments(
        encoding=encoding,
        responsibilities=tree["posterior"]["resp"].mean(("chain", "draw")).to_numpy().astype(float),
        first=row.reshape(len(row), -1)[:, 0],
        datum=np.nonzero(there)[0],
        row=row[there],
        x=known["x"].to_numpy()[there].astype(float),
        y=tree["observed_data"]["y"].to_numpy()[there].astype(float).reshape(there.sum(), -1),
        log_likelihood=logsumexp(log_likelihood, (0, 1)) - np.log(chains * draws),
        chains=chains,
        draws=draws,
    )
