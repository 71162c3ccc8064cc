r"""One numbering of the experts for several fits.

    order = argmax over permutations of sum_k sum_n r_nk r'_n,order(k)

Experts have no order of their own: two fits may have found the same ones under other numbers. They
are matched by the rows that they share, which works across restarts, seeds, treatments and
families alike; the best matching is the linear assignment problem (Kuhn, 1955; Stephens, 2000).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.files.repeated import with_repeats, without_repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.tables.columns import IntArray

ROUNDS = 20
"""Matching to the mean of what was matched settles after a few."""


def match(reference: NDArray[Any], other: NDArray[Any]) -> IntArray:
    """Return which expert of another fit each expert of a reference is, (K,).

    Args:
        reference: responsibilities p(z = k | y, x) of the reference, (N, K).
        other: of the other fit, for the same rows, (N, K).

    >>> match(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.1, 0.9], [0.4, 0.6]]))
    array([1, 0])
    """
    overlap = reference.T @ other
    _, columns = linear_sum_assignment(overlap, maximize=True)
    order: IntArray = columns.astype(np.int64)
    return order


def matched(responsibilities: Sequence[NDArray[Any]]) -> list[IntArray]:
    """Return for each fit the order in which its experts are those of the first one.

    The first fit gives the numbering; the mean over all fits, as they are numbered so far, then
    takes its place as the reference, until nothing changes.

    Args:
        responsibilities: of each fit, (N, K), for the same rows.
    """
    orders = [match(responsibilities[0], r) for r in responsibilities]
    for _ in range(ROUNDS):
        mean = sum(r[:, o] for r, o in zip(responsibilities, orders, strict=True))
        again = [match(np.asarray(mean), r) for r in responsibilities]
        first = np.argsort(again[0])  # the first fit keeps its numbers
        again = [order[first] for order in again]
        if all(np.array_equal(a, b) for a, b in zip(again, orders, strict=True)):
            break
        orders = again
    return orders


def renumbered(tree: xr.DataTree, order: IntArray) -> xr.DataTree:
    """Return a posterior whose expert k is the expert order[k] of the given one.

    Args:
        tree: from `to_datatree`.
        order: from `match`, (K,).
    """
    place = np.argsort(order)

    def renumber(repeated: xr.Dataset) -> xr.Dataset:
        moved = group = without_repeats(repeated)
        if "expert" in group.dims:
            moved = group.isel(expert=order).assign_coords(expert=group["expert"].to_numpy())
        if "z" in group:
            z = xr.apply_ufunc(lambda z: place[z].astype(z.dtype), group["z"])
            moved = moved.assign(z=z.assign_attrs(group["z"].attrs))
        return with_repeats(moved)

    groups = {name: renumber(node.to_dataset()) for name, node in tree.children.items()}
    return xr.DataTree.from_dict(groups)


def chains(trees: Sequence[xr.DataTree]) -> xr.DataTree:
    """Return posteriors of the same rows as the chains of one, their experts matched.

    What some of them lack is left out, but for the history, which has the dimension fit and NaN
    where there is nothing. Attributes that differ list the values of all fits in their order.

    Args:
        trees: from `to_datatree`, one for each restart, seed or treatment.

    Raises:
        ValueError: where they are not of the same rows or have not as many experts.
    """
    shapes = {tree["posterior"]["resp"].shape[1:] for tree in trees}
    rows = [tree["constant_data"]["row"].to_numpy() for tree in trees]
    if len(shapes) != 1 or any(not np.array_equal(rows[0], other) for other in rows):
        what = "chains must be of the same rows, draws and number of experts"
        raise ValueError(f"{what}; which rows are kept back depends on the seed: fit one's data")
    shares = [_mean(without_repeats(tree["posterior"].to_dataset())["resp"]) for tree in trees]
    same = [renumbered(t, o) for t, o in zip(trees, matched(shares), strict=True)]
    attributes = _listed([tree.attrs for tree in trees])
    groups = {
        name: _joined([tree[name].to_dataset() for tree in same]).assign_attrs(attributes)
        for name in same[0].children
        if all(name in tree.children for tree in same)
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **groups})


def _mean(r: xr.DataArray) -> NDArray[Any]:
    """Return the mean over draws, of which there may be one alone, (N, K)."""
    return r.mean([dim for dim in ("chain", "draw") if dim in r.dims]).to_numpy()


def _joined(each: list[xr.Dataset]) -> xr.Dataset:
    """Return a group of several fits: one after the other, where it has chains or a history."""
    if "restart" in each[0].dims:
        return xr.concat(each, "fit", data_vars="all", join="outer", combine_attrs="drop")
    if "chain" not in each[0].dims:
        return each[0]
    names = [set(group.data_vars) for group in each]
    lacking = set.union(*names) - set.intersection(*names)
    number = iter(range(sum(group.sizes["chain"] for group in each)))
    numbered = [
        without_repeats(group.drop_vars(lacking, errors="ignore")).assign_coords(
            chain=[next(number) for _ in group["chain"]]
        )
        for group in each
    ]
    whole = xr.concat(
        numbered,
        "chain",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="drop",
    ).transpose("chain", "draw", ...)
    return with_repeats(whole)


def _listed(attributes: Sequence[dict[Any, str]]) -> dict[Any, str]:
    """Return attributes; where they differ, all values in order."""
    names = dict.fromkeys(name for each in attributes for name in each)
    values = {name: [each.get(name, "none") for each in attributes] for name in names}
    return {n: v[0] if len(set(v)) == 1 else ", ".join(v) for n, v in values.items()}
