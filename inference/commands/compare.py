"""The command `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.interruptible import (
    budget_of,
    kept_in,
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

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.selection.comparison import Comparison
    from pyromoe.models.specs.spec_file import SpecFile


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
    from pyromoe.inference.distributed.processes import joined

    chosen = {"treatments": treatments, "seeds": seeds}
    lists = [f"compare.{name}=[{text}]" for name, text in chosen.items() if text is not None]
    with joined() as processes:
        from pyromoe.inference.selection.comparison import compare as run

        file = read(spec, [*(set_ or ()), *lists], None)
        task = task_of(named(out, file), spec.stem, processes, resume=resume)
        if task.finished:
            return
        with resumable(task, processes, overwrite=overwrite) as (folder, checkpoints):
            with reporting(processes) as report:
                result = run(
                    file,
                    budget=budget_of(budget),
                    progress=report,
                    keep=kept_in(folder, task.target),
                    checkpoints=checkpoints,
                    logs=logs_in(file, folder).inner,
                    processes=processes,
                )
            if processes.first:
                _write(result, file, folder, task.target)
        if processes.first:
            _show_comparison(result, task.target)


def _write(result: Comparison, file: SpecFile, folder: Path, target: Path) -> None:
    """Write what the fits have in common."""
    from pyromoe.inference.files.verified import seal
    from pyromoe.inference.runs.store import save_spec, write_csv, write_json

    summary = {"summary": result.summary, "measured_on": result.measured_on}
    write_json(folder / "comparison.json", summary | {"rows": result.rows})
    save_spec(file, folder, target)
    write_csv(folder / "comparison.csv", result.rows)
    seal(folder)


def _show_comparison(result: Comparison, target: Path) -> None:
    """Print the table and what its headings mean, and write the report."""
    from pyromoe.inference.summaries.comparison import comparison_table

    terminal.tabular(comparison_table(result.rows, result.measured_on))
    for row in result.rows:
        if "failure" in row:
            terminal.out.print(f"{row['treatment']} broke down: {row['failure']}", markup=False)
    terminal.out.print(f"\n{result.summary}", markup=False)
    terminal.out.print(
        f"\n{target} holds comparison.json, comparison.csv and a run directory for each fit, "
        "with its posterior.nc",
        markup=False,
    )
    write_and_say(target)
