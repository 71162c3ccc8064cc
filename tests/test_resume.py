"""An interrupted fit goes on, from wherever it was, to the bits that it would have reached."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import interruptions
import numpy as np
import pytest
import torch
from command import Result, called
from interruptions import EVERY_WAY, NOISY, Problem

from pyromoe.inference import Budget, Checkpoints, compare, fit, gradients, select
from pyromoe.inference.files.checkpoints import Saved
from pyromoe.inference.files.signals import Signals, Stopped
from pyromoe.inference.fitting import loop, nuts, unfinished
from pyromoe.inference.lab.measuring import Lab
from pyromoe.inference.steps import side_by_side
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EAGER = "fit.mode=eager"


@pytest.fixture(autouse=True)
def _float32() -> None:
    torch.set_default_dtype(torch.float32)  # as in the command


def stop_often(
    problem: Problem, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> tuple[Any, int]:
    """Stop a fit after every so many of its checkpoints; return its outcome and the stops."""
    stops, whole = 0, unfinished.saved
    while True:
        place, left = Checkpoints(folder), iter(range(every - 1))
        monkeypatch.setattr(interruptions, "Checkpoints", lambda folder, place=place: place)

        def save(of: Any, *, ended: bool, place: Any = place, left: Any = left) -> Saved:
            if next(left, None) is None and not ended:
                place.signals.came = signal.SIGINT
            return whole(of, ended=ended)

        monkeypatch.setattr(unfinished, "saved", save)
        try:
            return problem.outcome(folder), stops
        except Stopped:
            stops += 1


FITS = [
    [EAGER, "fit.restarts=3"],
    ["fit.mode=captured", NOISY],
    ["fit.restarts=2", "fit.early_stopping={}", "treatment=leave_one_out"],
    ["data.stream={buffer: 140}", "treatment=reinforce", "fit.restarts=2"],
    ["data.stream={buffer: 140}", "treatment=gumbel_softmax", "fit.shards=3"],
    ["fit.restarts=2", "fit.batch_size=full", "guide.weights=mean_field"],
    ["experts.kind=mlp", "experts.hidden=[8]", "experts.dropout=0.3", "fit.optimiser=adamw"],
    ["fit.schedule=cosine", "fit.optimiser=sgd", "treatment=reinforce"],
]


@pytest.mark.parametrize("settings", FITS, ids=lambda settings: settings[-1])
def test_a_fit_that_is_stopped_again_and_again_ends_in_the_same_bits(
    settings: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem.of(["fit.epochs=8", *settings])
    outcome, stops = stop_often(problem, tmp_path / "resume", monkeypatch, 3)
    assert outcome == problem.expected
    assert stops >= 2


def test_a_fit_that_goes_back_goes_back_to_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps are too long: it is stopped before and after it goes back and halves them."""
    long = ["fit.optimiser=sgd", "fit.learning_rate=5", "fit.restarts=3", "treatment=reinforce"]
    problem = Problem.of(["fit.epochs=20", EAGER, *long])
    retries = [restart.get("retries") for restart in problem.expected[2]]
    assert 3 in retries  # then one was left behind
    assert 1 in retries
    outcome, _ = stop_often(problem, tmp_path / "resume", monkeypatch, 1)
    assert outcome == problem.expected


def test_a_fit_that_stops_early_remembers_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = ["fit.early_stopping={patience: 4}", "fit.learning_rate=0.5", "treatment=reinforce"]
    problem = Problem.of(["fit.epochs=30", EAGER, *early])
    restart = problem.expected[2][0]
    assert restart["stopped_at"] == restart["best_epoch"] + 4
    outcome, _ = stop_often(problem, tmp_path / "resume", monkeypatch, 1)
    assert outcome == problem.expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [t.name for t in TREATMENTS.values()])
def test_every_treatment_goes_on_to_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"treatment={name}", EAGER, "fit.epochs=2", "experts.mix=parameters"]
    problem = Problem.of(settings)
    outcome, stops = stop_often(problem, tmp_path / "resume", monkeypatch, 2)
    assert outcome == problem.expected
    assert stops >= 2


def test_a_treatment_without_its_state_would_end_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test before: a running baseline that is forgotten is missed."""
    problem = Problem.of(["treatment=reinforce", EAGER, "fit.epochs=2"])
    monkeypatch.setattr(side_by_side, "take_up", lambda members, saved, state: state)
    outcome, _ = stop_often(problem, tmp_path / "resume", monkeypatch, 2)
    assert outcome != problem.expected


def in_a_fresh_process(*args: object) -> Any:
    """What became of the interruptions that `interruptions.py` was asked for."""
    command = [sys.executable, str(Path(interruptions.__file__)), *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "captured"])
def test_a_killed_fit_goes_on_to_the_same_bits(mode: str) -> None:
    found = in_a_fresh_process("kills", mode, 8)
    assert found["same"] == found["runs"]
    assert found["saved"] >= 2  # else nothing was tested


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", ["without_noise", "without_moments"])
def test_kills_tell_a_saboteur(sabotage: str) -> None:
    found = in_a_fresh_process("kills", "eager", 8, sabotage)
    assert found["same"] < found["runs"]


@pytest.mark.slow
def test_every_call_that_writes_may_be_the_last() -> None:
    """Killed before, after or half-way through each, or with a full disk at each."""
    found = in_a_fresh_process("calls", ",".join(EVERY_WAY))
    assert {(how, well) for how, well, _ in found} == {(how, True) for how in EVERY_WAY}
    assert sum(number for _, _, number in found) > 60


@pytest.mark.slow
def test_a_torn_write_tells_who_overwrites_in_place() -> None:
    found = in_a_fresh_process("calls", "torn", "in_place")
    assert False in [well for _, well, _ in found]


def stopped_in(folder: Path, settings: Sequence[str]) -> Problem:
    """Leave a fit unfinished, with two checkpoints."""
    problem, left = Problem.of(settings), iter(range(4))
    place = Checkpoints(folder)

    def report(done: float, text: str) -> None:
        if next(left, None) is None:
            place.signals.came = signal.SIGTERM

    with pytest.raises(Stopped, match="15"):
        fit(problem.file, data=problem.data, checkpoints=place, progress=report)
    return problem


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path) -> None:
    source = tmp_path / "whole"
    problem = stopped_in(source, ["fit.epochs=8", EAGER, NOISY])
    newest = max(source.glob("manifest-*"))
    parts = [
        p["file"] for p in json.loads(newest.read_bytes().partition(b"\n")[2])["parts"].values()
    ]
    chance = np.random.default_rng(0)
    seen = 0
    for path in [newest, source / max(parts)]:
        whole = path.read_bytes()
        for i in range(60):
            content = bytearray(whole[: chance.integers(len(whole))] if i % 2 else whole)
            if not i % 2:
                content[chance.integers(len(whole))] ^= 1 << int(chance.integers(8))
            path.write_bytes(bytes(content))
            place = Checkpoints(source)
            assert path.name in place.note
            assert "earlier" in place.note
            assert place.parts
            seen += 1
        path.unlink()
        assert "is missing" in Checkpoints(source).note or path is newest
        path.write_bytes(whole)
    assert seen == 120
    assert Checkpoints(source).note == ""
    path.write_bytes(b"")
    assert problem.outcome(source) == problem.expected  # from the one before


def test_checkpoints_that_are_all_damaged_are_refused(tmp_path: Path) -> None:
    stopped_in(tmp_path / "resume", ["fit.epochs=8", EAGER])
    for path in (tmp_path / "resume").glob("manifest-*"):
        path.write_bytes(b"{}")
    with pytest.raises(InputError, match=r"manifest-\d+\.json: is damaged .*--overwrite"):
        Checkpoints(tmp_path / "resume")


def test_a_checkpoint_is_not_believed_by_its_name(tmp_path: Path) -> None:
    """A manifest that names a file elsewhere, and a link in the place of a part."""
    folder = tmp_path / "resume"
    stopped_in(folder, ["fit.epochs=8", EAGER])
    newest = max(folder.glob("manifest-*"))
    for path in folder.glob("manifest-*"):
        if path != newest:
            path.unlink()
    part = max(folder.glob("part-*"))
    outside = tmp_path / "outside.safetensors"
    part.rename(outside)
    part.symlink_to(outside)
    with pytest.raises(InputError, match=part.name):
        Checkpoints(folder)


def test_a_checkpoint_that_says_something_else_is_refused(tmp_path: Path) -> None:
    """Its digests agree, so that somebody has written it; each number and tensor in turn."""
    folder = tmp_path / "resume"
    problem = stopped_in(folder, ["fit.epochs=8", EAGER, "treatment=reinforce"])
    name = "starts 1 to 1"
    whole = Checkpoints(folder).take(name)
    assert whole is not None
    changed = list[Saved]()
    for key in whole.values:
        without = {n: v for n, v in whole.values.items() if n != key}
        changed += [replace(whole, values=without | other) for other in ({}, {key: "text"})]
    for key, tensor in whole.tensors.items():
        rest = {n: t for n, t in whole.tensors.items() if n != key}
        changed += [replace(whole, tensors=rest | o) for o in ({}, {key: tensor.new_ones(3, 7)})]
    restart = dict(whole.values["restarts"][0], model="os.system")
    changed.append(replace(whole, values={**whole.values, "restarts": [restart]}))
    said, believed = list[str](), 0
    for saved in changed:
        Checkpoints(folder).keep(name, saved)
        try:
            believed += problem.outcome(folder) != problem.expected
        except InputError as error:
            said.append(str(error))
    assert len(said) > 40
    assert believed <= 1  # other losses of an epoch, of the form that they had
    assert all(text.endswith("start anew with --overwrite") for text in said)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["fit.learning_rate=0.5"], "fit.learning_rate: is 0.5 and was 0.01 in the unfinished fit"),
        (["experts.number=3"], "experts.number: is 3 and was 2"),
        (["seed=1"], "seed: is 1 and was 0"),
    ],
)
def test_another_fit_is_not_gone_on_with(
    settings: Sequence[str], text: str, tmp_path: Path
) -> None:
    first = ["fit.epochs=8", EAGER]
    problem = stopped_in(tmp_path / "resume", first)
    other = parse_spec(interruptions.TEXT, "engel.yaml", [*interruptions.LIKE, *first, *settings])
    with pytest.raises(InputError, match=text):
        fit(other, checkpoints=Checkpoints(tmp_path / "resume"))
    place = Checkpoints(tmp_path / "resume")
    with pytest.raises(InputError, match="--budget: is a mapping and was nothing"):
        fit(problem.file, checkpoints=place, budget=Budget("steps", 9))
    quicker = parse_spec(
        interruptions.TEXT,
        "engel.yaml",
        [*interruptions.LIKE, *first, "fit.checkpoint_seconds=9"],
    )
    assert fit(quicker, checkpoints=Checkpoints(tmp_path / "resume")).fingerprint()


def test_other_data_are_not_gone_on_with(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 50)
    text = "{data: {response: y}, likelihood: {family: normal}, experts: {number: 2}}"
    spec = parse_spec(text, "spec", ["fit.epochs=3", "fit.restarts=1", "fit.optimiser=adam"])
    place = Checkpoints(tmp_path / "resume")
    fit(spec, {"x": x, "y": x**2}, checkpoints=place)
    with pytest.raises(InputError, match="the data are not those of the unfinished fit"):
        fit(spec, {"x": x, "y": x**2 + 1e-9}, checkpoints=Checkpoints(tmp_path / "resume"))


def test_a_comparison_repeats_no_fit_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["fit.epochs=3", "fit.restarts=1", "compare.seeds=[0, 1]"]
    spec = parse_spec(interruptions.TEXT, "engel.yaml", settings)
    names = ["enumerate", "reinforce"]
    whole = compare(spec, treatments=names)
    fitted = list[str]()

    def keep(name: str, result: Any) -> None:
        fitted.append(name)
        if len(fitted) == 3:
            raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped):
        compare(spec, treatments=names, keep=keep, checkpoints=Checkpoints(tmp_path / "r"))
    again = compare(spec, treatments=names, keep=keep, checkpoints=Checkpoints(tmp_path / "r"))
    assert fitted == ["enumerate-0", "reinforce-0", "enumerate-1", "enumerate-1", "reinforce-1"]
    for row, other in zip(again.rows, whole.rows, strict=True):
        assert {n: v for n, v in row.items() if "second" not in n} == {
            n: v for n, v in other.items() if "second" not in n
        }
    for values, other_values in zip(again.held_out, whole.held_out, strict=True):
        assert values is not None
        assert other_values is not None
        assert values.tobytes() == other_values.tobytes()


class Stopping(Checkpoints):
    """Checkpoints after each of which the work is stopped."""

    def keep(self, name: str, saved: Saved, *, whole: bool = True) -> None:
        super().keep(name, saved, whole=whole)
        if whole:
            raise Stopped(signal.SIGINT)


def until_it_ends(folder: Path, work: Callable[[Checkpoints], Any]) -> tuple[Any, list[list[str]]]:
    """What came of work that is stopped after everything it keeps; what was kept each time."""
    kept = list[list[str]]()
    while True:
        try:
            return work(Stopping(folder)), kept
        except Stopped:
            kept.append([name for name in Checkpoints(folder).parts if name != "fit"])


def test_what_select_has_fitted_is_not_fitted_again(tmp_path: Path) -> None:
    settings = ["fit.epochs=2", "fit.restarts=1", "fit.mode=eager"]
    spec = parse_spec(interruptions.TEXT, "engel.yaml", settings)
    asked: Any = {"experts": [2], "folds": 2, "bootstrap": 2}
    whole, made = select(spec, **asked), list[str]()

    def work(checkpoints: Checkpoints) -> Any:
        return select(
            spec, **asked, checkpoints=checkpoints, keep=lambda name, found: made.append(name)
        )

    found, kept = until_it_ends(tmp_path / "r", work)
    parts = "-fold-1", "-fold-2", ""
    each = [f"{name}{part}" for name in ("1", "2", "network") for part in parts]
    each += ["2-sample-1", "2-sample-2"]
    assert kept == [each[: i + 1] for i in range(len(each))]
    assert made == ["1", "2", "network"]
    assert interruptions.found_by(found) == interruptions.found_by(whole)
    assert not [path for path in (tmp_path / "r").iterdir() if path.is_dir()]  # of single fits
    with pytest.raises(InputError, match="--folds: is 3 and was 2 in the unfinished fit"):
        select(spec, **asked | {"folds": 3}, checkpoints=Checkpoints(tmp_path / "r"))


def test_what_the_lab_has_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["fit.epochs=3", "fit.restarts=1", "fit.mode=eager"]
    spec = parse_spec(interruptions.TEXT, "engel.yaml", settings)
    asked: Any = {"treatments": ["enumerate", "rebar"], "draws": 5}
    whole, measured, measure = gradients(spec, **asked), list[str](), Lab.measure

    def counted(lab: Lab, plan: Any, at: Any) -> Any:
        measured.append(f"{at}-{plan.treatment.name}")
        return measure(lab, plan, at)

    monkeypatch.setattr(Lab, "measure", counted)

    def work(checkpoints: Checkpoints) -> Any:
        return gradients(spec, **asked, checkpoints=checkpoints)

    found, kept = until_it_ends(tmp_path / "r", work)
    each = [f"{at}-{name}" for at in ("initial", "fitted") for name in ("enumerate", "rebar")]
    assert kept == [each[: i + 1] for i in range(4)]
    assert measured == each
    assert interruptions.found_by(found) == interruptions.found_by(whole)
    with pytest.raises(InputError, match="--draws: is 6 and was 5 in the unfinished fit"):
        gradients(spec, **asked | {"draws": 6}, checkpoints=Checkpoints(tmp_path / "r"))


@pytest.mark.slow
def test_chains_of_nuts_that_have_ended_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["guide.weights=nuts", "guide.warmup=10", "output.draws=64", "fit.precision=float64"]
    problem, begun = Problem.of([*settings, "fit.epochs=3", "fit.mode=captured"]), list[int]()
    chain_from = nuts.chain_from

    def counted(with_slope: Any, mode: Any, spec: Any, chain: Any, tell: Any) -> Any:
        begun.append(chain[0])
        if len(begun) == 3:
            raise Stopped(signal.SIGINT)
        return chain_from(with_slope, mode, spec, chain, tell)

    monkeypatch.setattr(nuts, "chain_from", counted)
    with pytest.raises(Stopped):
        problem.outcome(tmp_path / "resume")
    assert problem.outcome(tmp_path / "resume") == problem.expected
    assert begun == [0, 1, 2, 2, 3]


def test_a_signal_that_nobody_awaits_stops_at_once_and_so_does_the_second() -> None:
    signals = Signals()
    with pytest.raises(Stopped):
        signals.take(signal.SIGINT, None)
    signals.awaited = True
    signals.take(signal.SIGINT, None)
    assert signals.came == signal.SIGINT
    with pytest.raises(Stopped):
        signals.take(signal.SIGINT, None)


SPEC = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
treatment: reinforce
fit: {epochs: 100000, restarts: 1, mode: eager}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_saves_when_it_is_asked_to_stop(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "pyromoe", "fit", "spec.yaml", "--out", "run"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "run.unfinished"
    waited = time.monotonic()
    while not (folder / "resume").is_dir():
        assert time.monotonic() - waited < 60
        time.sleep(0.05)
    time.sleep(0.5)
    second = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, stderr=subprocess.PIPE, check=False
    )
    assert second.returncode == 2
    assert b"run.unfinished: is being written; wait" in second.stderr
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == code
    *progress, last = said.splitlines()
    why = "pyromoe: error: stopped; what was done is kept in run.unfinished; go on with --resume"
    assert last == why
    assert all(re.match(r" *\d+%  epoch \d+.* left$", line) for line in progress)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("run")] == ["run.unfinished"]
    assert Checkpoints(folder / "resume").parts.keys() == {"fit", "starts 1 to 1"}


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("100000", "6"))
    return lambda *args: called(monkeypatch, capsys, *args)


@pytest.mark.slow
def test_the_command_goes_on_with_what_is_unfinished(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device", "posterior.nc")

    assert run("fit", "spec.yaml", "--out", "whole").code == 0
    with monkeypatch.context() as planted:
        planted.setattr("pyromoe.inference.runs.run_directory.to_netcdf", full)
        result = run("fit", "spec.yaml", "--out", "run")
    assert result.code == 3
    assert result.err == (
        "pyromoe: error: posterior.nc: No space left on device; "
        "what was done is kept in run.unfinished; go on with --resume\n"
    )
    for args in (["inspect", "run"], ["report", "run.unfinished"], ["coefficients", "run"]):
        asked = run(*args)
        assert asked.code == 2
        assert "run.unfinished: is unfinished; go on with it by the command" in asked.err
    refused = run("fit", "spec.yaml", "--out", "run")
    assert refused.code == 2
    assert "run.unfinished: is there, from a fit that was interrupted; go on" in refused.err
    other = run("fit", "spec.yaml", "--out", "run", "--resume", "--set", "seed=1")
    assert other.code == 2
    assert "seed: is 1 and was 0" in other.err
    steps = list[object]()
    monkeypatch.setattr(loop.Loop, "step", steps.append)
    result = run("fit", "spec.yaml", "--out", "run", "--resume")
    assert result.code == 0, result.err
    assert "going on with run.unfinished" in result.err
    assert not steps
    assert not Path("run.unfinished").exists()
    assert {p.name for p in Path("run").iterdir()} == {p.name for p in Path("whole").iterdir()}
    fingerprints = {
        json.loads(Path(name, "metrics.json").read_text())["parameters_sha256"]
        for name in ("run", "whole")
    }
    assert len(fingerprints) == 1
    finished = run("fit", "spec.yaml", "--out", "run", "--resume")
    assert (finished.code, finished.out) == (
        0,
        "run is finished: nothing is left to go on with\n",
    )


@pytest.mark.slow
def test_what_is_there_stays_until_its_successor_is_whole(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("fit", "spec.yaml", "--out", "run").code == 0
    before = {p.name: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}

    def killed(*args: object) -> None:
        raise Stopped(signal.SIGINT)

    with monkeypatch.context() as planted:
        planted.setattr("pyromoe.inference.runs.run_directory.to_netcdf", killed)
        changed = ("fit", "spec.yaml", "--out", "run", "--overwrite", "--set", "seed=1")
        assert run(*changed).code == 130
    assert {p.name: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == before
    assert run(*changed, "--resume").code == 0
    assert {p.name: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} != before
    assert sorted(os.listdir()) == ["run", "spec.yaml"]


@pytest.mark.slow
def test_a_fit_that_would_break_down_again_leaves_nothing(run: Callable[..., Result]) -> None:
    result = run("fit", "spec.yaml", "--out", "run", "--set", "fit.learning_rate=10", "--set",
                 "data.standardise=none")  # fmt: skip
    assert result.code in (0, 4)
    assert not Path("run.unfinished").exists()
