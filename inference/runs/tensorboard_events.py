"""Rows of the history as curves for TensorBoard, a run a restart.

A process writes a file of its own for each restart. Its first event tells TensorBoard to forget
what an interrupted process wrote of that step and later ones, so that a curve goes on.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pyromoe.inference.fitting.training import NOT_VALUES
from pyromoe.inference.files.writing import append

NOT_CURVES = (*NOT_VALUES, "step")


class Curves:
    """Writes event files; a value of a row is a scalar of its name.

    Args:
        folder: where; `restart-0` and so on are in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, dict[int, Path]()

    def __call__(self, event: str, /, **values: Any) -> None:
        """Append what is in a row."""
        if event == "started":
            self.files = {}
        if event != "row":
            return
        restart, step = values["restart"], values["step"]
        if restart not in self.files:
            self._begin(restart, step)
        scalars = {n: v for n, v in values.items() if n not in NOT_CURVES and v is not None}
        found = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(restart, Event(step=step, summary=Summary(value=found)))

    def _begin(self, restart: int, step: int) -> None:
        folder = self.folder / f"restart-{restart}"
        number = len(list(folder.glob("events.out.tfevents.*")))
        self.files[restart] = folder / f"events.out.tfevents.{number:06}"  # read in this order
        self._write(restart, Event(file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(restart, Event(step=step, session_log=start))

    def _write(self, restart: int, event: Event) -> None:
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append(self.files[restart], record.getvalue())
