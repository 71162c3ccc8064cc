"""What there is to worry about, and that nothing else is said to be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pyromoe.inference.commands.inspection import summary_lines
from pyromoe.inference.files.verified import seal
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.summaries.assignments import Assignments
from pyromoe.inference.summaries.comparison import comparison_table, ranked
from pyromoe.inference.summaries.experts import expert_bars
from pyromoe.inference.summaries.lab import summarise_lab
from pyromoe.inference.summaries.model import model_sentences, model_title
from pyromoe.inference.summaries.run import of_run
from pyromoe.inference.summaries.selection import summarise_selection
from pyromoe.inference.summaries.worries import worries_of
from pyromoe.inference.summary import Bar, Summary
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import parse_spec
from pyromoe.models.data.encoding import Encoding, Target
from pyromoe.models.data.predictors import Levels, Numeric

if TYPE_CHECKING:
    from pathlib import Path

    from pyromoe.models import Spec

N = 200


def assignments(shares: tuple[float, ...] = (0.5, 0.5), sure: float = 0.98) -> Assignments:
    """Rows of which each expert leads in its share; x is 0 and 10, y is 100 times the expert."""
    k = len(shares)
    owner = np.repeat(np.arange(k), np.round(np.array(shares) * N).astype(int))
    r = np.full((len(owner), k), (1 - sure) / max(k - 1, 1))
    r[np.arange(len(owner)), owner] = sure if k > 1 else 1.0
    noise = np.linspace(-1, 1, len(owner))
    return Assignments(
        encoding=Encoding(
            predictors=(
                Numeric(name="x", mean=5.0, sd=5.0),
                Levels(name="colour", levels=("red", "blue")),
            ),
            targets=(Target(name="y", families=("normal",)),),
        ),
        responsibilities=r,
        first=np.arange(len(owner)),
        datum=np.arange(len(owner)),
        row=np.arange(len(owner)),
        x=np.stack([np.where(owner == 0, -1.0, 1.0), owner % 2], 1),
        y=100.0 * owner[:, None] + noise[:, None],
        log_likelihood=-1 + 0.1 * noise,
        chains=1,
        draws=1,
    )


def metrics(**changes: Any) -> dict[str, Any]:
    """Metrics of a fit that leaves nothing to wish for."""
    start = {"seed": 0, "log_likelihood": -200.0, "converged": True}
    return {
        "log_likelihood": {"train": -200.0, "test": -50.5},
        "n": {"train": 200, "test": 50},
        "rmse": 0.5,
        "parameters": 8,
        "measured_on": "test",
        "effective_experts": 2.0,
        "restarts": [start] * 4,
        "treatment": "enumerate",
        "objective": "marginal",
        "steps": 100,
        **changes,
    }


def spec(text: str = "", number: int = 2) -> Spec:
    head = "data: {file: t.csv, response: y}\nlikelihood: {family: normal}\n"
    return make_plan(parse_spec(f"{head}experts: {{number: {number}}}\n{text}", "s")).spec


def starts(*values: float | None, converged: bool = True) -> list[dict[str, Any]]:
    return [
        {"seed": i, "log_likelihood": v, "converged": converged}
        | ({} if v is not None else {"failure": "broke"})
        for i, v in enumerate(values)
    ]


RELAXED = "treatment: {name: gumbel_softmax, temperature: TEMPERATURE}\nobjective: elbo\n"
HOT = RELAXED.replace("TEMPERATURE", "1.0")
COOLED = RELAXED.replace("TEMPERATURE", "{start: 2.0, end: 0.3}")
OF_RELAXED = {"treatment": "gumbel_softmax", "objective": "elbo"}
NUTS = {"r_hat": 1.001, "ess": 900.0, "divergences": 0}


@pytest.mark.parametrize(
    ("name", "changes", "text", "of"),
    [
        ("", {}, "", assignments()),
        ("", {}, "", assignments((1.0,))),
        ("", {"pareto_k": 0.5}, "", assignments()),
        ("posterior of the weights", {"pareto_k": 0.9}, "", assignments()),
        ("", {"nuts": NUTS}, "", assignments()),
        ("chains", {"nuts": NUTS | {"r_hat": 1.2}}, "", assignments()),
        ("few draws", {"nuts": NUTS | {"ess": 50.0}}, "", assignments()),
        ("divergences", {"nuts": NUTS | {"divergences": 3}}, "", assignments()),
        ("collapse", {}, "", assignments((0.98, 0.02), 0.999)),
        ("pruned experts", {}, "", assignments((0.5, 0.5, 0.0), 0.999)),
        ("", {}, "gate: {kind: stick_breaking}", assignments((0.5, 0.5, 0.0), 0.999)),
        ("experts alike", {}, "", assignments(sure=0.55)),
        ("nothing held out", {"n": {"train": 200, "test": 0},
         "log_likelihood": {"train": -200.0, "test": None}}, "", assignments()),
        ("overfitting", {"log_likelihood": {"train": -200.0, "test": -60.0}}, "", assignments()),
        ("few starts agree", {"restarts": starts(-200.0, -210.0, -220.0, -230.0)}, "",
         assignments()),
        ("", {"restarts": starts(-200.0, -210.0)}, "", assignments()),
        ("not converged", {"restarts": starts(-200.0, -200.1, converged=False)}, "",
         assignments()),
        ("starts broke down", {"restarts": starts(-200.0, None)}, "", assignments()),
        ("spike here", {"warnings": [{"name": "spike_here", "what": "w", "remedy": "r"}]}, "",
         assignments()),
        ("biased estimator", OF_RELAXED, COOLED, assignments()),
        ("high temperature, biased estimator", OF_RELAXED, HOT, assignments()),
        ("hard gate", {"treatment": "leave_one_out", "objective": "jensen"},
         "treatment: leave_one_out\nobjective: jensen", assignments()),
    ],
)  # fmt: skip
def test_each_worry_is_there_when_it_should_be(
    name: str, changes: dict[str, Any], text: str, of: Assignments
) -> None:
    found = worries_of(metrics(**changes), spec(text, of.number), of)
    assert ", ".join(worry.name for worry in found) == name
    for worry in found:
        assert worry.what
        assert worry.remedy


@pytest.mark.parametrize("name", list(TREATMENTS))
def test_a_biased_estimator_is_what_its_treatment_says(name: str) -> None:
    objective = TREATMENTS[name].objectives[0]
    given = spec(f"treatment: {name}\nobjective: {objective}")
    of = metrics(treatment=name, objective=objective)
    found = {worry.name for worry in worries_of(of, given, assignments())}
    assert ("biased estimator" in found) == (not TREATMENTS[name].unbiased)


def test_experts_are_described_by_their_responses_and_rows() -> None:
    large, small = expert_bars(assignments((0.25, 0.75), 1.0))
    assert (large.expert, small.expert) == (1, 0)
    assert large.share == pytest.approx(0.75)
    assert "leads in 150 rows" in large.text
    assert "y 100 on average" in large.text
    assert "x 0 (all rows 7.5)" in small.text
    assert "colour=blue 0 (all rows 0.75)" in small.text


def test_classes_are_counted_by_name() -> None:
    of = assignments((0.25, 0.75), 1.0)
    target = Target(name="y", families=("categorical",), labels=("no", "yes", "maybe"))
    encoding = of.encoding.model_copy(update={"targets": (target,)})
    codes = np.where(of.leader == 0, 0.0, 1.0)[:, None]
    first, _ = expert_bars(replace(of, encoding=encoding, y=codes))
    assert "y: yes (100%)" in first.text


def test_errors_are_beside_what_no_model_has() -> None:
    of = assignments()
    said = "\n".join(of_run(metrics(rmse=0.5), spec(), of).how_good)
    assert f"rmse of y, held-out rows: 0.5; its standard deviation is {of.y.std():.4g}." in said
    assert "2.00 of 2 experts in use" in said


def compared(name: str, seed: int, value: float) -> dict[str, Any]:
    return {
        "treatment": name, "objective": "elbo", "seed": seed, "unbiased": True, "evaluations": 2,
        "test_log_likelihood": value, "train_log_likelihood": -1.0, "effective_experts": 2.0,
        "steps": 10, "seconds": 1.0, "rmse": 0.5,
    }  # fmt: skip


def test_a_comparison_is_sorted_by_held_out_likelihood() -> None:
    rows = [compared("a", 0, -2.0), compared("b", 0, -1.0), compared("c", 0, -3.0)]
    rows.append({"treatment": "d", "seed": 0, "failure": "broke"})
    assert [row["treatment"] for row in ranked(rows, "test")] == ["b", "a", "c"]
    table = comparison_table(rows, "test")
    assert [row[0] for row in table.rows] == ["b", "a", "c", "d"]
    assert "seed" not in table.headings
    assert "rmse" in table.headings


def measured(name: str, **changes: Any) -> dict[str, Any]:
    zero = dict.fromkeys(
        ("objective_bias", "estimator_bias", "estimator_bias_low", "estimator_bias_high",
         "estimator_bias_mc_floor", "total_bias", "relative_std", "slope", "cosine"), 0.0
    )  # fmt: skip
    return {
        "treatment": name, "objective": "elbo", "at": "fitted", "parameters": "gate",
        "unbiased": True, "evaluations": 2, **zero, "error_times_cost": 1.0,
        "seconds_per_call": 0.1, "draws": 50, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ([], [measured("a")]),
        (["biased estimators"], [measured("a"), measured("b", estimator_bias=0.4,
         estimator_bias_low=0.3, total_bias=0.4)]),
        (["few draws"], [measured("a", estimator_bias_mc_floor=0.3)]),
        (["nothing left to learn"], [measured("a"), measured("b", total_bias=1e6,
         estimator_bias=1e6, estimator_bias_low=1e6)]),
        (["biased for log p(y|x)"], [measured("a"), measured("enumerate", total_bias=0.2)]),
    ],
)  # fmt: skip
def test_a_lab_warns_of_what_it_measured(
    tmp_path: Path, names: list[str], rows: list[dict[str, Any]]
) -> None:
    from pyromoe.inference.runs.store import write_json

    found = {"recommendation": "Take a.", "skipped": {}, "rows": rows}
    write_json(tmp_path / "gradients.json", found)
    text = "data: {dataset: engel}\nlikelihood: {family: normal}\ntreatment: enumerate\n"
    (tmp_path / "spec.yaml").write_text(text)
    seal(tmp_path)
    summary = summarise_lab(tmp_path)
    assert [worry.name for worry in summary.worries] == names
    assert summary.how_good == ("Take a.",)
    assert summary.bars[0].name == "a"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("at the edge", {"2": {"behind": 0.2, "recommended": False}}),
        ("no mixture needed", {"network": {"behind": -0.5}}),
        ("not told apart", {"4": {"behind": 0.05}}),
        ("LOO", {"2": {"loo_far": 3}}),
        ("", {}),
    ],
)
def test_a_selection_warns_of_its_edges(
    tmp_path: Path, name: str, changes: dict[str, dict[str, Any]]
) -> None:
    from pyromoe.inference.runs.store import write_json

    rows = [
        {"candidate": each, "experts": 2, "parameters": 8, "aic": 1.0, "bic": 1.0, "icl": 1.0,
         "held_out_log_likelihood": -1.0, "train_log_likelihood": -1.0, "behind": behind,
         "behind_standard_error": 0.1, "recommended": each == "2"}
        | changes.get(each, {})
        for each, behind in (("1", 0.5), ("2", 0.0), ("4", 0.3), ("network", 0.4))
    ]  # fmt: skip
    if name == "at the edge":
        rows[2] |= {"behind": 0.0, "recommended": True}
    found = {"recommendation": "Recommended: 2 experts. It is best.", "rows": rows}
    write_json(tmp_path / "selection.json", found)
    seal(tmp_path)
    summary = summarise_selection(tmp_path)
    assert [worry.name for worry in summary.worries] == ([name] if name else [])
    assert summary.how_good == ("Recommended: 2 experts.", "It is best.")
    if name == "not told apart":
        assert summary.worries[0].what.endswith("of the best as well: 4 experts")


def test_a_table_given_in_python_has_no_name() -> None:
    read = parse_spec("data: {response: y}\nlikelihood: {family: normal}", "s").spec
    assert model_title(read, "y") == "4 linear experts, y"
    assert model_sentences(read)[0].endswith("of y, from all other columns.")


def test_a_tree_of_gates_is_named() -> None:
    sentence = model_sentences(spec("gate: {kind: linear, levels: [2, 3]}", number=6))[0]
    assert sentence.startswith("6 linear experts and a linear gate with levels 2 x 3, family")
    sentence = model_sentences(spec("gate: {kind: stick_breaking}"))[0]
    assert sentence.startswith("2 linear experts and a stick_breaking gate, family")


def test_a_terminal_shows_the_leading_experts_alone() -> None:
    bars = tuple(Bar(f"expert {k}", 1 / 64, "", k) for k in range(64))
    lines = [*summary_lines(Summary("title", (), (), "Experts", bars, ()))]
    assert sum(line.lstrip().startswith("expert ") for line in lines) == 16
    assert "and 48 more, in the report" in lines
