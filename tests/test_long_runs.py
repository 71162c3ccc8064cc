"""What is said and kept while a fit runs: rows, events, curves, the time left; and its memory."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import Result, called
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import pyromoe
from pyromoe.inference import Checkpoints, LogFiles, compare, fit
from pyromoe.inference.files.verified import seal
from pyromoe.inference.files.writing import append, cut_torn_line
from pyromoe.inference.fitting.events import Log
from pyromoe.inference.fitting.loop import NumericalError
from pyromoe.inference.fitting.pulse import Pulse
from pyromoe.inference.plain_progress import PlainProgress
from pyromoe.inference.runs.reading import read_history
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyromoe.models.specs.spec_file import SpecFile

ROOT = Path(__file__).parent.parent
TEXT = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 60, restarts: 2, mode: eager, checkpoint_seconds: 0}
treatment: {name: gumbel_softmax, temperature: {start: 1.0, end: 0.1}}
"""
TAGS = {"loss", "log_likelihood", "learning_rate", "temperature"}


def spec(*settings: str) -> SpecFile:
    return parse_spec(TEXT, "spec.yaml", settings)


def events(folder: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl, each strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = (folder / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def rows(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by restart and step, without the seconds, of which none is like another."""
    found = [{n: v for n, v in row.items() if n != "seconds"} for row in history]
    return sorted(found, key=lambda row: (row["restart"], row["step"]))


def history_in(folder: Path) -> list[dict[str, Any]]:
    """The rows of a history.csv in a folder that is not a run directory yet."""
    seal(folder)
    return read_history(folder)


class Crash(Exception):
    """What a log raises in the place of a kill: nothing is saved after it."""


class Crashing(LogFiles):
    """A log after so many rows of which the process is gone."""

    left = 10**9

    def __call__(self, event: str, /, **values: Any) -> None:
        super().__call__(event, **values)
        self.left -= event == "row"
        if self.left == 0:
            raise Crash


def test_rows_are_appended_as_they_are_made(tmp_path: Path) -> None:
    seen = list[int]()

    def look(done: float, text: str) -> None:
        content = (tmp_path / "history.csv").read_bytes()
        assert content.endswith(b"\r\n")
        seen.append(content.count(b"\n") - 1)

    found = fit(spec(), log=LogFiles(tmp_path), progress=look)
    assert len(seen) == len(set(seen)) > 20
    assert rows(history_in(tmp_path)) == rows(found.history)
    assert seen[-1] == len(found.history) == 120


def test_the_events_of_a_fit(tmp_path: Path) -> None:
    found = fit(spec(), checkpoints=Checkpoints(tmp_path / "r"), log=LogFiles(tmp_path))
    first, *others, last = events(tmp_path)
    assert first["event"] == "started"
    assert (first["version"], first["seed"]) == (pyromoe.__version__, 0)
    assert first["treatment"] == "gumbel_softmax"
    assert first["rows"] == {"train": 188, "test": 47}
    assert {e["event"] for e in others} - {"alarm"} == {"progress", "checkpoint"}
    exact = [row for row in found.history if row["log_likelihood"] is not None]
    told = [e for e in others if e["event"] == "progress"]
    assert [{n: v for n, v in e.items() if n not in ("time", "event")} for e in told] == exact
    assert sum(e["event"] == "checkpoint" for e in others) == 2 * 60
    assert last["event"] == "ended"
    assert last["log_likelihood"] == found.metrics["log_likelihood"]
    assert last["parameters_sha256"] == found.fingerprint()
    times = [e["time"] for e in (first, *others, last)]
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["em", "lbfgs"])
def test_a_search_for_a_maximum_tells_its_rows_too(name: str, tmp_path: Path) -> None:
    settings = f"fit={{optimiser: {name}, restarts: 3}}", "treatment=enumerate"
    found = fit(spec(*settings, "priors.experts.kind=none"), log=LogFiles(tmp_path))
    assert found.history
    assert rows(history_in(tmp_path)) == rows(found.history)
    assert [e["event"] for e in events(tmp_path)][:: len(found.history) + 1] == ["started", "ended"]


def interrupted(folder: Path, *, tensorboard: bool = False) -> tuple[Any, int]:
    """Fit, and crash after every 25 rows; leave a torn line each time. Return the fit."""
    crashes = 0
    while True:
        log = Crashing(folder, tensorboard=tensorboard)
        log.left = 25 if crashes < 4 else 10**9
        try:
            return fit(spec(), checkpoints=Checkpoints(folder / "r"), log=log), crashes
        except Crash:
            crashes += 1
            for name in ("log.jsonl", "history.csv"):
                with (folder / name).open("ab") as file:
                    file.write(b'{"time": "2026-')


def test_a_fit_that_crashes_has_every_row_once_and_whole_lines(tmp_path: Path) -> None:
    expected = fit(spec())
    found, crashes = interrupted(tmp_path)
    assert crashes == 4
    assert found.fingerprint() == expected.fingerprint()
    assert rows(history_in(tmp_path)) == rows(expected.history)
    told = events(tmp_path)
    names = [e["event"] for e in told]
    assert (names.count("started"), names.count("ended"), names[-1]) == (5, 1, "ended")
    assert names.count("resumed") >= 4
    for i in (i for i, name in enumerate(names) if name == "resumed"):
        saved = [e for e in told[:i] if e["event"] == "checkpoint" and e["part"] == told[i]["part"]]
        assert saved[-1]["step"] == told[i]["step"]


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows of a folder: values by step of every tag."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    found = {}
    for tag in reader.Tags()["scalars"]:
        each = [(e.step, e.value) for e in reader.Scalars(tag)]
        assert [step for step, _ in each] == sorted({step for step, _ in each}), tag
        found[tag] = dict(each)
    return found


@pytest.mark.parametrize("crashes", [0, 4])
def test_tensorboard_reads_the_history_back(crashes: int, tmp_path: Path) -> None:
    if crashes:
        found, number = interrupted(tmp_path, tensorboard=True)
        assert number == crashes
    else:
        found = fit(spec(), log=LogFiles(tmp_path, tensorboard=True))
    for restart in (0, 1):
        shown = curves(tmp_path / "tensorboard" / f"restart-{restart}")
        assert shown.keys() >= TAGS
        for tag, values in shown.items():
            own = {r["step"]: r[tag] for r in found.history if r["restart"] == restart}
            expected = {step: value for step, value in own.items() if value is not None}
            assert values == pytest.approx(expected, rel=1e-6)
            assert values.keys() == expected.keys()


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """What is written beyond so many bytes is cut short by the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_appended_is_whole_or_not_there(tmp_path: Path) -> None:
    path, record = tmp_path / "folder" / "file", b"x" * 299 + b"\n"
    with no_file_longer_than(1000):
        for _ in range(3):
            append(path, record)
        with pytest.raises(OSError, match="No space left") as error:
            append(path, record)
        assert error.value.errno == errno.ENOSPC
        assert error.value.filename == str(path)
    assert path.read_bytes() == 3 * record
    append(path, record)
    assert path.read_bytes() == 4 * record


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\nb", b"a", b"a\n\0\0\0", b"a\n\nb\n{"])
def test_only_a_torn_line_is_cut_off(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    cut_torn_line(path)
    assert path.read_bytes() == b"".join(
        line for line in content.splitlines(keepends=True) if line.endswith(b"\n")
    )


def test_a_log_that_cannot_be_written_is_named_once_and_the_fit_goes_on(tmp_path: Path) -> None:
    said, expected = list[str](), fit(spec())
    log = LogFiles(tmp_path, tensorboard=True, say=said.append)
    with no_file_longer_than(2000):
        found = fit(spec(), log=log)
    assert found.fingerprint() == expected.fingerprint()
    assert rows(found.history) == rows(expected.history)
    names = "history.csv", "log.jsonl", "events.out.tfevents.000000"
    # The system has another word where a record ends just where the file may not grow.
    why = re.compile(
        r" cannot be written \((No space left on device|File too large)\); the fit goes on"
    )
    assert sorted(why.sub("", line) for line in said) == sorted(names)
    assert events(tmp_path)
    assert history_in(tmp_path)
    assert curves(tmp_path / "tensorboard" / "restart-0")["loss"]


def test_a_log_warns_in_python(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the fit goes on"):
        fit(spec("fit.epochs=1"), log=LogFiles(tmp_path / "file"))


def test_what_goes_wrong_in_a_fit_is_told(tmp_path: Path) -> None:
    breaks = spec("fit.learning_rate=10", "fit.optimiser=sgd", "fit.restarts=1")
    with pytest.raises(NumericalError) as error:
        fit(breaks, log=LogFiles(tmp_path))
    told = [e for e in events(tmp_path) if e["event"] != "progress"]
    assert [e["event"] for e in told if "dead" not in e.get("what", "")] == [
        "started", "retry", "retry", "retry", "alarm", "stopped"
    ]  # fmt: skip
    steps = [e["step"] for e in told if e["event"] == "retry"]
    assert steps == sorted(set(steps))
    assert told[-2]["what"] == told[-1]["why"] == str(error.value)


def test_each_fit_of_a_comparison_has_its_own_files(tmp_path: Path) -> None:
    short = spec("fit.epochs=3", "fit.restarts=1")
    names = ["enumerate", "reinforce"]
    compare(short, treatments=names, logs=LogFiles(tmp_path).inner)
    for name in names:
        told = events(tmp_path / f"{name}-0")
        assert told[0]["treatment"] == name
        assert told[-1]["event"] == "ended"
        assert len(history_in(tmp_path / f"{name}-0")) == 3


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(TEXT)
    return lambda *args: called(monkeypatch, capsys, *args)


@pytest.mark.slow
def test_the_command_keeps_its_log_and_the_history_as_it_was(run: Callable[..., Result]) -> None:
    short = "--set", "fit.epochs=5"
    assert run("fit", "spec.yaml", "--out", "run", *short).code == 0
    names = {"checkpoints", "history.csv", "log.jsonl", "metrics.json", "posterior.nc"}
    assert {p.name for p in Path("run").iterdir()} == names | {
        "manifest.json",
        "report.html",
        "spec.yaml",
    }
    assert [e["event"] for e in events(Path("run"))][-1] == "ended"
    found = read_history(Path("run"))
    assert [(row["restart"], row["step"]) for row in found] == [
        (r, s) for r in (0, 1) for s in range(1, 6)
    ]
    curved = ("--set", "output.tensorboard=true", "--treatments", "enumerate,reinforce")
    assert run("compare", "spec.yaml", "--out", "both", *short, *curved).code == 0
    assert curves(Path("both", "enumerate-0", "tensorboard", "restart-1"))["loss"].keys() == {
        *range(1, 6)
    }


@pytest.mark.slow
def test_a_full_disk_ends_the_command_at_a_checkpoint_only(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    short = "--set", "fit.epochs=2"
    with monkeypatch.context() as planted:
        planted.setattr("pyromoe.inference.runs.log_files.append", full)
        result = run("fit", "spec.yaml", "--out", "run", *short)
    assert result.code == 0
    assert result.err == "x cannot be written (No space left on device); the fit goes on\n"
    monkeypatch.setattr("pyromoe.inference.files.checkpoints.write_whole", full)
    assert run("fit", "spec.yaml", "--out", "other", *short).code == 3


def test_tensorboard_is_named_where_it_is_missing(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pyromoe.inference.runs.log_files.find_spec", lambda name: None)
    Path("spec.yaml").write_text(f"{TEXT}output: {{tensorboard: true}}\n")
    result = run("fit", "spec.yaml", "--out", "run")
    assert (result.code, result.err) == (
        2,
        "pyromoe: error: spec.yaml:7:10: output.tensorboard: needs tensorboard, which is not "
        'installed; pip install "pyromoe[tensorboard]"\n',
    )
    assert not Path("run.unfinished").exists()
    with pytest.raises(InputError, match="needs tensorboard"):
        LogFiles(tmp_path, tensorboard=True)


def test_the_page_has_every_event_and_only_these() -> None:
    page = (ROOT / "docs" / "long_runs.md").read_text()
    names = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "inference").rglob("*.py"))
    told = set(re.findall(r"\blog\(\s*\"(\w+)\"", code))
    assert told - {"row"} | {"progress"} == set(names)
    assert set(re.findall(r"`(\w+)`:", Log.__doc__ or "")) == told


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(shares: dict[float, float]) -> list[str]:
    """The lines of a fit that reports at some seconds that it has done some shares."""
    clock, said = Clock(), list[str]()
    report = PlainProgress(said.append, clock)
    for seconds, share in shares.items():
        clock.now = 1000 + seconds
        report(share, f"at {seconds:g}")
    return said


def test_the_first_line_comes_after_two_seconds_and_then_one_every_fifteen() -> None:
    said = plain({s / 2: s / 1000 for s in range(100)})
    assert [line.split(",")[0].split()[-1] for line in said] == ["2", "17", "32", "47"]
    assert plain({0.0: 0.0, 1.9: 1.0}) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 s"), (60, "60 s"), (119, "119 s"), (180, "3 min"), (7000, "117 min"), (9000, "2 h")],
)
def test_about_how_long_is_left(seconds: float, text: str) -> None:
    total = seconds + 3
    assert plain({0: 0, 3: 3 / total}) == [f"{3 / total:4.0%}  at 3, about {text} left"]


def test_only_what_this_process_has_done_counts() -> None:
    """Half was done before; of the other half a tenth takes 10 seconds."""
    assert plain({5: 0.5, 20: 0.55}) == ["50%  at 5".rjust(10), " 55%  at 20, about 2 min left"]
    # What follows a fit begins at nothing again: draws of NUTS.
    assert plain({0: 0.9, 1: 1.0, 100: 0.0, 120: 0.5})[-1] == " 50%  at 120, about 20 s left"
    assert plain({0: 0.9, 5: 0.9}) == [" 90%  at 5"]
    assert plain({0: 0.9, 5: 1.0}) == ["100%  at 5"]


def test_a_fit_reports_once_a_second_between_what_is_new() -> None:
    clock, said = Clock(), list[tuple[float, str]]()
    pulse = Pulse(lambda done, text: said.append((done, text)), clock)
    for step in range(1, 41):
        clock.now += 0.1
        pulse.beat(lambda step=step: step / 40, step)  # type: ignore[misc]
        if step == 14:
            pulse(step / 40, step, "found")
    assert [text for _, text in said] == [
        "epoch 10",
        "epoch 14, found",
        "epoch 24, found",
        "epoch 34, found",
    ]


def test_the_loop_has_a_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyromoe.inference.fitting.pulse.EVERY", 0.0)
    seen = list[float]()
    fit(spec("fit.restarts=1"), progress=lambda done, text: seen.append(done))
    assert {round(60 * share) for share in seen} == {*range(1, 61)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "captured, mini-batches",
        "eager, a step an epoch",
        "control: a tensor is kept every step",
    ],
)
def test_memory_does_not_grow_but_in_the_control(name: str) -> None:
    """A short version of benchmarks/long_run_memory.py, whose exit code says whether it is so."""
    path = ROOT / "benchmarks" / "long_run_memory.py"
    command = [sys.executable, str(path), "--here", name, "--steps", "3000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert said.stdout.startswith(name)
