"""What the commands share that may be interrupted and gone on with."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyromoe.inference.distributed.processes import Processes
    from pyromoe.inference.files.checkpoints import Checkpoints
    from pyromoe.inference.fitting.result import Fit
    from pyromoe.inference.runs.log_files import LogFiles
    from pyromoe.models.specs.spec_file import SpecFile


def read(spec: Path, settings: list[str] | None, treatment: str | None) -> SpecFile:
    """Return a spec with settings replaced, among them the treatment."""
    from pyromoe.inference.runs.log_files import MISSING, has_tensorboard
    from pyromoe.models.specs.spec_file import read_spec

    overrides = list(settings or ())
    if treatment is not None:
        overrides.insert(0, f"treatment={treatment}")
    file = read_spec(spec, overrides)
    if file.spec.output.tensorboard and not has_tensorboard():
        raise file.error("output.tensorboard", *MISSING)
    return file


def named(out: Path | None, file: SpecFile) -> Path | None:
    """Return the directory that an option or the spec names."""
    own = file.spec.output.directory
    return out or (None if own is None else Path(own))


@dataclass(frozen=True, slots=True)
class Task:
    """What a command writes, as process 0 found it and all take it.

    Attributes:
        target: the directory.
        resume: whether to go on with what is there.
        finished: whether there is nothing left to do.
    """

    target: Path
    resume: bool
    finished: bool


def task_of(out: Path | None, own: str, processes: Processes, *, resume: bool) -> Task:
    """Return what is to be written, and say so where there is nothing to go on with.

    What processes began that were lost is gone on with, as with `resume`.

    Args:
        out: the directory; where it is None, one under runs/ that never collides.
        own: the name of that one.
        processes: which write it.
        resume: whether to go on with what is there.
    """
    from pyromoe.inference.files.directories import free_directory, is_finished, last_directory

    found: tuple[str, bool, bool] | None = None
    if processes.first:
        goes_on = resume or processes.begun
        under = Path("runs") / own
        target = out or (last_directory(under) if goes_on else free_directory(under))
        finished = goes_on and is_finished(target)
        if finished and not processes.begun:
            said = f"{target} is finished: nothing is left to go on with"
            terminal.out.print(said, markup=False)
        found = str(target), goes_on, finished
    told, goes_on, finished = processes.said(found)[0]
    return Task(Path(told), goes_on, finished)


@contextmanager
def resumable(
    task: Task, processes: Processes, *, overwrite: bool
) -> Iterator[tuple[Path, Checkpoints]]:
    """Give the folder to write in and its checkpoints, and hold signals until these are saved.

    Process 0 makes the folder, and gives it its name at the end.
    """
    from pyromoe.inference.distributed.shared_checkpoints import SharedCheckpoints
    from pyromoe.inference.files.directories import Resumable, resumable_directory

    made = resumable_directory(task.target, resume=task.resume, overwrite=overwrite)
    theirs = nullcontext(Resumable.of(task.target))
    with made if processes.first else theirs as place, terminal.deferring() as signals:
        if processes.first:
            processes.begin()
        checkpoints = SharedCheckpoints(place.checkpoints, processes, signals)
        if checkpoints.note:
            terminal.err.print(checkpoints.note, markup=False)
        if checkpoints.parts:
            terminal.err.print(f"going on with {place.folder}", markup=False)
        yield place.folder, checkpoints


def kept_in(folder: Path, target: Path) -> Callable[[str, Fit], None]:
    """Return what writes the run directory of a fit among several, as it ends.

    Args:
        folder: where all of them are written.
        target: the name that it takes at the end.
    """
    from pyromoe.inference.runs.run_directory import save_run

    def keep(name: str, result: Fit) -> None:
        (folder / name).mkdir(exist_ok=True)
        save_run(result, folder / name, target / name)

    return keep


@contextmanager
def reporting(processes: Processes) -> Iterator[Callable[[float, str], None] | None]:
    """Give a function to report with, in process 0."""
    if not processes.first:
        yield None
        return
    with terminal.progress() as report:
        yield report


def logs_in(file: SpecFile, folder: Path) -> LogFiles:
    """Return the files that grow while a fit runs."""
    from pyromoe.inference.runs.log_files import LogFiles

    def say(what: str) -> None:
        terminal.err.print(what, markup=False)

    return LogFiles(folder, tensorboard=file.spec.output.tensorboard, say=say)


def budget_of(text: str | None) -> Any:
    """Return a budget as it is written, if there is one."""
    from pyromoe.inference.fitting.budget import Budget

    return None if text is None else Budget.parse(text)
