"""What the commands share that may be interrupted and gone on with."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.inference.checkpoints import Checkpoints
    from pyromoe.inference.log_files import LogFiles
    from pyromoe.inference.processes import Processes
    from pyromoe.models.spec_file import SpecFile


def read(spec: Path, settings: list[str] | None, treatment: str | None) -> SpecFile:
    """Return a spec with settings replaced, among them the treatment."""
    from pyromoe.inference.log_files import MISSING, has_tensorboard
    from pyromoe.models.spec_file import read_spec

    overrides = list(settings or ())
    if treatment is not None:
        overrides.insert(0, f"treatment={treatment}")
    file = read_spec(spec, overrides)
    if file.spec.output.tensorboard and not has_tensorboard():
        raise file.error("output.tensorboard", *MISSING)
    return file


def target_of(out: Path | None, file: SpecFile, spec: Path, *, resume: bool) -> Path:
    """Return the directory to write; one that nobody named never collides."""
    from pyromoe.inference.directories import free_directory, last_directory

    named = out or (file.spec.output.directory and Path(file.spec.output.directory))
    own = Path("runs") / spec.stem
    return named or (last_directory(own) if resume else free_directory(own))


def says_finished(target: Path) -> bool:
    """Say so where there is nothing to go on with."""
    from pyromoe.inference.directories import is_finished

    if finished := is_finished(target):
        terminal.out.print(f"{target} is finished: nothing is left to go on with", markup=False)
    return finished


@contextmanager
def resumable(
    target: Path, *, resume: bool, overwrite: bool, processes: Processes | None = None
) -> Iterator[tuple[Path, Checkpoints]]:
    """Give the folder to write in and its checkpoints, and hold signals until these are saved."""
    from pyromoe.inference.directories import resumable_directory
    from pyromoe.inference.processes import ALONE
    from pyromoe.inference.shared_checkpoints import SharedCheckpoints

    with (
        resumable_directory(target, resume=resume, overwrite=overwrite) as place,
        terminal.deferring() as signals,
    ):
        checkpoints = SharedCheckpoints(place.checkpoints, processes or ALONE, signals)
        if checkpoints.note:
            terminal.err.print(checkpoints.note, markup=False)
        if checkpoints.parts:
            terminal.err.print(f"going on with {place.folder}", markup=False)
        yield place.folder, checkpoints


def logs_in(file: SpecFile, folder: Path) -> LogFiles:
    """Return the files that grow while a fit runs."""
    from pyromoe.inference.log_files import LogFiles

    def say(what: str) -> None:
        terminal.err.print(what, markup=False)

    return LogFiles(folder, tensorboard=file.spec.output.tensorboard, say=say)


def budget_of(text: str | None) -> Any:
    """Return a budget as it is written, if there is one."""
    from pyromoe.inference.budget import Budget

    return None if text is None else Budget.parse(text)
