"""A loop as a part of a checkpoint: everything that its next step needs."""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict

from pyromoe.inference.files.checkpoints import REMEDY, Saved
from pyromoe.inference.files.signals import Stopped
from pyromoe.inference.fitting.history import History
from pyromoe.inference.steps.step_state import restore_step, save_step
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.loop import Loop
    from pyromoe.inference.fitting.restart import Restart

TENSORS = ("model", "guide", "history")
"""What of a restart is not written as JSON; of the first two the numbers are in the step."""
NUMBERS = ("epoch", "written", "bucket", "rate", "options")
"""Of a loop, what JSON holds exactly."""


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Restart(_Plain):
    """What of a restart is not in tensors."""

    seed: int
    log_likelihood: float | None
    score: float
    steps: int
    seconds: float
    failure: str
    mode: str
    gradient: float | None
    initialisation: str
    validation: float | None
    best_epoch: int | None
    stopped_at: int | None
    retries: int


class _Values(_Plain):
    """What of a loop is not in tensors."""

    taken: int
    ended: bool
    epoch: int
    written: float
    bucket: int
    rate: float
    options: dict[str, float]
    orders: int
    kept: int
    times: list[int]
    elapsed: float
    restarts: list[_Restart]
    columns: list[list[str]]


def run(loop: Loop, checkpoints: Checkpoints, name: str) -> None:
    """Run a loop from where it was left, and save it as often as its spec says.

    Raises:
        Stopped: after a signal, when its step is saved.
    """
    every, signals = loop.plan.spec.fit.checkpoint_seconds, checkpoints.signals

    def save(loop: Loop, ended: bool) -> None:
        stops = loop.take.agreed(stops=signals.came is not None)
        if ended or stops or loop.take.as_first(checkpoints.due(every)):
            checkpoints.keep(name, loop.take.gathered(saved(loop, ended=ended)))
            loop.log("checkpoint", part=name, step=loop.take.taken)
        if stops:
            raise Stopped(signals.came or signal.SIGTERM)

    before = checkpoints.take(name)
    if before is not None:
        go_on(loop, loop.take.scattered(before))
        history = [row for restart in loop.restarts for row in restart.history]
        loop.log("resumed", part=name, step=loop.take.taken, history=history)
    if before is not None and before.values["ended"]:
        loop.hand_over()
        return
    loop.save, signals.awaited = save, True
    try:
        loop.run()
    finally:
        signals.awaited = False


def saved(loop: Loop, *, ended: bool) -> Saved:
    """Return what a loop needs to go on, between two steps or after its last."""
    step, tensors = save_step(loop.take), dict[str, "Tensor"]()
    tensors |= {f"order_{r}": state for r, state in enumerate(loop.batches.began)}
    tensors |= {f"kept_{i}": tensor for i, tensor in enumerate(loop.rollback.kept)}
    if loop.watch is not None:
        tensors["best"] = loop.watch.best
    for r, restart in enumerate(loop.restarts):
        columns = [list(column) for column in restart.history.columns.values()]
        tensors[f"history_{r}"] = torch.tensor(columns, dtype=torch.float64)
    tensors["losses"] = torch.tensor(loop.losses, dtype=torch.float64)
    values = {
        **step.values,
        "ended": ended,
        **{name: getattr(loop, name) for name in NUMBERS},
        "orders": len(loop.batches.began),
        "kept": len(loop.rollback.kept),
        "times": loop.collapse.times,
        "elapsed": loop.clock.elapsed,
        "restarts": [_record(restart) for restart in loop.restarts],
        "columns": [list(restart.history.columns) for restart in loop.restarts],
    }
    return Saved({**step.tensors, **tensors}, values)


def go_on(loop: Loop, before: Saved) -> None:
    """Take up a loop where it was saved; its step follows before it is next taken.

    Raises:
        InputError: where it was saved by a loop of another form.
    """
    try:
        _go_on(loop, before, _Values.model_validate(before.values))
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = "is not what a fit of this version has written"
        raise InputError(what, file=before.source, remedy=REMEDY) from None


def _go_on(loop: Loop, before: Saved, values: _Values) -> None:
    tensors = before.tensors
    restore_step(loop.take, before)
    loop.losses = tensors["losses"].reshape(-1, len(loop.restarts)).tolist()
    for name in NUMBERS:
        setattr(loop, name, getattr(values, name))
    loop.clock.started -= values.elapsed
    orders = [generator.get_state() for generator in loop.batches.orders]
    loop.batches.began = [before.like(f"order_{r}", orders[r]) for r in range(values.orders)]
    loop.collapse.times = values.times
    later = range(len(loop.rollback.kept), values.kept)
    loop.rollback.kept = [
        *(before.like(f"kept_{i}", tensor) for i, tensor in enumerate(loop.rollback.kept)),
        *(tensors[f"kept_{i}"].to(loop.x.device) for i in later),
    ]
    if loop.watch is not None:
        loop.watch.best.copy_(before.like("best", loop.watch.best))
    for r, (restart, plain) in enumerate(zip(loop.restarts, values.restarts, strict=True)):
        columns = tensors[f"history_{r}"].tolist()
        restart.history = History(dict(zip(values.columns[r], columns, strict=True)))
        for name, value in plain.model_dump().items():
            setattr(restart, name, value)


def _record(restart: Restart) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(restart) if field.name not in TENSORS]
    return {name: getattr(restart, name) for name in names}
