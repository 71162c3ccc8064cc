r"""Choose the number of experts: V-fold held-out log p(y | x), and the criteria beside it.

    l_i    = log p(y_i | x_i), fitted to the folds without i, z summed out, nats
    behind = mean (l_i of the best - l_i),   its error = sd of these differences / sqrt(N)

Recommended is the mixture with the fewest parameters that is behind the best one by no more than
the standard error of that difference: the rule of Breiman et al. (1984, section 3.4.3), with paired
differences in place of the error of the best alone. Folds share training rows, so that the errors
are somewhat too small (Bengio and Grandvalet, 2004).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.inference.distributed.processes import ALONE
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.recognised import recognise
from pyromoe.inference.selection.candidates import Candidate, candidates
from pyromoe.inference.selection.folds import Folds, Progress
from pyromoe.inference.selection.likelihood_ratio import bootstrap_test
from pyromoe.inference.selection.recommendation import recommend, recommended
from pyromoe.inference.svi import as_file
from pyromoe.models.data.data import undivided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.inference.selection.likelihood_ratio import LikelihoodRatio
    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_file import SpecFile

    Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Selection:
    """Numbers of experts side by side.

    Attributes:
        rows: one for each candidate, as in `selection.json`: the mixtures by their number, then
            the plain network; a candidate that broke down has a `failure`.
        held_out: log p(y | x) of each training datum while it was held out, (N,), nats, for each
            row; None where the candidate broke down.
        weight: how much each datum counts, (N,).
        places: the first row of each datum in the table, from 0, (N,).
        folds: in which fold it was held out, from 0, (N,).
        fits: of all training data, for each row; None where the candidate broke down.
        chosen: the place of the recommended mixture; None where every one broke down.
        tests: of a number of experts against the one before, where they were asked for.
        recommendation: in words, with its uncertainty.

    >>> from pyromoe.inference import select
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = select(spec, experts=[1], folds=2)
    >>> found.held_out[0].shape, sorted(set(found.folds.tolist()))  # (N,)
    ((188,), [0, 1])
    """

    rows: list[dict[str, Any]]
    held_out: list[NDArray[np.float64] | None]
    weight: NDArray[np.float64]
    places: NDArray[np.int64]
    folds: NDArray[np.int64]
    fits: list[Fit | None]
    chosen: int | None
    tests: dict[str, LikelihoodRatio] = field(default_factory=dict)
    recommendation: str = ""

    def __repr__(self) -> str:
        """Return the recommendation: the arrays would fill pages."""
        return self.recommendation

    def to_json(self) -> dict[str, Any]:
        """Return the tests as `selection.json` has them."""
        return {n: asdict(test) | {"p_value": test.p_value} for n, test in self.tests.items()}

    def of_each_row(self) -> list[dict[str, Any]]:
        """Return a row for each training datum: its first row in the table, its log p(y | x)."""
        names = [row["candidate"] for row in self.rows]
        known = {n: v for n, v in zip(names, self.held_out, strict=True) if v is not None}
        return [
            {"row": int(place), "fold": int(fold)} | {n: float(v[i]) for n, v in known.items()}
            for i, (place, fold) in enumerate(zip(self.places, self.folds, strict=True))
        ]

    @property
    def fit(self) -> Fit:
        """The fit of the recommended number of experts to all training data.

        Raises:
            NumericalError: where every candidate broke down.
        """
        found = None if self.chosen is None else self.fits[self.chosen]
        if found is None:
            raise NumericalError("no number of experts could be fitted")
        return found


def select(
    spec: Spec | SpecFile | Path | str,
    table: object = None,
    *,
    experts: Sequence[int] | None = None,
    folds: int | None = None,
    bootstrap: int | None = None,
    progress: Report | None = None,
    keep: Callable[[str, Fit], None] | None = None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
) -> Selection:
    """Choose the number of experts of a spec.

    Every candidate is fitted to all training data but a fold, for each fold, with means and
    spreads of its own, and then to all training data. Test data of the spec are not looked at.

    Args:
        spec: a spec, or the path of one; its `experts.number` is not used.
        table: columns in place of the spec's file; see `fit`.
        experts: numbers of experts; those of `select.experts` where it is None.
        folds: V; that of `select.folds` where it is None.
        bootstrap: samples of the likelihood ratio tests; `select.bootstrap` where it is None.
        progress: called with the share that is done and what is being done.
        keep: called with the name and the fit to all training data, as each ends, in the process
            that made it.
        checkpoints: where to save what is needed to go on after an interruption, and to go on
            from; a fit that has ended is not repeated.
        processes: over which the fits are spread, from `joined()`; each returns the same.

    Raises:
        InputError: for a mistake in the spec or the data, before the first fit begins.

    >>> from pyromoe.inference import select
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = select(spec, experts=[1, 2], folds=2)
    >>> [row["candidate"] for row in found.rows]
    ['1', '2', 'network']
    """
    file = as_file(spec)
    asked = {"experts": experts, "folds": folds, "bootstrap": bootstrap}
    settings = file.spec.select.model_dump() | {n: v for n, v in asked.items() if v is not None}
    file = file.changed(select=settings)
    chosen = file.spec.select
    among, data = candidates(file, chosen.experts), undivided(file, table)
    parts, whole = data.folds(chosen.folds), data.split()
    if checkpoints is not None:
        recognise(checkpoints, file.spec, whole, **chosen.model_dump())
    of_fits = 0.2 if chosen.bootstrap else 1.0
    report = Progress(progress, len(among) * (chosen.folds + 1), of_fits)
    first = [part.test.rows.reshape(len(part.test.rows), -1)[:, 0] for part in parts]
    order = np.argsort(np.concatenate(first))
    places = np.concatenate(first)[order]
    fold = np.repeat(np.arange(len(parts)), [len(one) for one in first])[order]
    weight = np.concatenate([_weights(part) for part in parts])[order]
    rows, held_out, fits = Folds(among, parts, whole, report, keep, checkpoints).found(processes)
    held_out = [None if values is None else values[order] for values in held_out]
    best = recommended(rows, held_out, weight)
    tests = _tests(among, fits, chosen.bootstrap, report, processes, checkpoints)
    for name, test in tests.items():
        tested = next(row for row in rows if row["candidate"] == name)
        tested |= {"p_value": test.p_value, "bootstrap_samples": len(test.samples)}
    said = recommend([one.label for one in among], rows, best)
    return Selection(rows, held_out, weight, places, fold, fits, best, tests, said)


def _weights(part: Data) -> NDArray[np.float64]:
    """Return how much each held-out datum counts, (N,)."""
    roles = [extra.role for extra in part.encoding.extras]
    if "weight" not in roles:
        return np.ones(len(part.test.rows))
    column = len(roles) - roles.index("weight")
    values: NDArray[np.float64] = part.test.x[..., -column].astype(np.float64)
    return values if values.ndim == 1 else values[:, 0]


def _tests(
    among: Sequence[Candidate],
    fits: Sequence[Fit | None],
    draws: int,
    report: Progress,
    processes: Processes,
    checkpoints: Checkpoints | None,
) -> dict[str, LikelihoodRatio]:
    """Return the test of every number of experts against the one before, by its name."""
    pairs = [
        (fits[i - 1], fits[i], one)
        for i, one in enumerate(among)
        if one.mixture and i and fits[i - 1] is not None and fits[i] is not None and draws
    ]
    found = dict[str, Any]()
    for number, (smaller, larger, one) in enumerate(pairs):

        def tell(done: float, text: str, number: int = number, label: str = one.label) -> None:
            share = report.share + (1 - report.share) * (number + done) / len(pairs)
            report.at(share, f"{label} against the number before: {text}")

        assert smaller is not None
        assert larger is not None
        found[one.name] = bootstrap_test(smaller, larger, draws, tell, processes, checkpoints)
    return found
