"""How well a fit describes rows, as sums over them, so that parts can be added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pyromoe.inference.probabilities import to_tensors
from pyromoe.models.divide import Part
from pyromoe.models.groups import NOTHING
from pyromoe.models.likelihoods.observed import is_observed
from pyromoe.models.row_parts import TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.divide import Data
    from pyromoe.models.encoding import Encoding


class Fitted(Protocol):
    """What is asked of a `Fit`."""

    spec: Spec
    encoding: Encoding
    model: MixtureOfExperts

    def log_joint(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(y, z = k | x), (N, K), on the original scale, in nats."""

    def means(self, x: Tensor) -> list[NDArray[Any]]:
        """Return E[y | x] of each response."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over the rows of a table, or over some of them.

    Attributes:
        log_likelihood: log p(y | x) on the original scale, nats, each datum as often as it counts.
        data: how many data there are.
        rows: how many rows.
        weight: how often the data count.
        observed: how often the rows count.
        entropy: of the responsibilities, nats, as often as each datum counts.
        share: the mean responsibilities, (K,).
        errors: of each response, by name, its rows that are predicted right or its squared errors,
            and how many were observed.
    """

    log_likelihood: float
    data: int
    rows: int
    weight: float
    observed: float
    entropy: float
    share: Tensor
    errors: dict[str, tuple[float, int]]

    @classmethod
    def of(cls, fit: Fitted, part: Part, *, errors: bool) -> Measured:
        """Return what is measured on some rows, with or without their errors."""
        x, y = to_tensors(part, fit.spec)
        joint = fit.log_joint(x, y)
        r, own = joint.softmax(-1), fit.model.weight(x)
        weight = torch.as_tensor(own).expand(len(r)).to(r)
        there = torch.from_numpy(part.rows != NOTHING).reshape(len(r), -1)
        return cls(
            log_likelihood=float((joint.logsumexp(-1) * own).sum()),
            data=len(r),
            rows=int(there.sum()),
            weight=float(weight.sum()),
            observed=float((weight[:, None] * there).sum()),
            entropy=float(-torch.special.xlogy(r, r).sum(-1) @ weight),
            share=(r * weight[:, None] / weight.mean()).double().mean(0),
            errors=_errors(fit, x, y) if errors else {},
        )

    def __add__(self, other: Measured) -> Measured:
        """Return the sums over the rows of both."""
        weight = self.weight + other.weight
        a, b = self.weight / weight, other.weight / weight
        pairs = {name: (self.errors[name], other.errors[name]) for name in self.errors}
        return Measured(
            self.log_likelihood + other.log_likelihood,
            self.data + other.data,
            self.rows + other.rows,
            weight,
            self.observed + other.observed,
            self.entropy + other.entropy,
            a * self.share + b * other.share,
            {name: (p[0] + q[0], p[1] + q[1]) for name, (p, q) in pairs.items()},
        )

    def error(self) -> dict[str, float]:
        """Return accuracy for classes, root mean squared error otherwise, of what was observed.

        Of several responses, each has its own, its name in brackets.
        """
        found = {}
        for name, (total, number) in self.errors.items():
            mean = total / number if number else float("nan")
            found[name] = mean if name.startswith("accuracy") else float(np.sqrt(mean))
        return found


def measured(fit: Fitted, data: Data, name: str, *, errors: bool) -> Measured | None:
    """Return what is measured on the rows of `train` or `test`, all of them; None without any."""
    found = None
    for part in _parts(data, name):
        more = Measured.of(fit, part, errors=errors)
        found = more if found is None else found + more
    return found


def _parts(data: Data, name: str) -> Iterator[Part]:
    whole = data.train if name == "train" else data.test
    if data.stream is None:
        if len(whole.rows):
            yield whole
        return
    for chosen in data.stream.all(TRAIN if name == "train" else TEST):
        yield Part(chosen.x, chosen.y, np.arange(len(chosen.x)))


def _errors(fit: Fitted, x: Tensor, y: Tensor) -> dict[str, tuple[float, int]]:
    found, several = {}, len(fit.encoding.targets) > 1
    for r, (mean, target) in enumerate(zip(fit.means(x), fit.encoding.targets, strict=True)):
        values = y[..., r] if several else y
        there, known = is_observed(values).numpy(), values.numpy()
        name = "accuracy" if target.labels else "rmse"
        if target.labels:
            guessed = mean.argmax(-1) if mean.ndim > values.dim() else mean > 0.5
            total = float((guessed == known)[there].sum())
        else:
            total = float(np.sum((mean - fit.encoding.decode(known, r))[there] ** 2))
        found[f"{name}({target.name})" if several else name] = (total, int(there.sum()))
    return found
