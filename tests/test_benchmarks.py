"""The benchmarks run, on little, and what must hold of their figures does."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyromoe.inference import fit
from pyromoe.inference.fitting.budget import Budget
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.result import Fit
from pyromoe.models.data.data import load
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from types import ModuleType

    Capture = pytest.CaptureFixture[str]

FOLDER = Path(__file__).parent.parent / "benchmarks"
SPEC = """
data: {dataset: digits}
likelihood: {family: categorical}
experts: {number: 3, kind: mlp, hidden: [8]}
fit: {batch_size: 256, epochs: 3, learning_rate: 0.02, schedule: cosine, restarts: 1, mode: MODE}
treatment: {name: TREATMENT}
"""


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_error_at_cost_is_finite_and_none_where_z_is_summed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("gradient_error_at_cost", monkeypatch)
    monkeypatch.setattr(module, "LONGEST", 600.0)  # a slow moment of the machine is no reason
    names = "reinforce,enumerate,gumbel_softmax,sum_of_components,jensen,vimco"
    tiny = "--experts 3,40 --draws 40 --steps 20 --mode eager --evaluations 400".split()
    found = module.main([*tiny, "--treatments", names])
    for k, results in found.items():
        rows = {r.treatment: r for r in results}
        assert {r.treatment for r in results[:2]} == {"enumerate", "jensen"}
        for exact in ("enumerate", "jensen"):
            assert rows[exact].by_seconds == pytest.approx(0, abs=1e-6)
        for r in results:
            assert all(math.isfinite(v) for v in (r.bias, r.spread, r.by_evaluations, *r.seconds))
            assert 0 < r.seconds[1] <= r.seconds[0] <= r.seconds[2]
        # Noise alone, of one run each: 400 steps.
        noise = rows["reinforce"].spread / 20
        assert rows["reinforce"].by_evaluations == pytest.approx(noise)
        assert rows["sum_of_components"].by_evaluations == pytest.approx(1.0)  # a gate untrained
        assert rows["gumbel_softmax"].evaluations == k
        assert ("vimco" in rows) == (k == 3)
    shown = capsys.readouterr().out
    assert "vimco" in shown
    assert "not measured: the exact gradient of its objective, iwae" in shown
    assert shown.splitlines()[-1].startswith("Each beside the exact gradient of its own objective")


def test_less_than_a_step_has_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = benchmark("gradient_error_at_cost", monkeypatch)
    assert module.mean_error(0.09, 4.0, 1.0) == pytest.approx(math.sqrt(16.09))
    assert module.mean_error(0.09, 4.0, 0.99) == math.inf


@pytest.mark.parametrize("mode", ["eager", "captured"])
@pytest.mark.parametrize("name", ["enumerate", "q_baseline"])
def test_a_timed_fit_is_the_fit(mode: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capturing the graphs beforehand leaves nothing behind: the same bits."""
    module = benchmark("time_to_likelihood", monkeypatch)
    file = parse_spec(SPEC.replace("TREATMENT", name).replace("MODE", mode), "spec.yaml")
    data = load(file)
    run = module.Run(make_plan(file), data, 0)
    marks = list(run.marks())
    expected = fit(file, data=data, budget=Budget("epochs", 3))
    total = expected.metrics["log_likelihood"]["test"]
    assert marks[-1].steps == expected.metrics["steps"]
    assert marks[-1].held_out == pytest.approx(total / len(data.test.rows), rel=1e-6)
    restart = run.restart
    found = Fit(expected.spec, data.encoding, restart.model, restart.guide)
    assert found.tensors()
    assert found.fingerprint() == expected.fingerprint()


def test_the_time_to_a_likelihood_is_finite_and_one_for_enumeration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    module = benchmark("time_to_likelihood", monkeypatch)
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("TREATMENT", "enumerate").replace("MODE", "auto"))
    tiny = ["--spec", str(spec), "--starts", "2", "--reference", "2", "--mode", "eager"]
    ratios: dict[str, Any] = module.main(
        [*tiny, "--share", "0.8", "--treatments", "sum_of_components,jensen"]
    )
    assert list(ratios) == ["enumerate", "sum_of_components", "jensen"]
    assert ratios["enumerate"] == 1.0
    assert all(ratio > 0 for ratio in ratios.values())
    beyond_reach = [*tiny, "--share", "3", "--treatments", "jensen"]
    ratios = module.main(beyond_reach)
    assert set(ratios.values()) == {math.inf}
    assert "not reached within" in capsys.readouterr().out


def test_regularisation_is_measured_on_rows_that_no_fit_has_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("regularisation", monkeypatch)
    short = {"epochs": 2, "restarts": 1, "mode": "eager"}
    tiny = module.Problem("wine", "categorical", {"number": 2}, short)
    columns, response = module.columns_of(tiny)
    rows = dict(module.variants_of(tiny))
    assert not any("dropout" in name for name in rows)
    found = module.held_out(tiny, columns, response, rows["early stopping"], 2)
    assert found.shape == columns[response].shape
    assert (found > 0).all()
    monkeypatch.setitem(module.PROBLEMS, "tiny", tiny)
    monkeypatch.setattr(sys, "argv", "x tiny --folds 2 --only decay".split())
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[3:]] == ["default", "adamw, decay 0.1"]


def test_the_memory_of_a_posterior_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("posterior_memory", monkeypatch)
    module.main("--here --rows 200 --experts 3 --draws 20".split())
    said = capsys.readouterr().out
    stages = re.findall(r"^(\w[\w ]*?) +(\d+\.\d+) GiB", said, re.MULTILINE)
    assert [what for what, _ in stages] == "imported fitted converted written read".split()
    sizes = [float(size) for _, size in stages]
    assert sizes == sorted(sizes)
    assert sizes[0] > 0


def test_the_cost_of_the_checks_is_a_ratio_for_each_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, little = benchmark("finite_checks", monkeypatch), "--rounds 2 --fits 2"
    found = module.main([*little.split(), "--modes", "captured"])
    assert 0.2 < found["captured"] < 5
    assert "captured" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "few", "planted"),
    [
        ("fuzz_specs", "--commands 1", ["lets_through", "without_a_place"]),
        ("fuzz_tables", "--commands 1", ["lets_through", "takes_short_rows", "writes_beside"]),
        ("fuzz_commands", "", ["what is wrong is a bug", "a file is left behind"]),
    ],
)
def test_broken_files_are_counted_and_planted_faults_found(
    name: str, few: str, planted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    module = benchmark(name, monkeypatch)
    monkeypatch.setattr(module, "CONTROL", 40)
    assert module.main(f"--mutations 40 {few}".split()) == 0
    said = capsys.readouterr().out
    counts = re.search(r"^4\d mutations in \d+ s: \d+ read, (\d+) errors .* 0 failures", said, re.M)
    assert counts is not None
    assert int(counts[1]) > 15
    found = re.findall(r"^control, ([\w ]+): (\d+) failures", said, re.MULTILINE)
    assert [reader for reader, _ in found] == planted
    assert all(int(number) for _, number in found)
    monkeypatch.setattr(module, "CONTROL", 0)
    assert module.main(f"--mutations 1 {few}".split()) == 1  # nothing planted was found


def test_streaming_is_measured_beside_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("streaming", monkeypatch)
    little = "--rows 20000 --epochs 2 --repeats 1 --batch 1000 --mode captured".split()
    found = module.main(little)
    assert all(value > 0 for value in found.values())
    assert found["memory"] < module.MOST
    assert "20,000 rows, 20 predictors, 2 epochs, captured" in capsys.readouterr().out
