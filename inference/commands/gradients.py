"""The command `gradients`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyromoe.inference import terminal
from pyromoe.inference.commands.interruptible import reporting, resumable, task_of
from pyromoe.inference.commands.options import (  # noqa: TC001  # typer reads the annotations
    Out,
    Overwrite,
    Resume,
    Settings,
)
from pyromoe.inference.commands.report import write_and_say
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from pyromoe.inference.lab.lab import Gradients


def gradients(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC_OR_RUN", help="A spec, or a directory written by fit.")
    ],
    treatments: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names; all of them if left out.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="How often each gradient is drawn.")
    ] = 200,
    set_: Settings = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Measure how biased and how noisy each treatment's gradient is, on this model and its data.

    A spec is fitted first. Every treatment's gradient is then drawn on one typical batch, where
    the fit starts and where it ends, and set against exact gradients. Writes gradients.json,
    gradients.csv and gradients.svg. Ctrl-C and SIGTERM save what was done in DIR.unfinished; the
    same command with --resume goes on, and measures nothing again.
    """
    from pyromoe.inference.distributed.processes import joined

    if spec.is_dir() and set_:
        what = "a run has its settings already"
        raise InputError(what, field="--set", remedy="leave it out, or give the spec")
    names = None if treatments is None else [n.strip() for n in treatments.split(",") if n.strip()]
    with joined() as processes:
        from pyromoe.inference.lab.lab import gradients as run
        from pyromoe.models.specs.spec_file import read_spec

        source: Any = spec if spec.is_dir() else read_spec(spec, set_ or ())
        task = task_of(out, f"{spec.resolve().stem}-gradients", processes, resume=resume)
        if task.finished:
            return
        with resumable(task, processes, overwrite=overwrite) as (folder, checkpoints):
            with reporting(processes) as report:
                found = run(
                    source,
                    treatments=names,
                    draws=draws,
                    progress=report,
                    checkpoints=checkpoints,
                    processes=processes,
                )
            if processes.first:
                _write(found, source, folder, task.target)
        if processes.first:
            _show(found, task.target)


def _write(found: Gradients, source: Any, folder: Path, target: Path) -> None:
    """Write what was measured, and on what."""
    from pyromoe.inference.files.verified import seal
    from pyromoe.inference.pictures import gradients_figure, to_svg
    from pyromoe.inference.runs.reading import spec_in
    from pyromoe.inference.runs.store import save_spec, write_csv, write_json
    from pyromoe.inference.summaries.lab import part_of

    summary = {"recommendation": found.recommendation, "skipped": found.skipped}
    write_json(folder / "gradients.json", summary | {"rows": found.rows})
    write_csv(folder / "gradients.csv", found.rows)
    save_spec(spec_in(source) if isinstance(source, Path) else source, folder, target)
    picture = to_svg(gradients_figure(found.rows, part_of(found.rows)))
    (folder / "gradients.svg").write_bytes(picture)
    seal(folder)


def _show(found: Gradients, target: Path) -> None:
    """Print the table and what to take, and write the report."""
    from pyromoe.inference.summaries.lab import lab_table

    terminal.tabular(lab_table(found.rows))
    for name, reason in found.skipped.items():
        terminal.out.print(f"left out: {name}: {reason}", markup=False)
    terminal.out.print(f"\n{found.recommendation}", markup=False)
    terminal.out.print(
        f"\n{target} holds gradients.json, gradients.csv (all parts of the parameters, where the "
        "fit starts and where it ends) and gradients.svg",
        markup=False,
    )
    write_and_say(target)
