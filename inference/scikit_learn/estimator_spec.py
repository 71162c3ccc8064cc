"""From the constructor parameters of an estimator, and arrays, to a spec and a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from pyromoe.inference.fitting.choice import AT_MODE, SMALL
from pyromoe.models.errors import InputError, listed
from pyromoe.models.specs.spec import Spec
from pyromoe.models.specs.spec_errors import explain
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyromoe.models.tables.columns import FloatArray

Settings = dict[str, object]
FITTING = ("learning_rate", "batch_size", "epochs", "weight_decay", "restarts", "optimiser")
RESPONSE, WEIGHT = "y", "weight"
"""The columns beside the features, with underscores after them where a feature has that name."""


def spec_of(
    parameters: Mapping[str, object],
    *,
    classes: bool,
    source: str,
    names: Sequence[str],
    rows: int,
    weighted: bool,
    seed: int,
) -> Spec:
    """Return the spec of an estimator.

    Args:
        parameters: of its constructor.
        classes: whether it predicts classes.
        source: its name, for messages.
        names: of the features.
        rows: N.
        weighted: whether rows have weights.
        seed: of all chance.

    Raises:
        InputError: for a parameter that cannot be used.
    """
    p = {name: _plain(value) for name, value in parameters.items()}
    experts = _long(p["experts"], "kind", p["hidden"]) | {"number": p["num_experts"]}
    gate = _long(p["gate"], "kind", p["hidden"])
    treatment = _long(p["treatment"], "name")
    data: Settings = {"response": column(RESPONSE, names), "split": {"test": 0.0}}
    if weighted:
        data["weights"] = column(WEIGHT, names)
    fitting = {n: p[n] for n in FITTING if p[n] is not None}
    if p["early_stopping"]:
        fitting["early_stopping"] = {} if p["early_stopping"] is True else p["early_stopping"]
    if p["optimiser"] is None:
        exact = treatment.get("name") == "enumerate" and p["objective"] in (None, "marginal")
        plain = "mlp" not in (experts.get("kind"), gate.get("kind")) and rows <= SMALL
        mode = p["weights"] in ("point", *AT_MODE)
        stochastic = p["early_stopping"] or p["weight_decay"]
        fitting["optimiser"] = "lbfgs" if exact and plain and mode and not stochastic else "adam"
    tree: Settings = {
        "data": data,
        "likelihood": _family(p["family"], classes, source),
        "experts": experts,
        "gate": gate,
        "priors": {
            "experts": _prior(p["expert_prior"]),
            "gate": _prior(p["gate_prior"]),
        },
        "guide": {"weights": p["weights"]},
        "treatment": treatment,
        "objective": p["objective"],
        "fit": {**fitting, "precision": "float64"},
        "seed": seed,
    }
    try:
        return Spec.model_validate(tree)
    except ValidationError as error:
        raise explain(error, tree, {}, source) from None


def column(wanted: str, names: Sequence[str]) -> str:
    """Return a name for a column that no feature has."""
    while wanted in names:
        wanted += "_"
    return wanted


def distinct_rows(
    x: FloatArray, y: NDArray[Any], weights: FloatArray | None
) -> tuple[FloatArray, NDArray[Any], FloatArray | None]:
    """Return each row once, in order, with the weights that its copies have together.

    A row of weight k and k copies of it thus are the same data to every start and every batch, and
    the order of the rows is not seen. The weights are None where all are 1.

    Args:
        x: the features, (N, D).
        y: the responses, (N,).
        weights: of the rows, above 0, (N,); None where all are 1.
    """
    both = np.column_stack([x, y.astype(np.float64)])
    _, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    total = np.bincount(inverse.ravel(), weights=weights, minlength=len(first)).astype(np.float64)
    if len(first) == 1:  # two halves: a fit needs two rows
        first, total = np.repeat(first, 2), np.repeat(total / 2, 2)
    return x[first], y[first], None if (total == 1).all() else total


def table_of(
    names: Sequence[str],
    x: FloatArray,
    y: NDArray[Any] | None = None,
    weights: FloatArray | None = None,
) -> dict[str, NDArray[Any]]:
    """Return features, response and weights, those that are there, by the names of columns."""
    table: dict[str, NDArray[Any]] = dict(zip(names, x.T, strict=True))
    if y is not None:
        table[column(RESPONSE, names)] = y
    if weights is not None:
        table[column(WEIGHT, names)] = weights
    return table


def _plain(value: object) -> object:
    """Return a parameter as a spec has it: no numbers of NumPy's types, lists for tuples."""
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _long(value: object, key: str, hidden: object = None) -> Settings:
    """Return the long form of a setting: a name becomes a mapping with that name."""
    if isinstance(value, dict):
        return dict(value)
    return {key: value, "hidden": hidden} if value == "mlp" else {key: value}


def _prior(prior: object) -> Settings:
    if prior is None:
        return {"kind": "none"}
    return (
        _long(prior, "kind")
        if isinstance(prior, (str, Mapping))
        else {"kind": "normal", "scale": prior}
    )


def _family(family: object, classes: bool, source: str) -> Settings:
    known = [
        name
        for name, response in RESPONSES.items()
        if bool(response.classes) == classes and not response.trials and not response.vector
    ]
    settings = _long(family or ("categorical" if classes else "normal"), "family")
    if settings.get("family") not in known:
        what = f"{settings.get('family')} is not a family of this estimator"
        raise InputError(what, file=source, field="family", remedy=f"choose: {listed(known)}")
    return settings
