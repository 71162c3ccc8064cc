"""The parameters of a fit in natural units, a row for every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyromoe.inference.posterior.posterior import output_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.fitting.natural import Named
    from pyromoe.inference.fitting.result import Fit


class Coefficient(NamedTuple):
    """One number.

    Attributes:
        name: of the parameter.
        of: the predictor, the output or both.
        expert: whose it is.
        value: in the units of the table.
        error: its standard error, None where it is not known.
    """

    name: str
    of: str
    expert: int
    value: float
    error: float | None


def names_of(fit: Fit) -> dict[str, list[str]]:
    """Return the names of the entries of each dimension."""
    columns = fit.encoding.columns
    responses = [target.name for target in fit.encoding.targets]
    return {
        "expert_predictor": [columns[c] for c in fit.model.expert_columns],
        "gate_predictor": [columns[c] for c in fit.model.gate_columns],
        "output": output_names(fit),
        "response": responses,
        "response_2": responses,
    }


def coefficient_rows(fit: Fit, named: Named, errors: Named | None = None) -> Iterator[Coefficient]:
    """Yield a row for every number of the parameters; what an expert does not have is left out.

    Args:
        fit: the fit.
        named: its parameters.
        errors: their standard errors.
    """
    names = names_of(fit)
    for name, (dims, values) in named.items():
        array = values.detach().double().numpy()
        off = errors[name][1].detach().numpy() if errors and name in errors else None
        for place in np.ndindex(*array.shape):
            if np.isnan(array[place]):
                continue
            of = [
                names[d][i] if d in names else str(i + 1)
                for d, i in zip(dims[1:], place[1:], strict=True)
            ]
            error = None if off is None else float(off[place])
            yield Coefficient(name, " ".join(of), place[0], float(array[place]), error)
