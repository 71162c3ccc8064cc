"""The parameters of a fit as a table, with their standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from pyromoe.inference.bootstrap import bootstrap
from pyromoe.inference.natural import Natural
from pyromoe.inference.posterior import output_names
from pyromoe.inference.standard_errors import standard_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyromoe.inference.natural import Named
    from pyromoe.inference.result import Fit

Errors = Literal["information", "sandwich", "bootstrap", "none"]


def coefficients(
    fit: Fit,
    errors: Errors = "information",
    *,
    draws: int = 100,
    progress: Callable[[float, str], None] | None = None,
) -> pa.Table:
    """Return the parameters of a fit in the units of its table, one row each.

    Columns are parameter, of (a predictor or a class, for instance), expert, value and, unless
    errors is none, standard_error. Linear experts and gates have slopes and intercepts; the gate's
    are those of each expert less those of the first one.

    Args:
        fit: at a maximum, with its data.
        errors: how standard errors are estimated.
        draws: samples of the bootstrap.
        progress: of the bootstrap; called with the share that is done and what is being done.

    Raises:
        InputError: where the fit is not at a maximum.
    """
    found: Named = {}
    if errors == "bootstrap":
        found = bootstrap(fit, draws, progress or (lambda done, text: None))
    elif errors != "none":
        found = standard_errors(fit, errors)
    columns = ["parameter", "of", "expert", "value", *(["standard_error"] if found else [])]
    rows = _rows(fit, Natural(fit.model, fit.guide, fit.encoding)(), found)
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


def names_of(fit: Fit) -> dict[str, list[str]]:
    """Return the names of the entries of each dimension of the parameters."""
    columns = fit.encoding.columns
    responses = [target.name for target in fit.encoding.targets]
    return {
        "expert_predictor": [columns[c] for c in fit.model.expert_columns],
        "gate_predictor": [columns[c] for c in fit.model.gate_columns],
        "output": output_names(fit),
        "response": responses,
        "response_2": responses,
    }


def _rows(fit: Fit, named: Named, errors: Named) -> Iterator[list[Any]]:
    """Yield a row for every number: name, what of, expert, value, standard error."""
    names = names_of(fit)
    for name, (dims, values) in named.items():
        array = values.detach().double().numpy()
        off = errors[name][1].detach().numpy() if name in errors else None
        for place in np.ndindex(*array.shape):
            if np.isnan(array[place]):  # the expert has no such parameter
                continue
            of = [
                names[d][i] if d in names else str(i + 1)
                for d, i in zip(dims[1:], place[1:], strict=True)
            ]
            error = [] if off is None else [float(off[place])]
            yield [name, " ".join(of), place[0], float(array[place]), *error]
