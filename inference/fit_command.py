"""The command `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyromoe.inference import terminal
from pyromoe.inference.interruptible import (
    budget_of,
    logs_in,
    read,
    resumable,
    says_finished,
    target_of,
)
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

    file = read(spec, set_, treatment)
    resume = resume or restarted()
    with joined() as processes:
        target = target_of(out, file, spec, resume=resume)
        finished = processes.first and resume and says_finished(target)
        if processes.said(finished)[0]:
            return
        if not processes.first:
            _take_part(file, budget_of(budget), processes)
            return
        with resumable(target, resume=resume, overwrite=overwrite, processes=processes) as (
            folder,
            checkpoints,
        ):
            with terminal.progress() as report:
                result = run(
                    file,
                    budget=budget_of(budget),
                    progress=report,
                    checkpoints=checkpoints,
                    log=logs_in(file, folder),
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
