"""ArviZ 0.x and 1.x: what differs between them stands here alone."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAR = 0.7
"""Pareto's k above which an estimate is not to be relied on (Vehtari et al., 2024)."""


def quiet_arviz() -> Any:
    """Return ArviZ, loaded when it is needed and without its announcement."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its own announcement, on import
        import arviz
    return arviz


def has_trees() -> bool:
    """Whether ArviZ works with xarray's own trees, as it does from 1.0 on."""
    return int(quiet_arviz().__version__.split(".")[0]) >= 1


def to_container(tree: xr.DataTree) -> Any:
    """Return what ArviZ works with: `InferenceData` in 0.x, the tree itself in 1.x."""
    return tree if has_trees() else quiet_arviz().InferenceData.from_datatree(tree)


def to_tree(container: Any) -> xr.DataTree:
    """Return a tree of what `to_container` gave; nothing is copied."""
    return container if isinstance(container, xr.DataTree) else container.to_datatree()


def pareto_k(log_ratios: NDArray[Any]) -> float:
    """Return Pareto's k of importance ratios, given by their logarithms, (S,)."""
    if has_trees():
        # Its accessor takes log-likelihoods, whose ratios are the inverse.
        _, k = xr.DataArray(-log_ratios, dims="draw").azstats.psislw(dim="draw")
    else:
        _, k = quiet_arviz().psislw(log_ratios)
    return float(k)


def leave_one_out(container: Any) -> dict[str, float]:
    """Return elpd_loo and its standard error, nats, and how many Pareto k are above 0.7.

    Vehtari, Gelman and Gabry (2017).

    Args:
        container: as `to_arviz` returns it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the count says it
        found = quiet_arviz().loo(container, pointwise=True)
    elpd = found.elpd if has_trees() else found.elpd_loo
    far = int((found.pareto_k > FAR).sum())
    return {"elpd_loo": float(elpd), "loo_se": float(found.se), "loo_far": far}
