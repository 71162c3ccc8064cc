"""The fits of `select`: every candidate without each fold, and to all rows, each by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromoe.inference.distributed.spreading import spread
from pyromoe.inference.files.arviz_versions import leave_one_out
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.fitting.build import build
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.result import Fit
from pyromoe.inference.posterior.posterior import to_arviz
from pyromoe.inference.runs.store import restore
from pyromoe.inference.svi import fit
from pyromoe.models.specs.spec import Spec
from pyromoe.models.specs.spec_file import SpecFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.selection.candidates import Candidate
    from pyromoe.models.data.divide import Data

    Report = Callable[[float, str], None]
    Found = tuple[list[dict[str, Any]], list[NDArray[np.float64] | None], list[Fit | None]]


class Progress:
    """Progress over many fits.

    Args:
        progress: called with the share that is done and what is being done.
        total: how many fits.
        share: which part of the work they are.
    """

    def __init__(self, progress: Report | None, total: int, share: float) -> None:
        self.progress, self.total, self.share, self.done = progress, total, share, 0

    def of_fit(self, label: str) -> Report:
        """Return what one fit reports with."""

        def report(done: float, text: str) -> None:
            self.at(self.share * (self.done + done) / self.total, f"{label}: {text}")

        return report

    def at(self, done: float, text: str) -> None:
        """Report a share of everything."""
        if self.progress is not None:
            self.progress(min(done, 1.0), text)


@dataclass
class Folds:
    """Fits of several candidates to the same data.

    Attributes:
        among: the candidates.
        parts: the data, each fold held out once.
        whole: the data, nothing held out.
        report: of progress.
        keep: called with the name and the fit to all data, where it was made.
        checkpoints: where what came of each fit is kept, and of the one that is under way.
        broken: why a candidate broke down, by its place.
        made: the fits to all data that this process made, by the place of the candidate.
    """

    among: Sequence[Candidate]
    parts: Sequence[Data]
    whole: Data
    report: Progress
    keep: Callable[[str, Fit], None] | None
    checkpoints: Checkpoints | None = None
    broken: dict[int, str] = field(default_factory=dict)
    made: dict[int, Fit] = field(default_factory=dict)

    def found(self, processes: Processes) -> Found:
        """Return a row for each candidate, its held-out log p(y | x) by the folds, and its fit."""
        each = len(self.parts) + 1
        names = [self._name(c, v) for c in range(len(self.among)) for v in range(each)]
        ended = spread(processes, names, self._piece, self._arrived, self.checkpoints)
        rows, held_out, fits = [], [], list[Fit | None]()
        for c, one in enumerate(self.among):
            row, values, result = self._joined(c, ended[c * each : (c + 1) * each])
            rows.append({"candidate": one.name, "experts": one.experts} | row)
            held_out.append(values)
            fits.append(result)
        return rows, held_out, fits

    def _name(self, c: int, v: int) -> str:
        """Return the name of a fit: of the candidate, and of the fold that it is without."""
        return self.among[c].name if v == len(self.parts) else f"{self.among[c].name}-fold-{v + 1}"

    def _inner(self, c: int, v: int) -> Checkpoints | None:
        return None if self.checkpoints is None else self.checkpoints.inner(self._name(c, v))

    def _piece(self, number: int) -> Saved:
        """Fit a candidate once; the last of its pieces is the fit to all data."""
        c, v = divmod(number, len(self.parts) + 1)
        if c in self.broken:
            return Saved(values={"failure": self.broken[c]})
        started = time.perf_counter()
        try:
            found = self._of_all(c) if v == len(self.parts) else self._without(c, v)
        except NumericalError as error:
            return Saved(values={"failure": str(error)})
        seconds = time.perf_counter() - started
        return Saved(found.tensors, {**found.values, "seconds": seconds})

    def _arrived(self, number: int, found: Saved) -> None:
        self.report.done += 1
        if "failure" in found.values:
            self.broken.setdefault(number // (len(self.parts) + 1), found.values["failure"])

    def _without(self, c: int, v: int) -> Saved:
        """Return log p(y | x) of the fold that is held out."""
        one, part = self.among[c], self.parts[v]
        label = f"{one.label}, fold {v + 1} of {len(self.parts)}"
        report, inner = self.report.of_fit(label), self._inner(c, v)
        found = fit(one.file, data=part, progress=report, checkpoints=inner)
        x, y = to_tensors(part.test, found.spec)
        return Saved({"held_out": found.log_likelihood(x, y).double()})

    def _of_all(self, c: int) -> Saved:
        """Return the fit to all data, and what its draws say of leaving one datum out."""
        one = self.among[c]
        report, inner = (
            self.report.of_fit(f"{one.label}, all rows"),
            self._inner(c, len(self.parts)),
        )
        found = fit(one.file, data=self.whole, progress=report, checkpoints=inner)
        self.made[c] = found
        loo = leave_one_out(to_arviz(found)) if found.guide.weights.spread else {}
        if self.keep is not None:
            self.keep(one.name, found)
        values = {"spec": found.spec.model_dump(mode="json"), "loo": loo}
        return Saved(
            found.tensors(), {**values, "metrics": found.metrics, "history": found.history}
        )

    def _joined(
        self, c: int, ended: Sequence[Saved]
    ) -> tuple[dict[str, Any], NDArray[np.float64] | None, Fit | None]:
        failures = [one.values["failure"] for one in ended if "failure" in one.values]
        if failures:
            return {"failure": failures[0]}, None, None
        *parts, whole = ended
        held_out = np.concatenate([part.tensors["held_out"].numpy() for part in parts])
        metrics: dict[str, Any] = whole.values["metrics"]
        row: dict[str, Any] = {"held_out_log_likelihood": None}
        row |= {"train_log_likelihood": metrics["log_likelihood"]["train"] / len(held_out)}
        row |= {name: metrics[name] for name in ("parameters", "aic", "bic", "icl")}
        row |= whole.values["loo"] | {"seconds": sum(one.values["seconds"] for one in ended)}
        return row, held_out, self.made.get(c) or self._received(whole)

    def _received(self, whole: Saved) -> Fit:
        """Return a fit that another process made."""
        spec = Spec.model_validate(whole.values["spec"])
        plan, encoding = make_plan(SpecFile(spec)), self.whole.encoding
        model, guide = build(plan.spec, plan.latent, encoding, torch.Generator().manual_seed(0))
        metrics, history = whole.values["metrics"], whole.values["history"]
        found = Fit(plan.spec, encoding, model, guide, metrics, history, self.whole)
        restore(found, Saved(whole.tensors).to_bytes(), whole.source)
        return found
