"""The number of experts: folds that leak nothing, a rule in the open, tests that are right."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.csv
import pytest
import torch
from command import called
from scipy import stats  # type: ignore[import-untyped]

from pyromoe.inference import Selection, fit, select
from pyromoe.inference.pictures import selection_figure
from pyromoe.inference.selection.candidates import candidates
from pyromoe.inference.selection.likelihood_ratio import LikelihoodRatio, bootstrap_test, sample
from pyromoe.inference.selection.recommendation import mean_and_error, recommend, recommended
from pyromoe.inference.summaries.selection import summarise_selection
from pyromoe.models import InputError, SpecFile, parse_spec
from pyromoe.models.data.data import undivided

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = """
data: {response: y, split: {test: 0}}
likelihood: {family: normal}
priors: {experts: {kind: none}, gate: {kind: none}}
fit: {precision: float64, restarts: 3, epochs: 60}
gate: {kind: constant}
"""


def crossing(n: int, experts: int, seed: int = 0) -> dict[str, Any]:
    """Rows of lines with slopes far apart, as many as there are experts."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-2, 2, n), rng.integers(experts, size=n)
    slopes = np.array([3.0, -3.0, 0.0])[z]
    return {"x": x, "y": slopes * x + 4.0 * (z == 2) + 0.3 * rng.normal(size=n)}


def file_of(text: str = PLAIN, **sections: Any) -> SpecFile:
    found = parse_spec(text, "s.yaml")
    return found.changed(**sections) if sections else found


@pytest.fixture(scope="module")
def planted() -> Selection:
    return select(file_of(), crossing(80, 2), experts=[3, 2], folds=4)


def test_the_planted_number_is_recommended(planted: Selection) -> None:
    assert [row["candidate"] for row in planted.rows] == ["1", "2", "3", "network"]
    assert planted.chosen == 1
    assert planted.fit.spec.experts.number == 2
    assert planted.rows[0]["behind"] > 5 * planted.rows[0]["behind_standard_error"]
    assert planted.recommendation.startswith("Recommended: 2 experts. ")
    assert "1 expert" in planted.recommendation
    assert "A plain network is" in planted.recommendation
    for row, result in zip(planted.rows, planted.fits, strict=True):
        assert result is not None
        assert row["bic"] == result.metrics["bic"]
        assert result.metrics["n"]["train"] == 80


def test_one_expert_is_least_squares(planted: Selection) -> None:
    """Each datum's held-out density is that of the line through the other folds."""
    table = crossing(80, 2)
    x, y = np.stack([np.ones(80), table["x"]], 1), table["y"]
    expected = np.empty(80)
    assert planted.places.tolist() == list(range(80))
    for fold in range(4):
        out = planted.folds == fold
        assert out.sum() == 20
        line, *_ = np.linalg.lstsq(x[~out], y[~out], rcond=None)
        sd = np.sqrt(np.mean((y[~out] - x[~out] @ line) ** 2))
        expected[out] = stats.norm.logpdf(y[out], x[out] @ line, sd)
    assert planted.held_out[0] is not None
    np.testing.assert_allclose(planted.held_out[0], expected, atol=1e-6)
    mean, error = expected.mean(), expected.std() / math.sqrt(80)
    assert planted.rows[0]["held_out_log_likelihood"] == pytest.approx(mean, abs=1e-6)
    assert planted.rows[0]["standard_error"] == pytest.approx(error, abs=1e-6)


def test_a_fold_learns_nothing_from_what_it_holds_out() -> None:
    table = crossing(40, 2)
    parts = undivided(file_of(), table).folds(4)
    held_out = parts[0].test.rows
    assert sorted(np.concatenate([part.test.rows for part in parts])) == list(range(40))
    for part in parts:
        assert not set(part.test.rows) & set(part.train.rows)
        assert len(part.test.rows) + len(part.train.rows) == 40
    spoilt = {name: np.where(np.isin(np.arange(40), held_out), 1e6, v) for name, v in table.items()}
    again = undivided(file_of(), spoilt).folds(4)
    assert again[0].encoding.predictors == parts[0].encoding.predictors
    assert (again[0].encoding.target.mean, again[0].encoding.target.sd) == (
        parts[0].encoding.target.mean,
        parts[0].encoding.target.sd,
    )
    np.testing.assert_array_equal(again[0].train.x, parts[0].train.x)
    # The control: another fold has those rows among its training rows.
    assert again[1].encoding.predictors != parts[1].encoding.predictors


def test_folds_keep_groups_whole_and_classes_in_proportion() -> None:
    table = crossing(60, 2) | {"who": np.repeat(np.arange(20), 3)}
    file = file_of(PLAIN.replace("response: y", "response: y, group: who"))
    for part in undivided(file, table).folds(5):
        assert part.test.rows.shape == (4, 3)
        who = table["who"][part.test.rows]
        assert (who == who[:, :1]).all()
    rare = {"x": np.arange(50.0), "y": ["a"] * 40 + ["b"] * 10}
    classes = PLAIN.replace("normal", "bernoulli")
    for part in undivided(file_of(classes), rare).folds(5):
        assert part.test.y.sum() == 2
    few = {"x": np.arange(12.0), "y": list("abcdefabcdef")}
    parts = undivided(file_of(PLAIN.replace("normal", "categorical")), few).folds(5)
    assert sorted(np.concatenate([part.test.rows for part in parts])) == list(range(12))


def test_test_rows_of_the_spec_are_not_looked_at() -> None:
    file = file_of(PLAIN.replace("test: 0", "test: 0.25"))
    whole = undivided(file, crossing(40, 2))
    kept = set(whole.split().train.rows)
    assert len(kept) == 30
    assert set(np.concatenate([part.test.rows for part in whole.folds(3)])) == kept


def rows_of(parameters: list[int]) -> list[dict[str, Any]]:
    names = [*map(str, range(1, len(parameters))), "network"]
    return [
        {"candidate": name, "parameters": p, "aic": 2.0 * p, "bic": 3.0 * p, "icl": 4.0 * p}
        for name, p in zip(names, parameters, strict=True)
    ]


def test_the_simplest_within_one_paired_error_is_recommended() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=400), rng.normal(size=400)
    noise -= noise.mean()
    weight = np.ones(400)

    def ahead(gap: float, sd: float) -> Any:
        return base + gap + sd * noise / noise.std()

    # Errors of the differences are 0.05: the means' own are as large, and say nothing.
    held_out = [ahead(-0.2, 1.0), ahead(-0.04, 1.0), ahead(0.0, 0.0), ahead(1.0, 0.0)]
    rows = rows_of([3, 8, 13, 99])
    assert recommended(rows, held_out, weight) == 1
    assert [row["recommended"] for row in rows] == [False, True, False, False]
    assert rows[1]["behind"] == pytest.approx(0.04)
    assert rows[1]["behind_standard_error"] == pytest.approx(0.05)
    said = recommend(["1 expert", "2 experts", "3 experts", "the plain network"], rows, 1)
    assert "2 experts, with 5 parameters fewer, are 0.0400 +- 0.0500 behind" in said
    assert "A plain network is 1.0000 +- 0.0000 better than every mixture" in said
    assert "more than two standard errors: 1 expert 0.2000 +- 0.0500" in said
    rows = rows_of([3, 8, 13, 99])
    held_out[1] = ahead(-0.06, 1.0)
    assert recommended(rows, held_out, weight) == 2
    said = recommend(["1 expert", "2 experts", "3 experts", "the plain network"], rows, 2)
    assert "largest number that was tried" in said


def test_a_candidate_that_broke_down_is_left_out_and_said() -> None:
    rows = rows_of([3, 8, 99])
    rows[1] = {"candidate": "2", "failure": "the loss is nan"}
    held_out = [np.zeros(9), None, np.ones(9)]
    assert recommended(rows, held_out, np.ones(9)) == 0
    labels = ["1 expert", "2 experts", "the plain network"]
    assert "Broke down: 2 experts." in recommend(labels, rows, 0)
    assert len(selection_figure(rows).axes) == 2
    broken = [{"candidate": "1", "failure": "the loss is nan"}]
    assert recommended(broken, [None], np.ones(9)) is None
    assert "could be fitted: the loss is nan" in recommend(["1 expert"], broken, None)
    none = Selection(broken, [None], np.ones(0), np.ones(0, int), np.ones(0, int), [None], None)
    with pytest.raises(ArithmeticError, match="no number of experts"):
        none.fit  # noqa: B018


def test_weights_count_as_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=30), rng.integers(1, 4, size=30)
    mean, _ = mean_and_error(values, counts.astype(float))
    assert mean == pytest.approx(np.repeat(values, counts).mean())
    mean, error = mean_and_error(values, np.ones(30))
    assert (mean, error) == pytest.approx((values.mean(), values.std() / math.sqrt(30)))
    table = crossing(40, 1) | {"w": np.linspace(0.5, 2, 40)}
    file = file_of(PLAIN.replace("response: y", "response: y, weights: w"))
    found = select(file, table, experts=[1], folds=2)
    np.testing.assert_array_equal(found.weight, table["w"])
    assert found.held_out[0] is not None
    expected = np.average(found.held_out[0], weights=table["w"])
    assert found.rows[0]["held_out_log_likelihood"] == pytest.approx(expected)


def test_hyperparameters_do_not_count() -> None:
    numbers = []
    for kind in ("normal", "horseshoe", "hierarchical"):
        text = PLAIN.replace("experts: {kind: none}", f"experts: {{kind: {kind}}}")
        file = file_of(text.replace("restarts: 3, epochs: 60", "restarts: 1, epochs: 1"))
        numbers.append(fit(file, crossing(20, 2)).metrics["parameters"])
    assert numbers[0] == numbers[1] == numbers[2]


def test_a_larger_model_is_tested_against_a_smaller_one() -> None:
    one = file_of(PLAIN + "experts: {number: 1}")
    two = file_of(PLAIN + "experts: {number: 2}")
    reports: list[float] = []

    def tell(done: float, text: str) -> None:
        reports.append(done)

    for planted, draws in ((1, 7), (2, 7)):
        table = crossing(60, planted)
        smaller, larger = fit(one, table), fit(two, table)
        test = bootstrap_test(smaller, larger, draws, tell)
        totals = [f.metrics["log_likelihood"]["train"] for f in (smaller, larger)]
        assert test.statistic == pytest.approx(2 * (totals[1] - totals[0]))
        assert len(test.samples) == draws
        assert reports[-1] == 1
        reached = sum(each >= test.statistic for each in test.samples)
        assert reached == 0 if planted == 2 else reached >= 2
    assert LikelihoodRatio(2.0, [1.0, 2.0, 3.0]).p_value == 3 / 4


def test_samples_follow_the_fitted_model_and_keep_what_is_missing() -> None:
    table = crossing(2000, 2)
    table["y"][:7] = np.nan
    missing = "response: y, missing: {responses: marginalise}"
    text = PLAIN.replace("response: y", missing) + "experts: {number: 2}"
    found = fit(file_of(text), table)
    assert found.data is not None
    new = sample(found, found.data, 0)
    assert np.isnan(new.train.y[:7]).all()
    assert not np.isnan(new.train.y[7:]).any()
    np.testing.assert_array_equal(new.train.x, found.data.train.x)
    again, other = (sample(found, found.data, number).train.y[7:] for number in (0, 1))
    np.testing.assert_array_equal(again, new.train.y[7:])
    assert (other != again).all()
    x, y = torch.from_numpy(new.train.x[7:]), torch.from_numpy(new.train.y[7:])
    log_p = found.log_likelihood(x, y).numpy()
    old = found.log_likelihood(x, torch.from_numpy(found.data.train.y[7:])).numpy()
    # At the maximum, the mean log density of the data is about that of the model's own draws:
    # two independent means, each with its error; a difference of 5 errors happens once in 10^6.
    error = math.hypot(log_p.std(), old.std()) / math.sqrt(len(log_p))
    assert abs(log_p.mean() - old.mean()) < 5 * error
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    assert found.log_likelihood(x, shuffled).mean() < log_p.mean() - 50 * error


def test_draws_of_weights_bring_leave_one_out() -> None:
    text = PLAIN.replace("experts: {kind: none}", "experts: {kind: normal}")
    text += "guide: {weights: laplace}\noutput: {draws: 60}\n"
    found = select(file_of(text), crossing(30, 1), experts=[1], folds=2)
    row = found.rows[0]
    assert row["elpd_loo"] == pytest.approx(30 * row["held_out_log_likelihood"], abs=6)
    assert row["loo_se"] > 0
    assert "LOO 1 expert" in found.recommendation


@pytest.mark.parametrize(
    ("text", "experts", "message"),
    [
        ("gate: {kind: top_k, active: 3}", [2], "gate.active: with 2 experts: 3 of 2 experts"),
        ("gate: {levels: [2, 2]}", [4, 3], "gate.levels: with 3 experts: 2 x 2 leaves"),
        (
            "experts: {number: 2}\nlikelihood: {family: mixed, experts: [{family: normal}, "
            "{family: student_t}]}",
            [2],
            "likelihood: a family for each expert fixes the number of experts",
        ),
        ("", [0], "select.experts[0]: must be at least 1, not 0"),
        ("", [2, 2], "select.experts[1]: 2 is listed twice"),
    ],
)
def test_numbers_that_cannot_be_are_refused(text: str, experts: list[int], message: str) -> None:
    lines = [line for line in PLAIN.splitlines() if line.split(":")[0] not in text or not line]
    file = file_of("\n".join([*lines, text]))
    with pytest.raises(InputError) as caught:
        select(file, crossing(20, 2), experts=experts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_plain_network_is_as_wide_as_the_largest_mixture() -> None:
    network = candidates(file_of(), [2, 3])[-1]
    assert network.file.spec.experts.hidden == [32]
    assert network.file.spec.priors.experts.kind == "normal"
    assert network.file.spec.fit.optimiser == "adam"


def test_the_plain_network_sees_what_experts_or_gate_see() -> None:
    """Experts without predictors may leave all of them to the gate."""
    for experts, gate, seen in (
        ("[]", "{kind: linear}", "all"),
        ("[x]", "{kind: linear, predictors: [w, x]}", ["x", "w"]),
        ("[x]", "{kind: constant}", ["x"]),
    ):
        text = "data: {file: a.csv, response: y}\nlikelihood: {family: normal}\n"
        text += f"experts: {{predictors: {experts}}}\ngate: {gate}\n"
        network = candidates(file_of(text), [2])[-1]
        assert network.file.spec.experts.predictors == seen
    deep = file_of(PLAIN + "experts: {kind: mlp, hidden: [8, 4], noise: true, number: 2}")
    each = candidates(deep, [2, 3])
    assert [one.name for one in each] == ["1", "2", "3", "network"]
    assert each[-1].file.spec.experts.hidden == [24, 12]
    assert [one.file.spec.experts.noise for one in each] == [False, True, True, False]
    assert each[0].file.spec.gate.kind == "equal"


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    pyarrow.csv.write_csv(pyarrow.table(crossing(40, 2)), tmp_path / "t.csv")
    (tmp_path / "s.yaml").write_text(PLAIN.replace("response", "file: t.csv, response"))

    def run(*args: str) -> tuple[int, str, str]:
        return called(monkeypatch, capsys, "select", *args)

    return run


def test_the_command_writes_what_it_says(call: Any, tmp_path: Path) -> None:
    args = ("s.yaml", "--experts", "2-2", "--folds", "2", "--bootstrap", "2", "--out", "found")
    code, out, err = call(*args)
    assert code == 0, err
    assert "Recommended: 2 experts." in out
    assert "the smallest that 2 samples can show; take more" in out
    names = {p.name for p in (tmp_path / "found").iterdir()}
    files = {
        "selection.json",
        "selection.csv",
        "selection.svg",
        "held_out.csv",
        "spec.yaml",
        "manifest.json",
    }
    assert names == files | {"report.html", "1", "2", "network"}
    written = json.loads((tmp_path / "found" / "selection.json").read_text())
    assert [row["candidate"] for row in written["rows"]] == ["1", "2", "network"]
    assert len(written["tests"]["2"]["samples"]) == 2
    held_out = pyarrow.csv.read_csv(tmp_path / "found" / "held_out.csv")
    assert held_out.column_names == ["row", "fold", "1", "2", "network"]
    assert np.mean(held_out["2"].to_numpy()) == pytest.approx(
        written["rows"][1]["held_out_log_likelihood"]
    )
    assert (tmp_path / "found" / "2" / "posterior.nc").is_file()
    summary = summarise_selection(tmp_path / "found")
    assert summary.what[0].startswith("Linear experts and a constant gate, family normal of y")
    assert summary.bars_of == "Experts, by their share of the training rows, with 2 experts"
    code, _, err = call(*args)
    assert (code, err.count("\n")) == (2, 1)
    assert "exists already" in err
    assert call(*args, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--experts", "a"), "select.experts[0]: must be a whole number"),
        (("--experts", "0"), "must be at least 1"),
        (("--experts", "4-2"), "must be a whole number, not '4-2'"),
        (("--folds", "1"), "select.folds: must be at least 2"),
        (("--folds", "30"), "40 training data for 30 folds; a fold needs two or more; use fewer"),
        (("--bootstrap", "-1"), "must be at least 0"),
    ],
)
def test_bad_options_end_in_one_line(
    call: Any, tmp_path: Path, args: tuple[str, str], message: str
) -> None:
    code, out, err = call("s.yaml", *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "runs").exists()
