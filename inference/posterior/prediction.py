"""Predictions for new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.posterior.predictive import (
    Moments,
    components,
    log_densities,
    moments_of,
    portions,
    quantiles_of,
)
from pyromoe.models.data.data import as_rows, encode_part
from pyromoe.models.errors import InputError, quoted
from pyromoe.models.tables.groups import NOTHING
from pyromoe.models.tables.responses import RESPONSES
from pyromoe.models.tables.table import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.data.divide import Part
    from pyromoe.models.tables.columns import IntArray
    from pyromoe.models.trace import Weights

QUANTILES = "quantiles"
SUCH_AS = "give numbers between 0 and 1, as in 0.05,0.5,0.95"


def predict(
    fit: Fit, table: object, *, quantiles: Sequence[float] = (), per_expert: bool = False
) -> pa.Table:
    """Return predictions for new rows, one row each; `docs/predictions.md` has the formulas.

    Columns, the response's name in front where there are several:

        mean, variance, sd: of a number, on its original scale;
        variance_within, variance_between, variance_weights: the variance by its causes;
        q0.5: for instance, the quantiles that were asked for;
        predicted, p(class): of classes;
        mean_k, p(class)_k: of expert k, where asked for.

    Then `gate_k`, the probability of expert k before y is seen; and, where the table has the
    responses, `log_density` (nats, z summed out, on the original scale), `responsibility_k`,
    `expert`, the one with the largest, and `entropy`, of the responsibilities, nats. Where rows of
    a group share one z, these four are those of the group.

    Args:
        fit: the fit.
        table: the new rows.
        quantiles: probabilities p between 0 and 1.
        per_expert: whether to add the means of every expert.

    Raises:
        InputError: for a missing column, a value that cannot be used, an unseen level or class,
            and for quantiles that cannot be.

    >>> from pyromoe.inference import fit, predict
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> table = predict(fit(spec), {"income": [500.0, 1000.0]}, quantiles=[0.05, 0.95])
    >>> table.num_rows, table.column_names[6:]
    (2, ['q0.05', 'q0.95', 'gate_0', 'gate_1'])
    """
    rows = table if isinstance(table, Rows) else as_rows(table)
    levels, there = levels_of(fit, quantiles), has_response(fit, rows)
    part = encode_part(fit.encoding, rows, need_response=there)
    return predicted(fit, part, levels, there=there, per_expert=per_expert)


def has_response(fit: Fit, rows: Rows) -> bool:
    """Return whether a table has every response."""
    return all(target.name in rows.table.column_names for target in fit.encoding.targets)


def predicted(
    fit: Fit, part: Part, levels: Sequence[float], *, there: bool, per_expert: bool
) -> pa.Table:
    """Return predictions for encoded rows, as `predict` does; `there` says if y is known."""
    x, y = to_tensors(part, fit.spec)
    place, draws = Places(part.rows), fit.weight_draws()
    pieces = [
        described(fit, some, draws, levels, per_expert=per_expert)
        for some in portions(fit, x, len(draws))
    ]
    columns: dict[str, NDArray[Any]] = {
        name: place.of_rows(np.concatenate([piece[name] for piece in pieces])) for name in pieces[0]
    }
    if there:
        joint = fit.log_joint(x, y)
        shares = joint.softmax(-1)
        columns["log_density"] = place.of_data(joint.logsumexp(-1).numpy())
        of_data = place.of_data(shares.numpy())
        columns |= {f"responsibility_{k}": p for k, p in enumerate(of_data.T)}
        columns["expert"] = of_data.argmax(-1)
        entropy = -torch.special.xlogy(shares, shares).sum(-1)
        columns["entropy"] = place.of_data(entropy.numpy()) + 0.0  # not -0
    return pa.table(columns)


def density(fit: Fit, table: object, grid: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return log p(y | x), (N, J), and log p(y, z = k | x), (N, K, J), in nats, on a grid.

    Args:
        fit: the fit.
        table: N rows; each counts by itself, whether or not it belongs to a group.
        grid: J responses on the original scale; of several responses a table of J rows.

    Raises:
        InputError: for a missing column, or a value that cannot be used.

    >>> import numpy as np
    >>> from pyromoe.inference import density, fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> whole, of_experts = density(fit(spec), {"income": [500.0]}, [200.0, 400.0, 800.0])
    >>> whole.shape, of_experts.shape  # (N, J) and (N, K, J)
    ((1, 3), (1, 2, 3))
    >>> np.allclose(np.logaddexp.reduce(of_experts, 1), whole)
    True
    """
    encoding = fit.encoding
    part = encode_part(
        encoding, table if isinstance(table, Rows) else as_rows(table), need_response=False
    )
    x, _ = to_tensors(part, fit.spec)
    place, draws = Places(part.rows), fit.weight_draws()
    several = len(encoding.targets) > 1
    points = as_rows(grid if several else {encoding.target.name: grid}, "grid")
    each = [torch.as_tensor(target.read(points)) for target in encoding.targets]
    codes = RESPONSES[encoding.target.families[0]].codes and not several
    y = each[0] if codes else torch.stack([one.double() for one in each], -1)
    y = y if several or codes else y[..., 0]
    try:
        pieces = [log_densities(fit, some, y, draws) for some in portions(fit, x, len(y))]
    except ValueError as error:  # by Pyro's own check of the support
        raise InputError("a response that the family cannot have", field="grid") from error
    joined = (torch.cat(some).numpy() for some in zip(*pieces, strict=True))
    whole, own = (place.of_rows(v.reshape(*x.shape[:-1], *v.shape[1:])) for v in joined)
    return whole, own


def read_quantiles(text: str) -> list[float]:
    """Return the probabilities of e.g. `0.05,0.5,0.95`.

    Raises:
        InputError: for what is not a list of numbers.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"cannot read {quoted(text)}", field=QUANTILES, remedy=SUCH_AS) from None


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


def described(
    fit: Fit, x: Tensor, draws: Sequence[Weights], levels: Sequence[float], *, per_expert: bool
) -> dict[str, NDArray[Any]]:
    """Return the columns that need no response, (N,) or (G, M), by name."""
    found, targets = components(fit, x, draws), fit.encoding.targets
    columns = dict[str, NDArray[Any]]()
    each = zip(fit.means(x), moments_of(fit, found), quantiles_of(fit, found, levels), strict=True)
    for r, (mean, moments, quantiles) in enumerate(each):
        of_rows = mean.reshape(-1, *mean.shape[x.dim() - 1 :])
        named = _means(fit, r, of_rows)
        if quantiles is not None:
            named |= _variances(moments)
            named |= {f"q{p!r}": q for p, q in zip(levels, quantiles, strict=True)}
        if per_expert:
            for k, own in enumerate(moments.experts):
                labels = targets[r].labels
                names = [f"p({label})_{k}" for label in labels] if labels else [f"mean_{k}"]
                named |= zip(names, own.T if labels else [own], strict=True)
        before = f"{targets[r].name}:" if len(targets) > 1 else ""
        columns |= {before + name: values for name, values in named.items()}
    columns |= {f"gate_{k}": p for k, p in enumerate(found.gate.mean(0).numpy())}
    return {name: values.reshape(x.shape[:-1]) for name, values in columns.items()}


def _means(fit: Fit, response: int, mean: NDArray[Any]) -> dict[str, NDArray[Any]]:
    labels = fit.encoding.targets[response].labels
    if not labels:
        return {"mean": mean}
    each = mean if mean.ndim > 1 else np.stack([1 - mean, mean], -1)
    chances = {f"p({label})": p for label, p in zip(labels, each.T, strict=True)}
    return {"predicted": fit.encoding.decode(each.argmax(-1), response), **chances}


def _variances(moments: Moments) -> dict[str, NDArray[Any]]:
    return {
        "variance": moments.variance,
        "variance_within": moments.within,
        "variance_between": moments.between,
        "variance_weights": moments.weights,
        "sd": np.sqrt(moments.variance),
    }


def levels_of(fit: Fit, quantiles: Sequence[float]) -> list[float]:
    """Return the probabilities of quantiles, or refuse them."""
    levels = [float(p) for p in quantiles]
    for p in levels:
        if not 0 < p < 1:
            raise InputError(f"{p:g} is not between 0 and 1", field=QUANTILES, remedy=SUCH_AS)
        if levels.count(p) > 1:
            raise InputError(f"{p:g} is there twice", field=QUANTILES, remedy="name each once")
    if levels and all(target.labels for target in fit.encoding.targets):
        what = "classes have no quantiles; their probabilities are predicted without it"
        raise InputError(what, field=QUANTILES, remedy="leave it out")
    return levels
