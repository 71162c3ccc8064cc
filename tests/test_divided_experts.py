"""A bank of experts divided over processes: the numbers of one process, a share of its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from divided import CASES, fits_of

from pyromoe.inference import Processes
from pyromoe.inference.fitting.divided import divides
from pyromoe.models import InputError, Networks, networks, parse_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parent


def reports_of(number: int, folder: Path) -> list[dict[str, Any]]:
    """What each of several processes found, every case in one start of them."""
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(TESTS.parent / "src")}
    started = []
    for rank in range(number):
        command = [sys.executable, "-W", "error", str(TESTS / "divided.py"), str(rank), str(number)]
        with (folder / f"{rank}.txt").open("w") as said:
            process = subprocess.Popen([*command, str(folder)], env=environment, stderr=said)
        started.append(process)
    try:
        codes = [process.wait(timeout=150) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert not any(codes), [(folder / f"{rank}.txt").read_text()[-2000:] for rank in range(number)]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_several_processes_are_as_one(number: int, tmp_path: Path) -> None:
    reports = reports_of(number, tmp_path)
    for name in CASES:
        check_as_one(name, [report[name] for report in reports])
        check_shares(name, [report[name] for report in reports])
    check_that_a_fault_is_seen([report["forgotten"] for report in reports])
    for name in fits_of(number):
        check_fit(name, [report["fits"][name] for report in reports])
    for report in reports:
        assert {*report["uneven"]} == {"all", "chosen", "mixed", "waited for"}
        assert max(report["uneven"].values()) < 1e-12
        said = report["refused"]
        assert "dropout" in said["dropout"]
        assert f"{number} processes cannot divide 1" in said["number"]
        assert "hierarchical" in said["prior"]


def check_as_one(name: str, reports: Sequence[dict[str, Any]]) -> None:
    """The first values, a first gradient, and parameters after steps of Adam are those of one."""
    for found in reports:
        assert found["start"] == 0, name
        assert found["loss"] < 1e-12, name
        assert found["gradient"] < 1e-12 * max(1, found["largest"]), name
        assert found["end"] < 1e-10, name
        assert found["moved"] > 0.01, name
        assert found.get("whole", 0) < 1e-10, name


def check_shares(name: str, reports: Sequence[dict[str, Any]]) -> None:
    """Parameters, gradients and moments of the bank take their share of memory, to the byte."""
    number, shares = CASES[name].number, [found["share"] for found in reports]
    assert sum(shares) == number
    assert max(shares) - min(shares) <= 1
    for found, share in zip(reports, shares, strict=True):
        whole, own = (bytes_ - found["common"] for bytes_ in found["bytes"])
        assert own * number == whole * share, name


def check_that_a_fault_is_seen(reports: Sequence[dict[str, Any]]) -> None:
    """The control: the gate's gradient, which is not summed over processes."""
    for found in reports:
        assert found["start"] == 0
        assert found["gradient"] > 0.1
        assert found["end"] > 1e-3


def check_fit(name: str, reports: Sequence[dict[str, Any]]) -> None:
    """A whole fit, one of them stopped and gone on with, is that of one process."""
    first, *others = reports
    assert first["apart"] < 1e-10, name
    assert first["log_likelihood"] == pytest.approx(first["one"], rel=1e-12)
    assert len(first["names"]) > 3
    for each in others:
        assert each["log_likelihood"] == first["log_likelihood"]
        assert "divided" in each["mode"]


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("sizes", [[1, 1], [3, 5], [0, 2], [7, 9, 2]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_part_of_a_bank_starts_as_in_the_whole(sizes: list[int], dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    sources = [torch.Generator().manual_seed(3) for _ in range(4)]
    whole = Networks(11, sizes, generator=sources[0])
    ranges = [range(0, 4), range(4, 5), range(5, 11)]
    parts = [
        Networks(11, sizes, generator=source, held=held)
        for source, held in zip(sources[1:], ranges, strict=True)
    ]
    for name, value in whole.named_parameters():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), value)
    states = [source.get_state() for source in sources]
    assert all(torch.equal(state, states[0]) for state in states)


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "PART", 64)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("experts.number=1", "experts.number: fit.expert_parallel cannot divide 1 expert over 2"),
        ("experts={number: 4, kind: mlp, dropout: 0.1}", "experts.dropout: "),
        ("priors.experts.kind=hierarchical", "priors.experts.kind: "),
        ("guide.weights=mean_field", "guide.weights: fit.expert_parallel finds a point"),
        ("fit.optimiser=lbfgs", "fit.optimiser: fit.expert_parallel divides the steps of adam"),
    ],
)
def test_a_spec_that_cannot_be_divided_is_refused(setting: str, said: str) -> None:
    text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 4}}"
    file = parse_spec(text, "engel.yaml", ["fit.expert_parallel=true", setting])
    assert not divides(file, file.spec, Processes())  # one process divides nothing
    with pytest.raises(InputError) as refused:
        divides(file, file.spec, Processes(0, 2, launched=True))
    assert said in str(refused.value)
    assert "leave that out" in str(refused.value)
