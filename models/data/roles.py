"""Which column of a table plays which part; a setting that names no such column is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pyromoe.models.data.encoding import Extra
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.specs.spec_file import SpecFile
    from pyromoe.models.tables.table import Rows


def responses_of(spec_file: SpecFile, rows: Rows, default: str | None) -> list[str]:
    """Return the columns to predict; the default is a dataset's own."""
    data = spec_file.spec.data
    responses = data.responses or ([] if default is None else [default])
    if not responses:
        what = f"required, for {rows.source} has none of its own"
        names = listed(rows.table.column_names)
        raise spec_file.error("data.response", what, f"columns: {names}")
    for i, name in enumerate(responses):
        if name not in rows.table.column_names:
            field = f"data.response[{i}]" if isinstance(data.response, list) else "data.response"
            raise _no_column(spec_file, field, name, rows)
    return responses


def extras_of(spec_file: SpecFile, rows: Rows, responses: Sequence[str]) -> list[Extra]:
    """Return what else belongs to each row, in the order of its columns in the design."""
    data = spec_file.spec.data
    found = []
    roles: dict[str, Literal["offset", "trials", "weight"]] = {
        "offset": "offset", "exposure": "offset", "trials": "trials", "weights": "weight"
    }  # fmt: skip
    for setting, role in roles.items():
        value = getattr(data, setting)
        if isinstance(value, int):
            found.append(Extra(role=role, constant=float(value)))
        elif value is not None:
            _check_column(spec_file, f"data.{setting}", value, rows, responses)
            found.append(Extra(role=role, column=value, log=setting == "exposure"))
    return found


def _check_column(
    spec_file: SpecFile, setting: str, name: str, rows: Rows, responses: Sequence[str]
) -> None:
    if name not in rows.table.column_names:
        raise _no_column(spec_file, setting, name, rows)
    if name in responses:
        what = f"{quoted(name)} is {'the' if len(responses) == 1 else 'a'} response"
        raise spec_file.error(setting, what, "name another column")


def predictors_of(
    spec_file: SpecFile, rows: Rows, responses: Sequence[str], extras: list[Extra]
) -> list[str]:
    """Return the predictors, and check every setting that names some of them."""
    spec, there = spec_file.spec, set(rows.table.column_names)
    chosen, group = spec.data.predictors, spec.data.group
    if group is not None:
        _check_column(spec_file, "data.group", group, rows, responses)
    others = {*responses, group, *(extra.column for extra in extras)}
    predictors = [name for name in rows.table.column_names if name not in others]
    if chosen != "all":
        for i, name in enumerate(chosen):
            _check_column(spec_file, f"data.predictors[{i}]", name, rows, [])
            if name in responses:
                what = f"{quoted(name)} is the response"
                raise spec_file.error(f"data.predictors[{i}]", what, "remove it")
        predictors = chosen
    if not predictors and chosen == "all":
        raise spec_file.error(
            "data.predictors",
            f"{rows.source} has no column but the response",
            "write [] for a mixture without any",
        )
    known = set(predictors)
    lists: dict[str, Any] = {
        "data.categorical": spec.data.categorical,
        "experts.predictors": spec.experts.predictors,
        "experts.shared": spec.experts.shared,
        "gate.predictors": spec.gate.predictors,
    }
    for setting, names in lists.items():
        for i, name in enumerate([] if names == "all" else names):
            if name not in there:
                raise _no_column(spec_file, f"{setting}[{i}]", name, rows)
            if name not in known:
                what = f"{quoted(name)} is not a predictor"
                raise spec_file.error(f"{setting}[{i}]", what, "remove it")
    return predictors


def _no_column(spec_file: SpecFile, setting: str, name: str, rows: Rows) -> InputError:
    names = rows.table.column_names
    remedy = did_you_mean(name, names) or f"columns: {listed(names)}"
    return spec_file.error(setting, f"no column {quoted(name)} in {rows.source}", remedy)
