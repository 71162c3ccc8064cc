"""Fits that are killed, or whose disk is full, at chosen or random moments, and gone on with.

Each runs in a fork of this process, where everything is imported already: a kill costs nothing but
the fit itself. A process that has grown large forks slowly, so that tests ask a fresh one:

    python tests/interruptions.py kills MODE NUMBER [SABOTAGE]
    python tests/interruptions.py calls WAY,WAY [SABOTAGE]
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference import Checkpoints, Gradients, fit
from pyromoe.inference.files import checkpoints
from pyromoe.inference.fitting import unfinished
from pyromoe.inference.steps import side_by_side
from pyromoe.inference.steps.step_state import restore_step
from pyromoe.inference.steps.threads import one_thread
from pyromoe.models.data.data import load
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.inference import Selection
    from pyromoe.models.data.divide import Data
    from pyromoe.models.specs.spec_file import SpecFile

TEXT = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
LIKE = "fit.batch_size=64", "fit.restarts=1", "fit.checkpoint_seconds=0"
ENDED, STOPPED, FAILED = 0, 3, 9
TIMES = {"seconds", "steps_per_second", "seconds_per_call", "error_times_seconds"}


def without_times(value: Any) -> Any:
    """What JSON makes of a value, without what no two runs have in common."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {n: plain(v) for n, v in value.items() if n not in TIMES}
        return [plain(v) for v in value] if isinstance(value, list) else value

    return plain(json.loads(json.dumps(value)))


def found_by(one: Selection | Gradients) -> Any:
    """What select or gradients found, without times."""
    if isinstance(one, Gradients):
        return without_times([one.rows, one.recommendation, one.skipped])
    prints = [found and found.fingerprint() for found in one.fits]
    held_out = [None if values is None else values.tolist() for values in one.held_out]
    return without_times([one.rows, one.to_json(), prints, held_out, one.recommendation])


@dataclass(frozen=True)
class Problem:
    """A fit, and what comes out of it when nothing interrupts it."""

    file: SpecFile
    data: Data
    expected: Any = None

    @classmethod
    def of(cls, settings: Sequence[str]) -> Problem:
        """Fit engel's data with some settings beside those that all share."""
        file = parse_spec(TEXT, "engel.yaml", [*LIKE, *settings])
        problem = cls(file, load(file))
        return cls(file, problem.data, problem.outcome(None))

    def outcome(self, folder: Path | None) -> Any:
        """Return what must be the same: parameters, history, restarts; floats to the bit."""
        place = None if folder is None else Checkpoints(folder)
        found = fit(self.file, data=self.data, checkpoints=place)
        history = [{n: v for n, v in row.items() if n != "seconds"} for row in found.history]
        return json.loads(json.dumps([found.fingerprint(), history, found.metrics["restarts"]]))

    def fork(self, folder: Path, *prepare: Callable[[], None]) -> int:
        """Run the fit, or what is left of it, in a child; return its number."""
        child = os.fork()
        if child:
            return child
        code = FAILED
        try:
            for each in prepare:
                each()
            with one_thread():
                folder.with_suffix(".json").write_text(json.dumps(self.outcome(folder)))
            code = ENDED
        except OSError as error:
            code = STOPPED if error.errno == errno.ENOSPC else FAILED
        finally:
            os._exit(code)

    def ends_well(self, folder: Path, *prepare: Callable[[], None]) -> bool:
        """Go on to the end; return whether it is what it should be."""
        _, status = os.waitpid(self.fork(folder, *prepare), 0)
        path = folder.with_suffix(".json")
        ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == ENDED
        return ended and json.loads(path.read_text()) == self.expected


@dataclass
class Kills:
    """What became of some kills.

    Attributes:
        kills: how many there were.
        saved: how many when a checkpoint was there.
        writing: how many in the middle of writing one.
        runs: the fits that they interrupted.
        same: how many of these ended in the same bits as without.
    """

    kills: int = 0
    saved: int = 0
    writing: int = 0
    runs: int = 0
    same: int = 0


def kill_at_random(
    problem: Problem,
    folder: Path,
    number: int,
    *prepare: Callable[[], None],
    each: int = 4,
    seed: int = 0,
) -> Kills:
    """Kill fits at random times, each so often, and go on with them."""
    found, chance = Kills(), random.Random(seed)
    started = time.perf_counter()
    assert problem.ends_well(folder / "whole", *prepare)
    seconds = 0.8 * (time.perf_counter() - started)
    shutil.rmtree(folder / "whole")
    while found.kills < number:
        place = folder / f"run-{found.runs}"
        for _ in range(min(each, number - found.kills)):
            child = problem.fork(place, *prepare)
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                break  # it was over before
            found.kills += 1
            names = {p.name for p in place.iterdir()} if place.is_dir() else set()
            manifests = {n for n in names if n.startswith("manifest")}
            found.saved += bool(manifests)
            found.writing += in_a_write(names)
        found.runs += 1
        found.same += problem.ends_well(place, *prepare)
        shutil.rmtree(place, ignore_errors=True)
    return found


def in_a_write(names: set[str]) -> bool:
    """Whether a file is half-written, or a part is there that no manifest names yet."""
    parts, manifests = (
        {n.split("-")[1].split(".")[0] for n in names if n.startswith(kind)}
        for kind in ("part", "manifest")
    )
    newest = max(manifests, default="")
    return any(n.endswith(".partial") for n in names) or any(p > newest for p in parts)


@dataclass
class FileCalls:
    """Counts the calls by which files are written, and lets one of them be the last.

    Attributes:
        at: the number of that call, from 1; 0 for none.
        how: "before" and "after" it the process is killed; "torn" kills it half-way through a
            write; at "full" the disk is.
        names: of the calls so far.
    """

    at: int = 0
    how: str = ""
    names: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Take the place of the system's own calls; in a child, which never gives them back."""
        for name in ("open", "fsync", "replace", "unlink"):
            setattr(os, name, self._counted(name, getattr(os, name)))
        opened = io.open

        def open_file(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode not in ("xb", "wb"):
                return opened(path, mode, *args, **kwargs)
            return _Watched(self._counted("create", opened)(path, mode, *args, **kwargs), self)

        io.open = open_file  # type: ignore[assignment]

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.names.append(name)
            mine = len(self.names) == self.at
            if mine and self.how == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine and self.how == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if mine and self.how == "torn" and name == "write":
                call(args[0][: len(args[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if mine and self.how == "after":
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted


class _Watched:
    """A file whose writes are counted, and reach the disk's cache one by one."""

    def __init__(self, file: Any, calls: FileCalls) -> None:
        self.file, self.calls = file, calls

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *given: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> None:
        def through(part: bytes) -> None:
            self.file.write(part)
            self.file.flush()

        self.calls._counted("write", through)(content)


def interrupt_every_call(
    problem: Problem, folder: Path, *prepare: Callable[[], None], hows: Sequence[str]
) -> dict[tuple[str, bool], int]:
    """Stop a fit at every call in every way; count by the way and whether it then ended well."""
    names = calls_of(problem, folder / "all", *prepare)
    found: dict[tuple[str, bool], int] = {}
    for how in hows:
        for at, name in enumerate(names, 1):
            if how == "torn" and name != "write":
                continue
            place = folder / f"{how}-{at}"
            calls = FileCalls(at, how)
            _, status = os.waitpid(problem.fork(place, *prepare, calls.install), 0)
            stopped = os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == STOPPED
            assert stopped, f"{how} call {at}, {name}, nothing stopped"
            well = problem.ends_well(place, *prepare)
            found[how, well] = found.get((how, well), 0) + 1
            shutil.rmtree(place, ignore_errors=True)
    return found


def calls_of(problem: Problem, folder: Path, *prepare: Callable[[], None]) -> list[str]:
    """Return the names of all calls of an uninterrupted fit."""
    calls, path = FileCalls(), folder.with_suffix(".calls")
    written = os.pipe()

    def tell() -> None:
        calls.install()
        exit_ = os._exit

        def leave(code: int) -> None:
            os.write(written[1], json.dumps(calls.names).encode())
            exit_(code)

        os._exit = leave  # type: ignore[assignment]

    child = problem.fork(folder, *prepare, tell)
    os.close(written[1])
    with os.fdopen(written[0]) as file:
        names: list[str] = json.load(file)
    os.waitpid(child, 0)
    path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return names


def without_noise() -> None:
    """Sabotage: the noise begins anew when a fit goes on."""

    def states_only(members: Any, saved: Any, state: list[Any]) -> list[Any]:
        if saved is None:
            return state
        return [saved.tensors[f"state_{i}"] for i in range(len(state))]

    setattr(side_by_side, "take_up", states_only)  # noqa: B010  # mypy knows it as another's


def without_moments() -> None:
    """Sabotage: the optimiser forgets what it knew when a fit goes on."""

    def forgetful(step: Any, saved: Any) -> None:
        restore_step(step, saved)
        for moment in step.moments:
            moment.zero_()

    setattr(unfinished, "restore_step", forgetful)  # noqa: B010


def in_place() -> None:
    """Sabotage: every part has one file, which is overwritten where it is."""
    keep = Checkpoints.keep

    def same_file(self: Any, name: str, saved: Any, **options: Any) -> None:
        names = [*self.parts]
        self.number = names.index(name) if name in names else len(names)
        keep(self, name, saved, **options)

    def write(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)

    Checkpoints.keep = same_file  # type: ignore[method-assign]
    setattr(checkpoints, "write_whole", write)  # noqa: B010


SABOTAGE = {each.__name__: each for each in (without_noise, without_moments, in_place)}
NOISY = "treatment={name: gumbel_softmax, temperature: {start: 1.0, end: 0.1}}"
EVERY_WAY = ("before", "after", "torn", "full")


def asked(what: str, how: str, *given: str) -> Any:
    """Return what became of kills, or of stops at every call, as JSON has it."""
    *number, sabotage = given if given[-1:] and given[-1] in SABOTAGE else (*given, "")
    prepare = [SABOTAGE[sabotage]] if sabotage else []
    with tempfile.TemporaryDirectory() as name:
        if what == "kills":
            problem = Problem.of(["fit.epochs=8", f"fit.mode={how}", NOISY])
            return asdict(kill_at_random(problem, Path(name), int(number[0]), *prepare))
        problem = Problem.of(["fit.epochs=1", "fit.batch_size=128", "fit.mode=eager", NOISY])
        found = interrupt_every_call(problem, Path(name), *prepare, hows=how.split(","))
        return [[way, well, count] for (way, well), count in found.items()]


if __name__ == "__main__":
    print(json.dumps(asked(*sys.argv[1:])))
