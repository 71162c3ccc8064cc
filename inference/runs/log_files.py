"""What happens in a fit, in files that grow while it runs.

    history.csv    every row of the history, begun anew from a checkpoint's where a fit goes on
    log.jsonl      one JSON object a line: the time, the event, its values
    tensorboard/   the rows as curves, where they are asked for

Each is appended to by whole records. None of them is needed to go on with a fit.
"""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference.files.writing import append, cut_torn_line
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyromoe.inference.fitting.events import Log

MISSING = "needs tensorboard, which is not installed", 'pip install "pyromoe[tensorboard]"'


class LogFiles:
    """Keeps what happens in a fit in a folder: `history.csv`, `log.jsonl` and curves.

    A file that cannot be written is named once, and the fit goes on.

    Args:
        folder: where; it is made with the first file.
        tensorboard: whether curves for TensorBoard are written as well.
        say: called with a line on a file that cannot be written; a warning where it is None.

    Raises:
        InputError: where TensorBoard is asked for and not installed.

    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from pyromoe.inference import LogFiles, fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> folder = Path(tempfile.mkdtemp())
    >>> found = fit(spec, log=LogFiles(folder))
    >>> lines = (folder / "log.jsonl").read_text().splitlines()
    >>> [json.loads(line)["event"] for line in lines][:2]
    ['started', 'progress']
    >>> len((folder / "history.csv").read_text().splitlines())  # a heading and 5 rows
    6
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        tensorboard: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if tensorboard and not has_tensorboard():
            raise InputError(MISSING[0], remedy=MISSING[1])
        self.folder, self.tensorboard = Path(folder), tensorboard
        self.say = say or warnings.warn
        self.said = set[str]()
        self.logs: list[Log] = [
            HistoryFile(self.folder / "history.csv"),
            JSONLines(self.folder / "log.jsonl"),
        ]
        if tensorboard:
            from pyromoe.inference.runs.tensorboard_events import Curves

            self.logs.append(Curves(self.folder / "tensorboard"))

    def __call__(self, event: str, /, **values: Any) -> None:
        """Write what is to be written of an event."""
        for log in self.logs:
            try:
                log(event, **values)
            except OSError as error:
                name = Path(str(error.filename or self.folder)).name
                if name not in self.said:
                    self.said.add(name)
                    self.say(f"{name} cannot be written ({error.strerror}); the fit goes on")

    def inner(self, name: str) -> LogFiles:
        """Return the files of a fit among several, in a folder in this one."""
        found = LogFiles(self.folder / name, tensorboard=self.tensorboard, say=self.say)
        found.said = self.said
        return found


def has_tensorboard() -> bool:
    """Whether curves can be written for it."""
    return find_spec("tensorboard") is not None


class HistoryFile:
    """Rows of the history as CSV, as they are made."""

    def __init__(self, path: Path) -> None:
        self.path, self.columns = path, list[str]()

    def __call__(self, event: str, /, **values: Any) -> None:
        """Append the rows of an event, if it has any; begin anew with a process."""
        if event == "started":
            self.path.unlink(missing_ok=True)
            self.columns = []
        rows = [values] if event == "row" else values.get("history", ())
        if not rows:
            return
        columns, text = self.columns or list(rows[0]), io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        if not self.columns:
            writer.writeheader()
        writer.writerows(rows)
        append(self.path, text.getvalue().encode())
        self.columns = columns


class JSONLines:
    """Events, one JSON object a line; of rows those with the exact log-likelihood."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: str, /, **values: Any) -> None:
        """Append an event; what a crash has left of a line is cut off before."""
        if event == "started":
            with suppress(FileNotFoundError):
                cut_torn_line(self.path)
        if event == "row":
            if values["log_likelihood"] is None:
                return
            event = "progress"
        values.pop("history", None)  # it is in its own file
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **_finite(values)}, allow_nan=False)
        append(self.path, f"{line}\n".encode())


def _finite(value: Any) -> Any:
    """Return a value with None for each number that JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
