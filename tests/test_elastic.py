"""Processes that die, hang or err: the fit finishes by itself, and says who it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import interruptions
import pytest
import torch
from torch._C._distributed_c10d import HashStore
from torchrun import Torchrun

from pyromoe.inference import Checkpoints, Processes, compare, fit, gradients, joined, select
from pyromoe.inference.distributed.ending import once, over_before
from pyromoe.inference.distributed.heartbeat import ENDED, Heartbeat
from pyromoe.inference.distributed.meeting import Missing, meet
from pyromoe.inference.distributed.spreading import MOST, spread
from pyromoe.inference.distributed.watching import bereaved, seconds
from pyromoe.inference.distributed.who import Who
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.files.signals import Stopped
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
treatment: leave_one_out
fit: {epochs: 150, batch_size: 64, restarts: 1, mode: eager, shards: 2, checkpoint_seconds: 0.3}
"""
SHORT = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 3, batch_size: 64, restarts: 1, mode: eager}
"""
SILENCE = 4
NOTICED = {"PYROMOE_SILENCE": str(SILENCE)}
FIT = ("-m", "pyromoe", "fit", "s.yaml", "--out", "run")


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """The fingerprint of what one process finds."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as in the command
    try:
        return fit(parse_spec(SPEC, "s.yaml")).fingerprint()
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "s.yaml").write_text(SPEC)
    return tmp_path


def saved(place: Path, after: int = 0) -> int:
    """The number of the last checkpoint, 0 where there is none after another."""
    found = [int(p.stem.split("-")[1]) for p in place.glob("run.unfinished/resume/manifest-*.json")]
    return max((n for n in found if n > after), default=0)


def fingerprint(place: Path) -> Any:
    return json.loads((place / "run" / "metrics.json").read_text())["parameters_sha256"]


def gone_on_with(place: Path) -> str:
    """The fingerprint of what one process finds that goes on with an unfinished fit."""
    assert saved(place) > 0
    torch.set_default_dtype(torch.float32)
    kept = Checkpoints(place / "run.unfinished" / "resume")
    return fit(parse_spec(SPEC, "s.yaml"), checkpoints=kept).fingerprint()


@pytest.mark.slow
def test_a_fit_whose_processes_are_killed_and_stopped_finishes_by_itself(
    place: Path, undisturbed: str
) -> None:
    with Torchrun(*FIT, place=place, environment=NOTICED) as run:
        run.when(lambda: saved(place) > 0, 60)
        killed, before = run.strike(1, signal.SIGKILL), saved(place)
        run.when(lambda: saved(place, before + 1) > 0, 60)
        stopped, at = run.strike(0, signal.SIGSTOP), time.monotonic()
        run.when(lambda: "no sign of life" in run.text, 40)
        assert time.monotonic() - at < 40  # 15 seconds longer where nobody says otherwise: 60
        assert run.end(90) == 0, run.text
    assert fingerprint(place) == undisturbed
    goes_on = "; torchrun starts all of them again, from the last checkpoint"
    said = [line for line in run.text.splitlines() if line.startswith("pyromoe: process")]
    died, hung = "has died", f"has given no sign of life for {SILENCE} s"
    assert [re.sub(r"host [^,]+", "host", line) for line in said] == [
        f"pyromoe: process 1 (host, pid {killed}) {died}{goes_on}",
        f"pyromoe: process 0 (host, pid {stopped}) {hung}{goes_on}",
    ]
    assert "Traceback" not in run.text


@pytest.mark.slow
def test_without_restarts_a_killed_process_ends_the_fit_which_can_be_gone_on_with(
    place: Path, undisturbed: str
) -> None:
    """The control of the test above."""
    with Torchrun(*FIT, place=place, restarts=0) as run:
        run.when(lambda: saved(place) > 0, 60)
        run.strike(0, signal.SIGKILL)
        assert run.end(60) != 0
    assert "no restart is left: go on with --resume" in run.text
    assert not (place / "run").exists()
    assert gone_on_with(place) == undisturbed


@pytest.mark.slow
def test_a_stopped_process_is_not_noticed_where_nobody_watches(place: Path) -> None:
    with Torchrun(*FIT, place=place, environment={"PYROMOE_SILENCE": "0"}) as run:
        run.when(lambda: saved(place) > 0, 60)
        run.strike(1, signal.SIGSTOP)
        time.sleep(SILENCE + 3)
        assert run.torchrun.poll() is None
        assert "pyromoe: process" not in run.text
    assert not (place / "run").exists()


@pytest.mark.slow
def test_an_error_that_would_come_again_is_said_once(place: Path) -> None:
    (place / "s.yaml").write_text(SPEC.replace("leave_one_out", "leave_none_out"))
    with Torchrun(*FIT, place=place, restarts=1) as run:
        assert run.end(60) != 0
    assert run.text.count("leave_none_out") == 1, run.text
    assert len(re.findall(r"exitcode\s*: 2 ", run.text)) >= 1


@pytest.mark.slow
def test_torchrun_that_is_asked_to_stop_lets_the_fit_be_saved(
    place: Path, undisturbed: str
) -> None:
    with Torchrun(*FIT, place=place) as run:
        run.when(lambda: saved(place) > 0, 60)
        run.torchrun.terminate()
        assert run.end(30) != 0
    assert "go on with --resume" in run.text
    assert "pyromoe: process" not in run.text
    assert gone_on_with(place) == undisturbed


def tables(processes: Processes) -> Any:
    """What select and gradients find, without times."""
    file = parse_spec(SHORT, "s.yaml")
    chosen = select(file, experts=[2], folds=2, bootstrap=2, processes=processes)
    lab = gradients(file, treatments=["enumerate", "rebar"], draws=5, processes=processes)
    return [interruptions.found_by(one) for one in (chosen, lab)]


@pytest.mark.slow
def test_select_and_gradients_find_what_one_process_finds(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    with Torchrun(Path(__file__), place=tmp_path, restarts=0) as run:
        assert run.end(90) == 0, run.text
    alone = tables(Processes())
    for rank in range(2):
        assert json.loads((tmp_path / f"tables-{rank}.json").read_text()) == alone


@pytest.mark.slow
def test_compare_spreads_its_fits_and_one_process_writes(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SHORT)
    command = ("-m", "pyromoe", "compare", "s.yaml", "--treatments", "enumerate,leave_one_out")
    with Torchrun(*command, "--out", "run", place=tmp_path, restarts=0) as run:
        assert run.end(90) == 0, run.text
    rows = json.loads((tmp_path / "run" / "comparison.json").read_text())["rows"]
    file = parse_spec(SHORT, "s.yaml")
    torch.set_default_dtype(torch.float32)
    alone = compare(file, treatments=["enumerate", "leave_one_out"])
    assert interruptions.without_times(rows) == interruptions.without_times(alone.rows)
    for row in rows:
        assert (tmp_path / "run" / f"{row['treatment']}-{row['seed']}" / "posterior.nc").is_file()
    assert run.text.count("report: ") == 1


def in_threads(size: int, do: Callable[[int], Any], seconds: float = 20) -> list[Any]:
    """What each of some threads returns, each in the place of a process."""
    found = dict[int, Any]()

    def one(rank: int) -> None:
        found[rank] = do(rank)

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return [found[rank] for rank in range(size)]


def test_processes_that_meet_again_share_nothing_with_the_dead() -> None:
    common: Any = HashStore()
    for attempt in range(3):
        met = in_threads(3, lambda rank: meet(common, rank, 3, 10))
        assert [one.attempt for one in met] == [attempt] * 3
        assert not met[0].store.check(["address"])
        met[1].store.set("address", "of this attempt")
        assert met[2].store.get("address") == b"of this attempt"
        common.set("ask/1", "a process that died before it was answered")


def test_a_process_that_does_not_come_is_named() -> None:
    with pytest.raises(Missing, match="process 1, process 2 did not come in time"):
        meet(HashStore(), 0, 3, 0.1)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_process_that_is_stopped_before_it_comes_is_ended_and_named(
    stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is only slow is left alone."""
    me = Who(Who.here().host, os.getpid(), os.getpid())
    monkeypatch.setattr(Who, "here", lambda: me)
    monkeypatch.setattr("pyromoe.inference.distributed.meeting.SLOW", 0.1)
    with subprocess.Popen(["sleep", "60"], env={"RANK": "1"}) as child:
        if stopped:
            os.kill(child.pid, signal.SIGSTOP)
        what = rf"pid {child.pid}\) is stopped" if stopped else "did not come in time"
        with pytest.raises(Missing, match=f"process 1 .*{what}"):
            meet(HashStore(), 0, 2, 1.5)
        if stopped:
            assert child.wait(5) == -signal.SIGKILL
        else:
            assert child.poll() is None
            child.kill()


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def hearts(size: int, clock: Clock) -> list[Heartbeat]:
    store: Any = HashStore()
    found = [Heartbeat(store, r, size, clock=clock, silence=15) for r in range(size)]
    for heart in found:
        heart.who = {r: Who.here() for r in heart.others}
    return found


def test_a_process_without_a_sign_of_life_is_found_and_one_that_ended_is_not() -> None:
    clock = Clock()
    first, second, third = hearts(3, clock)
    third.end(ENDED)
    for _ in range(20):
        clock.now += 1
        assert second.look() == []
        assert first.look() == []
    for _ in range(15):
        clock.now += 1
        assert first.look() == []
    clock.now += 1
    assert first.look() == [1]
    second.look()
    assert first.look() == []


def test_a_clock_that_jumps_raises_no_alarm() -> None:
    """All were asleep, or this process was stopped: the others get their time again."""
    clock = Clock()
    first, _ = hearts(2, clock)
    first.look()
    clock.now += 3600
    assert first.look() == []
    for _ in range(15):
        clock.now += 1
        assert first.look() == []
    clock.now += 1
    assert first.look() == [1]


def test_a_long_operation_of_torch_lets_the_heart_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread counts on while the main thread is in one call of torch, or in Python."""
    monkeypatch.setattr("pyromoe.inference.distributed.heartbeat.EVERY", 0.05)
    left: list[int] = []
    store: Any = HashStore()
    heart = Heartbeat(store, 0, 1, leave=left.append)
    heart.start()
    matrix = torch.zeros(300, 300)
    until, counted, loops = time.monotonic() + 1.0, heart.number, 0
    while time.monotonic() < until:
        torch.linalg.matrix_exp(matrix)
        loops += sum(range(10_000)) > 0
    assert heart.number - counted >= 8
    heart.end()
    heart.thread.join(5)
    assert not left


def test_an_error_of_this_process_is_not_blamed_on_another() -> None:
    first, _ = hearts(2, Clock())
    for error in (ValueError("gloo"), RuntimeError("a shape"), InputError("a"), Stopped(2)):
        assert not bereaved(first, error)


def test_a_process_elsewhere_is_named_as_far_as_it_is_known(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gloo tells an address and no number; only this machine's processes can be looked at."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr("pyromoe.inference.distributed.watching.SOON", 0.1)
    long = (
        "[/__w/gloo/pair.cc:553] Connection closed by peer [10.0.0.4]:1. This is typically caused"
    )
    for far, said in (
        ([1], "process 1 (host there)"),
        ([1, 2], "one of the processes 1, 2 (host there)"),
    ):
        first = hearts(3, Clock())[0]
        first.who |= {r: Who("there", 7, 1) for r in far}
        assert bereaved(first, RuntimeError(long))
        assert capfd.readouterr().err == (
            f"pyromoe: {said} is out of reach (Connection closed by peer [10.0.0.4]:1); "
            "no restart is left: go on with --resume, and with a larger --max-restarts\n"
        )


def test_the_seconds_of_silence_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds() == 15
    for text, value in (("0", 0.0), ("30", 30.0)):
        monkeypatch.setenv("PYROMOE_SILENCE", text)
        assert seconds() == value
    for text in ("never", "-1", "inf", "nan", "0.5", ""):
        monkeypatch.setenv("PYROMOE_SILENCE", text)
        with pytest.raises(InputError, match="PYROMOE_SILENCE"):
            seconds()


def test_an_error_is_said_by_one_and_not_tried_again() -> None:
    common: Any = HashStore()
    over_before(common)
    with pytest.raises(InputError), once(common, first=True):
        raise InputError("no such column")
    with pytest.raises(SystemExit) as ended, once(common, first=False):
        raise InputError("no such column")
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended, once(common, first=False):
        raise Stopped(15)
    assert ended.value.code == 143
    with pytest.raises(Stopped), once(common, first=True):
        raise Stopped(15)
    with pytest.raises(SystemExit) as ended:
        over_before(common)
    assert ended.value.code == 2


def test_pieces_are_done_once_each_and_all_processes_have_them() -> None:
    common: Any = HashStore()
    done: list[tuple[int, int]] = []
    large = torch.arange(MOST // 4, dtype=torch.float64)  # more bytes than a value of the store

    def one(rank: int) -> list[list[Saved]]:
        processes = Processes(rank, 3, True, meet(common, rank, 3, 10))

        def work(i: int) -> Saved:
            time.sleep(0.02)
            done.append((rank, i))
            return Saved({"x": large + i}, {"square": i * i})

        return [spread(processes, "abcdefg"[:number], work) for number in (7, 0, 2)]

    found = in_threads(3, one)
    assert sorted(i for _, i in done) == sorted([*range(7), *range(2)])
    assert len({rank for rank, _ in done}) == 3
    for lists in found:
        assert [[s.values["square"] for s in each] for each in lists] == [
            [i * i for i in range(7)],
            [],
            [0, 1],
        ]
        assert all(torch.equal(s.tensors["x"], large + i) for i, s in enumerate(lists[0]))


if __name__ == "__main__":  # a process of `test_select_and_gradients_find_what_one_process_finds`
    torch.set_default_dtype(torch.float32)
    with joined() as all_of_them:
        text = json.dumps(tables(all_of_them))
        Path(f"tables-{all_of_them.rank}.json").write_text(text)
    sys.exit(0)
