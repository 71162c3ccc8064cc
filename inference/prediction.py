"""Predictions for new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pyromoe.inference.density import to_tensors
from pyromoe.inference.store import new_file
from pyromoe.models.data import as_rows, encode_part
from pyromoe.models.errors import InputError
from pyromoe.models.groups import NOTHING
from pyromoe.models.table import Rows

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.result import Fit
    from pyromoe.models.columns import IntArray


def predict(fit: Fit, table: object) -> pa.Table:
    """Return predictions for new rows, one row each.

    Columns: `mean` of a number, or `predicted` class and the probability `p(class)` of each, with
    the response's name in front where there are several; `gate_k`, the probability of expert k
    before y is seen; and, where the table has the responses, `log_density` (nats, z summed out, on
    the original scale), `responsibility_k` and `expert`, the one with the largest. Where rows of a
    group share one z, these three are those of the group.

    Raises:
        InputError: for a missing column, a value that cannot be used, an unseen level or class.
    """
    rows = table if isinstance(table, Rows) else as_rows(table)
    encoding = fit.encoding
    there = all(target.name in rows.table.column_names for target in encoding.targets)
    part = encode_part(encoding, rows, need_response=there)
    x, y = to_tensors(part, fit.spec)
    place = Places(part.rows)
    several, columns = len(encoding.targets) > 1, dict[str, NDArray[Any]]()
    for r, mean in enumerate(fit.means(x)):
        before = f"{encoding.targets[r].name}:" if several else ""
        named = _means(fit, r, place.of_rows(mean))
        columns |= {before + name: values for name, values in named.items()}
    gate = fit.gate(x)
    columns |= {f"gate_{k}": p for k, p in enumerate(place.of_data(gate.numpy()).T)}
    if there:
        joint = fit.log_joint(x, y)
        shares = place.of_data(joint.softmax(-1).numpy())
        columns["log_density"] = place.of_data(joint.logsumexp(-1).numpy())
        columns |= {f"responsibility_{k}": p for k, p in enumerate(shares.T)}
        columns["expert"] = shares.argmax(-1)
    return pa.table(columns)


class Places:
    """Where each row of a table is among the data, which may be groups of rows.

    Args:
        rows: the rows of each datum, (N,) or (G, M), -1 where there is none.
    """

    def __init__(self, rows: IntArray) -> None:
        self.there = rows != NOTHING
        self.order = np.argsort(rows[self.there], kind="stable")

    def of_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what each row of each datum has, (G, M, ...), in the order of the table."""
        found: NDArray[Any] = values[self.there][self.order]
        return found

    def of_data(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what each datum has, (G, ...), for each of its rows in the order of the table."""
        found: NDArray[Any] = values[np.nonzero(self.there)[0]][self.order]
        return found


def _means(fit: Fit, response: int, mean: NDArray[Any]) -> dict[str, NDArray[Any]]:
    labels = fit.encoding.targets[response].labels
    if not labels:
        return {"mean": mean}
    each = mean if mean.ndim > 1 else np.stack([1 - mean, mean], -1)
    chances = {f"p({label})": p for label, p in zip(labels, each.T, strict=True)}
    return {"predicted": fit.encoding.decode(each.argmax(-1), response), **chances}


def write_table(table: pa.Table, path: Path, *, overwrite: bool = False) -> None:
    """Write a table as CSV or Parquet, whole or not at all.

    Raises:
        InputError: for another ending, or a file that exists and is not to be overwritten.
    """
    write = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
    if path.suffix not in write:
        what = "cannot tell its format; the name must end in .csv or .parquet"
        raise InputError(what, file=str(path))
    with new_file(path, overwrite=overwrite) as temporary:
        write[path.suffix](table, str(temporary))
