"""The command `fit`."""

from __future__ import annotations

from typing import Annotated

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.interruptible import (
    budget_of,
    logs_in,
    named,
    read,
    reporting,
    resumable,
    task_of,
)
from pyromoe.inference.commands.options import (  # noqa: TC001  # typer reads the annotations
    BudgetText,
    Out,
    Overwrite,
    Resume,
    Settings,
    SpecPath,
)
from pyromoe.inference.commands.report import write_and_say


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
    from pyromoe.inference.distributed.processes import joined

    with joined() as processes:
        from pyromoe.inference.commands.inspection import show
        from pyromoe.inference.fitting.events import silent
        from pyromoe.inference.runs.run_directory import save_run
        from pyromoe.inference.summaries.of_directory import summarise
        from pyromoe.inference.svi import fit as run

        file = read(spec, set_, treatment)
        task = task_of(named(out, file), spec.stem, processes, resume=resume)
        if task.finished and not processes.begun:
            return
        if not task.finished:
            with resumable(task, processes, overwrite=overwrite) as (folder, checkpoints):
                with reporting(processes) as report:
                    result = run(
                        file,
                        budget=budget_of(budget),
                        progress=report,
                        checkpoints=checkpoints,
                        log=logs_in(file, folder) if processes.first else silent,
                        processes=processes,
                    )
                if processes.first:
                    save_run(result, folder, task.target)
        if processes.first:
            show(summarise(task.target))
            next_ = f"next: pyromoe inspect {task.target}"
            terminal.out.print(f"\nwritten to {task.target}; {next_}", markup=False)
            write_and_say(task.target)
