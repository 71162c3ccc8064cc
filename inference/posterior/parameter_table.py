"""The parameters of a fit as a table, with their standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from pyromoe.inference.fitting.natural import Natural
from pyromoe.inference.maximum_likelihood.bootstrap import bootstrap
from pyromoe.inference.maximum_likelihood.standard_errors import standard_errors
from pyromoe.inference.posterior.coefficient_rows import coefficient_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.fitting.natural import Named
    from pyromoe.inference.fitting.result import Fit

Errors = Literal["information", "sandwich", "bootstrap", "none"]


def coefficients(
    fit: Fit,
    errors: Errors = "information",
    *,
    draws: int = 100,
    progress: Callable[[float, str], None] | None = None,
) -> pa.Table:
    """Return the parameters of a fit in the units of its table, one row each.

    Columns are parameter, of (a predictor or a class, for instance), expert, value and
    standard_error, null where errors is none. Linear experts and gates have slopes and intercepts;
    the gate's are those of each expert less those of the first one.

    Args:
        fit: at a maximum, with its data.
        errors: how standard errors are estimated.
        draws: samples of the bootstrap.
        progress: of the bootstrap; called with the share that is done and what is being done.

    Raises:
        InputError: where the fit is not at a maximum.

    >>> from pyromoe.inference import coefficients, fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 1}}"
    >>> found = fit(parse_spec(text, "engel.yaml", ["fit.optimiser=lbfgs", "fit.restarts=1"]))
    >>> coefficients(found).column_names
    ['parameter', 'of', 'expert', 'value', 'standard_error']
    """
    found: Named = {}
    if errors == "bootstrap":
        found = bootstrap(fit, draws, progress or (lambda done, text: None))
    elif errors != "none":
        found = standard_errors(fit, errors)
    named = Natural(fit.model, fit.guide, fit.encoding)()
    names = ["parameter", "of", "expert", "value", "standard_error"]
    rows = coefficient_rows(fit, named, found)
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
