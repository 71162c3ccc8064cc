"""Give a model parameters in natural units, for audits against other software."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import least_squares  # type: ignore[import-untyped]  # no stubs

from pyromoe.inference.fitting.natural import Natural, constants, moments
from pyromoe.inference.steps.members import shaped
from pyromoe.models.errors import InputError, did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.natural import Named
    from pyromoe.inference.fitting.result import Fit

EXACT = 1e-7
"""How near, in proportion, what a family learns beside the networks must come to what is given."""


class Given:
    """Parameters as they were given, each read once.

    Args:
        values: by name: lists of numbers, slopes also by the name of their predictor; null for
            what an expert does not have.
        source: where they are from, for messages.
        known: the same parameters as they are so far.
    """

    def __init__(self, values: Mapping[str, Any], source: str, known: Named) -> None:
        self.values, self.source, self.known = values, source, known

    def error(self, name: str, what: str, remedy: str = "") -> InputError:
        """Return an error about one of them."""
        return InputError(what, remedy=remedy, file=self.source, field=name)

    def array(self, name: str, shape: Sequence[int]) -> NDArray[Any]:
        """Return numbers of the given shape."""
        if name not in self.values:
            raise self.error(name, "required, but missing", "add it")
        return self._complete(name, self._array(name, self.values[name], shape))

    def slopes(self, name: str, columns: Sequence[str], shape: Sequence[int]) -> NDArray[Any]:
        """Return slopes, (K, D, ...), given by predictor."""
        if not columns:
            return np.zeros(shape)
        values = self.values.get(name)
        if not isinstance(values, dict):
            example = f'write {{"{columns[0]}": [...]}}'
            raise self.error(name, "must give a list for each predictor", example)
        for column in values:
            if column not in columns:
                remedy = did_you_mean(column, columns) or f"known: {listed(columns)}"
                raise self.error(f"{name}.{column}", "no such column", remedy)
        own = (shape[0], *shape[2:])
        for column in columns:
            if column not in values:
                raise self.error(f"{name}.{column}", "required, but missing", "add it")
        each = [self._array(f"{name}.{c}", values[c], own) for c in columns]
        return self._complete(name, np.stack(each, 1))

    def _complete(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return numbers, 0 for those that an expert does not have; others may not be null."""
        if (np.isnan(array) & self.known[name][1].isfinite().numpy()).any():
            raise self.error(name, "has null, or a number that is not finite, for an expert")
        numbers: NDArray[Any] = np.nan_to_num(array)
        return numbers

    def _array(self, name: str, value: object, shape: Sequence[int]) -> NDArray[Any]:
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise self.error(name, "must be numbers") from None
        if array.shape != tuple(shape):
            what = f"has the shape {array.shape}, not {tuple(shape)}"
            raise self.error(name, what, "give a number for each expert")
        if np.isinf(array).any():
            raise self.error(name, "holds a number that is not finite")
        found: NDArray[Any] = array
        return found


@torch.no_grad()
def assign(fit: Fit, values: Mapping[str, Any], source: str) -> None:
    """Set a model's parameters to given ones, see `pyromoe.inference.fitting.natural`.

    Args:
        fit: the model, its experts and gate linear, without priors.
        values: the parameters.
        source: where they are from, for messages.

    Raises:
        InputError: for a parameter that is missing, unknown or impossible, and for networks, whose
            weights have no natural units.
    """
    known = Natural(fit.model, fit.guide, fit.encoding)()
    given = Given(values, source, known)
    if "expert_intercept" not in known or not (
        "gate_intercept" in known or not list(fit.model.gate.parameters())
    ):
        what = "only linear experts and gates have parameters in natural units"
        raise InputError(what, file=source, remedy="give the .safetensors of a run's checkpoints")
    for name in values:
        if name not in known and name != "gate_slope":
            remedy = did_you_mean(name, known) or f"known here: {listed(known)}"
            raise given.error(name, "unknown parameter", remedy)
    _experts(fit, given)
    if "gate_intercept" in known:
        _gate(fit, given)
    _constants(fit, given)


def _experts(fit: Fit, given: Given) -> None:
    model, targets = fit.model, fit.encoding.targets
    experts, places = model.experts, model.likelihood.places
    outputs, number = model.likelihood.outputs, model.num_experts
    names = [fit.encoding.columns[c] for c in model.expert_columns]
    last = (outputs,) if outputs > 1 else ()
    slope = given.slopes("expert_slope", names, (number, len(names), *last))
    slope = slope.reshape(number, len(names), outputs)
    intercept = given.array("expert_intercept", (number, *last)).reshape(number, outputs)
    mean, sd = (np.array(v)[:, None] for v in moments(fit.encoding, model.expert_columns))
    intercept, slope = intercept + (slope * mean).sum(1), slope * sd
    for place, target in zip(places, targets, strict=True):
        intercept[:, place] = (intercept[:, place] - target.mean) / target.sd
        slope[..., place] /= target.sd
    own = len(names) - experts.shared
    _fill(given, "expert_slope", experts.weight_0, slope[:, :own])
    if experts.shared:
        _fill(given, "expert_slope", experts.shared_0, slope[:, own:])
    _fill(given, "expert_intercept", experts.bias_0, intercept[:, None])


def _fill(given: Given, name: str, tensor: Tensor, values: NDArray[Any]) -> None:
    """Copy values into a parameter; where experts share it, they must agree."""
    if len(tensor) < len(values):
        if not np.allclose(values, values[:1]):
            raise given.error(name, "must be the same for all experts, who share it")
        values = values[:1]
    tensor.copy_(torch.from_numpy(values))


def _gate(fit: Fit, given: Given) -> None:
    model = fit.model
    names = [fit.encoding.columns[c] for c in model.gate_columns]
    weight, bias = model.gate.weight_0, model.gate.bias_0
    names = names[: weight.shape[1]]
    slope = given.slopes("gate_slope", names, (model.num_experts, len(names)))
    intercept = given.array("gate_intercept", (model.num_experts,))
    mean, sd = (np.array(v) for v in moments(fit.encoding, model.gate_columns[: len(names)]))
    weight.copy_(torch.from_numpy((slope * sd).T[None]))
    bias.copy_(torch.from_numpy(intercept + slope @ mean)[None, None])


def _constants(fit: Fit, given: Given) -> None:
    """Find the parameters whose constants are those that are given."""
    own = list(fit.model.likelihood.parameters())
    if not own:
        return
    known = constants(fit.model, fit.encoding)
    named = [name for name in known if name in given.values]
    shapes = {name: tuple(known[name][1].shape) for name in named}
    wanted = [given.array(name, shapes[name]).ravel() for name in named]
    if not named:
        raise given.error(next(iter(known)), "required, but missing", "add it")
    goal = np.concatenate([np.empty(0), *wanted])
    there = np.concatenate([known[name][1].isfinite().numpy().ravel() for name in named])
    before = np.concatenate([known[name][1].double().numpy().ravel() for name in named])
    # Positive numbers by their ratio: degrees of freedom of 1e12 are far from 10 otherwise.
    far = there & (goal > 0) & (before > 0)
    size = np.maximum(np.abs(np.where(there, goal, 1.0)), 1e-8)

    def set_to(values: NDArray[Any]) -> None:
        for parameter, value in zip(own, shaped(torch.from_numpy(values), own), strict=True):
            parameter.copy_(value)

    def off(values: NDArray[Any]) -> NDArray[Any]:
        set_to(values)
        found = constants(fit.model, fit.encoding)
        flat = [found[name][1].double().numpy().ravel() for name in named]
        now = np.concatenate([np.empty(0), *flat])
        ratio = np.where(far & (now > 0), now, 1.0) / np.where(far, goal, 1.0)
        relative = np.where(far & (now > 0), np.log(ratio), (now - goal) / size)
        return np.where(there, relative, 0.0)

    start = np.concatenate([p.double().numpy().ravel() for p in own])
    missing = [name for name in known if name not in named]
    found = least_squares(off, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    if missing and np.linalg.matrix_rank(found.jac) < len(start):
        raise given.error(missing[0], "required, but missing", "add it")
    set_to(found.x)
    errors = np.abs(off(found.x))
    if errors.max() > EXACT:
        ends = np.cumsum([len(w) for w in wanted])
        worst = named[int(np.searchsorted(ends, int(errors.argmax()), side="right"))]
        raise given.error(worst, "is not possible in this family", "see docs/families.md")
