"""Predictions for new rows."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pyromoe.inference.result import to_tensors
from pyromoe.models.data import Part, encode_table
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyromoe.inference.result import Fit


def predict(fit: Fit, table: object) -> pa.Table:
    """Return predictions for new rows, one row each.

    Columns: `mean` of a number, or `predicted` class and the probability `p(class)` of each;
    `gate_k`, the probability of expert k before y is seen; and, where the table has the response,
    `log_density` (nats, z summed out, on the original scale), `responsibility_k` and `expert`,
    the one with the largest.

    Raises:
        InputError: for a missing column, a value that cannot be used, an unseen level or class.
    """
    design, response = encode_table(fit.encoding, table)
    y = np.zeros(len(design)) if response is None else response
    x, y_tensor = to_tensors(Part(design, y, np.arange(len(design))), fit.spec)
    columns = _means(fit, fit.mean(x))
    gate, _ = fit.components(x)
    columns |= {f"gate_{k}": p for k, p in enumerate(gate.numpy().T)}
    if response is not None:
        joint = fit.log_joint(x, y_tensor)
        r = joint.softmax(-1).numpy()
        columns["log_density"] = joint.logsumexp(-1).numpy()
        columns |= {f"responsibility_{k}": p for k, p in enumerate(r.T)}
        columns["expert"] = r.argmax(-1)
    return pa.table(columns)


def _means(fit: Fit, mean: NDArray[Any]) -> dict[str, NDArray[Any]]:
    labels = fit.encoding.target.labels
    if not labels:
        return {"mean": mean}
    each = mean if mean.ndim > 1 else np.stack([1 - mean, mean], -1)
    chances = {f"p({label})": p for label, p in zip(labels, each.T, strict=True)}
    return {"predicted": fit.encoding.decode(each.argmax(-1)), **chances}


def write_table(table: pa.Table, path: Path, *, overwrite: bool = False) -> None:
    """Write a table as CSV or Parquet, whole or not at all.

    Raises:
        InputError: for another ending, or a file that exists and is not to be overwritten.
    """
    write = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
    if path.suffix not in write:
        what = "cannot tell its format; the name must end in .csv or .parquet"
        raise InputError(what, file=str(path))
    if path.exists() and not overwrite:
        raise InputError("exists already", file=str(path), remedy="add --overwrite to replace it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        write[path.suffix](table, str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
