"""The command `select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.interruptible import kept_in, reporting, resumable, task_of
from pyromoe.inference.commands.options import (  # noqa: TC001  # typer reads the annotations
    Out,
    Overwrite,
    Resume,
    Settings,
    SpecPath,
)
from pyromoe.inference.commands.report import write_and_say

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.inference.selection.selection import Selection
    from pyromoe.models.specs.spec_file import SpecFile

LONGEST = 1000
"""Numbers in a range."""


def select(
    spec: SpecPath,
    experts: Annotated[
        str | None,
        typer.Option(metavar="1-3,6", help="Numbers of experts; else select.experts."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="V", help="Each of V parts is held out once; else 5.")
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(metavar="B", help="Test each number against the one before by B samples."),
    ] = None,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Choose the number of experts: held-out log p(y|x) by folds, AIC, BIC, ICL, LOO, a test.

    One expert and a plain network are always in the table. Recommended is the mixture with the
    fewest parameters that is within one standard error of the best. Writes selection.json,
    selection.csv, selection.svg, held_out.csv (log p(y|x) of every row while it was held out) and
    a run directory for each candidate, fitted to all training rows. Ctrl-C and SIGTERM save what
    was done in DIR.unfinished; the same command with --resume goes on, and repeats no fit.
    """
    from pyromoe.inference.distributed.processes import joined

    numbers = None if experts is None else f"[{_listed(experts)}]"
    asked = {"experts": numbers, "folds": folds, "bootstrap": bootstrap}
    given = [f"select.{name}={value}" for name, value in asked.items() if value is not None]
    with joined() as processes:
        from pyromoe.inference.selection.selection import select as run
        from pyromoe.models.specs.spec_file import read_spec

        file = read_spec(spec, [*(set_ or ()), *given])
        task = task_of(out, f"{spec.stem}-select", processes, resume=resume)
        if task.finished:
            return
        with resumable(task, processes, overwrite=overwrite) as (folder, checkpoints):
            with reporting(processes) as report:
                found = run(
                    file,
                    progress=report,
                    keep=kept_in(folder, task.target),
                    checkpoints=checkpoints,
                    processes=processes,
                )
            if processes.first:
                _write(found, file, folder, task.target)
        if processes.first:
            _show(found, task.target)


def _write(found: Selection, file: SpecFile, folder: Path, target: Path) -> None:
    """Write what the candidates have in common."""
    from pyromoe.inference.files.verified import seal
    from pyromoe.inference.pictures import selection_figure, to_svg
    from pyromoe.inference.runs.store import save_spec, write_csv, write_json

    summary = {"recommendation": found.recommendation, "rows": found.rows}
    write_json(folder / "selection.json", summary | {"tests": found.to_json()})
    save_spec(file, folder, target)
    write_csv(folder / "selection.csv", found.rows)
    write_csv(folder / "held_out.csv", found.of_each_row())
    (folder / "selection.svg").write_bytes(to_svg(selection_figure(found.rows)))
    seal(folder)


def _listed(experts: str) -> str:
    """Return 1-3,6 as 1,2,3,6; what cannot be read stays, for the spec to refuse."""
    each: list[str] = []
    for part in experts.split(","):
        first, _, last = part.strip().partition("-")
        known = first.isdecimal() and last.isdecimal() and 0 <= int(last) - int(first) < LONGEST
        each += map(str, range(int(first), int(last) + 1)) if known else [part]
    return ",".join(each)


def _show(found: Selection, target: Path) -> None:
    """Print the table, what its headings mean, and what to take, and write the report."""
    from pyromoe.inference.summaries.selection import selection_table

    rows = found.rows
    terminal.tabular(selection_table(rows))
    for row in rows:
        if "failure" in row:
            terminal.out.print(f"{row['candidate']} broke down: {row['failure']}", markup=False)
        if row.get("loo_far"):
            said = f"{row['loo_far']} Pareto k of {row['candidate']} are above 0.7"
            terminal.out.print(f"elpd LOO: {said}, not to be trusted there", markup=False)
    terminal.out.print(f"\n{found.recommendation}", markup=False)
    terminal.out.print(
        f"\n{target} holds selection.json, selection.csv, selection.svg, held_out.csv and a run "
        "directory for each candidate",
        markup=False,
    )
    write_and_say(target)
