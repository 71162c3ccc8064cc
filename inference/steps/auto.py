"""Which way of running a step pays, by the work ahead.

    cost(mode) = seconds until it is ready + steps ahead x seconds a step

The first steps are run in Python and timed, and so are the first captured ones; what compiling
would cost and gain is known from the last time that this graph was compiled on this machine, and
estimated otherwise from the number of its operations.
"""

from __future__ import annotations

import json
import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pyromoe.inference.steps import graph as graphs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.fx import GraphModule

Mode = Literal["auto", "eager", "captured", "compiled"]

LOOKED_AT = 6
"""Steps that are timed, the first of them left out, before another mode is considered."""
CAPTURING, PYTHONS = 60, 0.45
"""What capturing takes, in steps, and the part of a step that it saves."""
READY, AN_OPERATION, FIRST = 4.0, 0.025, 9.0
"""Seconds that compiling takes at least, for every operation of the graph, and more where nothing
was ever compiled: the compiler's headers are then compiled too."""
SAVED, KEPT = 6.2e-6, 0.15
"""Seconds that compiling saves for every operation, and the part of a step that it cannot save."""
LOADING = 2.5
"""Seconds to load what was compiled in an earlier run, before it was measured."""


@dataclass
class Form:
    """Steps of one form, that is of one graph."""

    uses: int = 0
    mode: Mode = "eager"
    text: str = ""
    operations: int = 0
    file: Path | None = None
    known: dict[str, float] = field(default_factory=dict)
    times: dict[Mode, list[float]] = field(default_factory=dict)


class Auto:
    """Chooses a mode for every form of step.

    Args:
        first: how the first steps are run; members side by side are captured from the first, since
            one by one they would be rounded otherwise.
    """

    def __init__(self, first: Mode = "eager") -> None:
        self.first = first
        self.forms: dict[object, Form] = {}

    @property
    def text(self) -> str:
        """What was chosen for most steps, and why."""
        form = max(self.forms.values(), key=lambda f: f.uses, default=Form())
        return form.text or form.mode

    def mode(self, key: object, ahead: int) -> Mode:
        """Return the mode of the next step of a form; `ahead` steps of all forms are to come."""
        form = self.forms.setdefault(key, Form(mode=self.first))
        form.uses += 1
        share = form.uses / sum(f.uses for f in self.forms.values())
        of_form = ahead * share
        if form.mode == "eager" and self._timed(form, "eager") and PYTHONS * of_form > CAPTURING:
            form.mode = "captured"
        if form.mode == "captured" and not form.text and self._timed(form, "captured"):
            self._consider(form, of_form)
        return form.mode

    def captured(self, key: object, graph: GraphModule, arguments: Sequence[Tensor]) -> None:
        """Take note of the graph of a form."""
        form = self.forms.setdefault(key, Form())
        form.operations = len(graph.graph.nodes)
        form.file = graphs.cache() / f"{graphs.fingerprint(graph, arguments)}.json"
        form.known = _read(form.file)

    def compiled(self, key: object, seconds: float) -> None:
        """Take note of how long it took to compile a form: the next time it is only loaded."""
        form = self.forms.setdefault(key, Form())
        form.known["ready"] = seconds if form.known else LOADING

    def record(self, key: object, mode: Mode, seconds: float) -> None:
        """Take note of how long a step took."""
        form = self.forms[key]
        times = form.times.setdefault(mode, [])
        if len(times) < LOOKED_AT:
            times.append(seconds)
            if mode == "compiled" and self._timed(form, mode):
                form.known["step"] = statistics.median(times[1:])
                _write(form)

    def _timed(self, form: Form, mode: Mode) -> bool:
        return len(form.times.get(mode, ())) == LOOKED_AT

    def _consider(self, form: Form, ahead: float) -> None:
        """Choose between replaying and compiling."""
        captured = statistics.median(form.times["captured"][1:])
        ready = READY + AN_OPERATION * form.operations
        if not graphs.cache_of_torch().exists():
            ready += FIRST
        ready = form.known.get("ready", ready)
        guess = max(captured - SAVED * form.operations, KEPT * captured)
        compiled = form.known.get("step", guess)
        pays = ready + ahead * compiled < ahead * captured
        form.mode = "compiled" if pays else "captured"
        form.text = (
            f"{form.mode}: {ahead:,.0f} steps ahead at {1e3 * captured:.2f} ms captured, "
            f"{1e3 * compiled:.2f} ms compiled after {ready:.0f} s"
        )


def _read(file: Path) -> dict[str, float]:
    """Return what is known of a graph; nothing where the file is not there, or not ours."""
    try:
        found = json.loads(file.read_text())
        return {name: float(found[name]) for name in ("ready", "step")}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(form: Form) -> None:
    if form.file is None:
        return
    with suppress(OSError):  # a cache that cannot be written only costs time
        form.file.parent.mkdir(parents=True, exist_ok=True)
        form.file.write_text(json.dumps(form.known))
