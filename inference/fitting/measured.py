"""How well a fit describes rows, as sums over them, so that parts can be added."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.models.data.divide import Part
from pyromoe.models.data.row_parts import TEST, TRAIN
from pyromoe.models.likelihoods.observed import is_observed
from pyromoe.models.tables.groups import NOTHING
from pyromoe.models.tables.readers import ALONE, found_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data.divide import Data
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.data.stream import Stream
    from pyromoe.models.tables.readers import Readers


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

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"share": self.share.tolist()}

    @classmethod
    def again(cls, plain: dict[str, Any]) -> Measured:
        """Return what was plain."""
        share = torch.tensor(plain["share"], dtype=torch.float64)
        errors = {name: (total, number) for name, (total, number) in plain["errors"].items()}
        return cls(**plain | {"share": share, "errors": errors})

    def error(self) -> dict[str, float]:
        """Return accuracy for classes, root mean squared error otherwise, of what was observed.

        Of several responses, each has its own, its name in brackets.
        """
        found = {}
        for name, (total, number) in self.errors.items():
            mean = total / number if number else float("nan")
            found[name] = mean if name.startswith("accuracy") else float(np.sqrt(mean))
        return found


def measured(
    fit: Fitted, data: Data, name: str, *, errors: bool, readers: Readers = ALONE
) -> Measured | None:
    """Return what is measured on the rows of `train` or `test`, all of them; None without any.

    Of streamed rows the sums of shards are added: the bits do not depend on who reads which.
    """
    stream = data.stream
    if stream is None:
        whole = data.train if name == "train" else data.test
        return Measured.of(fit, whole, errors=errors) if len(whole.rows) else None

    def of_piece(part: Part) -> Measured:
        readers.went_on()
        return Measured.of(fit, part, errors=errors)

    def find() -> list[dict[str, Any] | None]:
        mine = readers.mine(len(stream.shards))
        parts = (_parts(stream, shard, TRAIN if name == "train" else TEST) for shard in mine)
        own = (_sum(map(of_piece, each)) for each in parts)
        return [None if found is None else found.plain() for found in own]

    shards = [shard for one in found_by(readers, find) for shard in one]
    return _sum(Measured.again(shard) for shard in shards if shard is not None)


def _sum(each: Iterable[Measured]) -> Measured | None:
    found = None
    for more in each:
        found = more if found is None else found + more
    return found


def _parts(stream: Stream, shard: int, part: int) -> Iterator[Part]:
    """Yield the rows of a part in a shard, a piece at a time."""
    for segment in stream.shards[shard]:
        for chosen in stream.read(segment, part):
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
