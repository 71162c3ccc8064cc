"""The commands `fit` and `compare`, which may be interrupted and gone on with."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyromoe.inference import terminal
from pyromoe.inference.options import (  # noqa: TC001  # typer reads the annotations
    BudgetText,
    Out,
    Overwrite,
    Resume,
    Settings,
    SpecPath,
)
from pyromoe.inference.report_command import write_and_say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.checkpoints import Checkpoints
    from pyromoe.inference.log_files import LogFiles
    from pyromoe.inference.processes import Processes
    from pyromoe.models.spec_file import SpecFile


def fit(
    spec: SpecPath,
    treatment: Annotated[
        str | None, typer.Option(help="How the gradient gets through z; see pyromoe treatments.")
    ] = None,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    budget: BudgetText = None,
) -> None:
    """Fit a spec and write a run directory.

    Ctrl-C and SIGTERM save the fit in DIR.unfinished; the same command with --resume goes on with
    it, to the same bits. So it does after a crash, from the last checkpoint.
    """
    from pyromoe.inference.inspection import show
    from pyromoe.inference.processes import joined, restarted
    from pyromoe.inference.run_directory import save_run
    from pyromoe.inference.summaries.of_directory import summarise
    from pyromoe.inference.svi import fit as run

    file = _read(spec, set_, treatment)
    resume = resume or restarted()
    with joined() as processes:
        target = _target(out, file, spec, resume=resume)
        finished = processes.first and resume and _is_finished(target)
        if processes.said(finished)[0]:
            return
        if not processes.first:
            _take_part(file, _budget(budget), processes)
            return
        with _resumable(target, processes, resume=resume, overwrite=overwrite) as (
            folder,
            checkpoints,
        ):
            with terminal.progress() as report:
                result = run(
                    file,
                    budget=_budget(budget),
                    progress=report,
                    checkpoints=checkpoints,
                    log=_logs(file, folder),
                    processes=processes,
                )
            save_run(result, folder, target)
    show(summarise(target))
    terminal.out.print(f"\nwritten to {target}; next: pyromoe inspect {target}", markup=False)
    write_and_say(target)


def _take_part(file: SpecFile, budget: Any, processes: Processes) -> None:
    """Compute this process's share of a fit that process 0 writes down."""
    from pyromoe.inference.shared_checkpoints import SharedCheckpoints
    from pyromoe.inference.svi import fit as run

    with terminal.deferring() as signals:
        checkpoints = SharedCheckpoints(Path(), processes, signals)
        run(file, budget=budget, checkpoints=checkpoints, processes=processes)


def compare(
    spec: SpecPath,
    treatments: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names, or all; else those of compare.treatments."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Seeds of the fits.")] = None,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    budget: BudgetText = None,
) -> None:
    """Fit a spec with several treatments of z, side by side.

    Ctrl-C and SIGTERM save what was done in DIR.unfinished; the same command with --resume goes on
    with it, and repeats no fit that has ended.
    """
    from pyromoe.inference.comparison import compare as run
    from pyromoe.inference.processes import Processes
    from pyromoe.inference.run_directory import save_run
    from pyromoe.inference.store import save_spec, write_csv, write_json
    from pyromoe.inference.verified import seal

    chosen = {"treatments": treatments, "seeds": seeds}
    lists = [f"compare.{name}=[{text}]" for name, text in chosen.items() if text is not None]
    file = _read(spec, [*(set_ or ()), *lists], None)
    target = _target(out, file, spec, resume=resume)
    if resume and _is_finished(target):
        return
    alone = Processes()
    with _resumable(target, alone, resume=resume, overwrite=overwrite) as (folder, checkpoints):

        def keep(name: str, result: Any) -> None:
            (folder / name).mkdir(exist_ok=True)
            save_run(result, folder / name, target / name)

        with terminal.progress() as report:
            result = run(
                file,
                budget=_budget(budget),
                progress=report,
                keep=keep,
                checkpoints=checkpoints,
                logs=_logs(file, folder).inner,
            )
        summary = {"summary": result.summary, "measured_on": result.measured_on}
        write_json(folder / "comparison.json", summary | {"rows": result.rows})
        save_spec(file, folder, target)
        write_csv(folder / "comparison.csv", result.rows)
        seal(folder)
    _show_comparison(result.rows, result.measured_on)
    terminal.out.print(f"\n{result.summary}", markup=False)
    terminal.out.print(
        f"\n{target} holds comparison.json, comparison.csv and a run directory for each fit, "
        "with its posterior.nc",
        markup=False,
    )
    write_and_say(target)


def _read(spec: Path, settings: list[str] | None, treatment: str | None) -> SpecFile:
    from pyromoe.inference.log_files import MISSING, has_tensorboard
    from pyromoe.models.spec_file import read_spec

    overrides = list(settings or ())
    if treatment is not None:
        overrides.insert(0, f"treatment={treatment}")
    file = read_spec(spec, overrides)
    if file.spec.output.tensorboard and not has_tensorboard():
        raise file.error("output.tensorboard", *MISSING)
    return file


def _target(out: Path | None, file: SpecFile, spec: Path, *, resume: bool) -> Path:
    """Return the directory to write; one that nobody named never collides."""
    from pyromoe.inference.directories import free_directory, last_directory

    named = out or (file.spec.output.directory and Path(file.spec.output.directory))
    own = Path("runs") / spec.stem
    return named or (last_directory(own) if resume else free_directory(own))


def _is_finished(target: Path) -> bool:
    """Say so where there is nothing to go on with."""
    from pyromoe.inference.directories import is_finished

    if finished := is_finished(target):
        terminal.out.print(f"{target} is finished: nothing is left to go on with", markup=False)
    return finished


@contextmanager
def _resumable(
    target: Path, processes: Processes, *, resume: bool, overwrite: bool
) -> Iterator[tuple[Path, Checkpoints]]:
    """Give the folder to write in and its checkpoints, and hold signals until these are saved."""
    from pyromoe.inference.directories import resumable_directory
    from pyromoe.inference.shared_checkpoints import SharedCheckpoints

    with (
        resumable_directory(target, resume=resume, overwrite=overwrite) as place,
        terminal.deferring() as signals,
    ):
        checkpoints = SharedCheckpoints(place.checkpoints, processes, signals)
        if checkpoints.note:
            terminal.err.print(checkpoints.note, markup=False)
        if checkpoints.parts:
            terminal.err.print(f"going on with {place.folder}", markup=False)
        yield place.folder, checkpoints


def _logs(file: SpecFile, folder: Path) -> LogFiles:
    """Return the files that grow while a fit runs."""
    from pyromoe.inference.log_files import LogFiles

    def say(what: str) -> None:
        terminal.err.print(what, markup=False)

    return LogFiles(folder, tensorboard=file.spec.output.tensorboard, say=say)


def _budget(text: str | None) -> Any:
    from pyromoe.inference.budget import Budget

    return None if text is None else Budget.parse(text)


def _show_comparison(rows: list[dict[str, Any]], measured_on: str) -> None:
    """Print the table and what its headings mean."""
    from pyromoe.inference.summaries.comparison import comparison_table

    terminal.tabular(comparison_table(rows, measured_on))
    for row in rows:
        if "failure" in row:
            terminal.out.print(f"{row['treatment']} broke down: {row['failure']}", markup=False)
