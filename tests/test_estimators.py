"""The estimators for scikit-learn."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # no stubs
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyromoe import MoEClassifier, MoERegressor
from pyromoe.inference.files.verified import seal
from pyromoe.inference.posterior.prediction import predict
from pyromoe.inference.runs.reading import read_json
from pyromoe.inference.runs.store import load_fit, write_json
from pyromoe.inference.scikit_learn.estimator_state import FILE
from pyromoe.models.data.data import as_rows
from pyromoe.models.data.encoding import Extra
from pyromoe.models.data.learn import Learner
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pyromoe.models.data.encoding import Encoding

ROOT = Path(__file__).parent.parent
QUICK: dict[str, Any] = {
    "num_experts": 2, "restarts": 1, "optimiser": "adam", "epochs": 30, "batch_size": "full",
    "learning_rate": 0.1,
}  # fmt: skip
"""Of the many fits of scikit-learn's checks."""
CONVERGED: dict[str, Any] = {"num_experts": 2, "restarts": 2, "random_state": 0}


def checks(estimators: list[object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """scikit-learn's checks of some estimators, as a decorator with a type."""
    decorate: Callable[[Callable[..., None]], Callable[..., None]]
    decorate = parametrize_with_checks(estimators)
    return decorate


@checks([MoERegressor(**QUICK), MoEClassifier(**QUICK)])
def test_scikit_learn_finds_an_estimator(
    estimator: object, check: Callable[[object], None]
) -> None:
    if getattr(check, "func", check).__name__ == "check_array_api_input":
        return  # needs a process of its own: the next test
    check(estimator)


ARRAY_API = """
import functools
from sklearn.utils.estimator_checks import check_array_api_input, estimator_checks_generator
from pyromoe import MoEClassifier, MoERegressor

done = 0
for estimator in (MoERegressor(**QUICK), MoEClassifier(**QUICK)):
    for one, check in estimator_checks_generator(estimator):
        if isinstance(check, functools.partial) and check.func is check_array_api_input:
            check(one)
            done += 1
print(done)
"""


def test_scikit_learn_s_arrays_of_other_kinds() -> None:
    """The one check that SciPy lets run only where its array API was switched on at import."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"QUICK = {QUICK!r}\n{ARRAY_API}"],
        capture_output=True,
        text=True,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


@pytest.fixture(scope="module")
def bent() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows on a line with a bend at 0, and noise."""
    chance = np.random.default_rng(0)
    x = np.linspace(-2, 2, 60)[:, None]
    return x, np.abs(x[:, 0]) + 0.1 * chance.standard_normal(60)


@pytest.fixture(scope="module")
def regressor(bent: tuple[NDArray[np.float64], NDArray[np.float64]]) -> MoERegressor:
    return MoERegressor(**CONVERGED).fit(*bent)


@pytest.fixture(scope="module")
def classified() -> tuple[pd.DataFrame, NDArray[Any]]:
    """Rows of three classes with names, and features with names."""
    chance = np.random.default_rng(1)
    frame = pd.DataFrame(chance.standard_normal((90, 2)), columns=["y", "weight"])
    labels = np.array(["low", "mid", "high"])[np.digitize(frame["y"], [-0.5, 0.5])]
    return frame, labels


@pytest.fixture(scope="module")
def classifier(classified: tuple[pd.DataFrame, NDArray[Any]]) -> MoEClassifier:
    return MoEClassifier(**CONVERGED).fit(*classified)


def test_importing_the_library_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import pyromoe, sys; assert not {'torch', 'sklearn'} & set(sys.modules)"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_weight_is_that_many_rows() -> None:
    chance = np.random.default_rng(2)
    x, counts = chance.standard_normal((40, 2)), chance.integers(0, 4, 40)
    y = np.where(x[:, 0] > 0, 2 * x[:, 1], -x[:, 1]) + 0.1 * chance.standard_normal(40)
    repeated = MoERegressor(**CONVERGED).fit(np.repeat(x, counts, 0), np.repeat(y, counts))
    weighted = MoERegressor(**CONVERGED).fit(x, y, sample_weight=counts)
    assert np.array_equal(weighted.predict(x), repeated.predict(x))
    plain = MoERegressor(**CONVERGED).fit(x, y)
    assert np.abs(weighted.predict(x) - plain.predict(x)).max() > 1e-3  # weights do count


def test_the_order_of_the_rows_does_not_count(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    x, y = bent
    one = MoERegressor(**CONVERGED).fit(x, y)
    other = clone(one).fit(x[::-1], y[::-1])
    assert np.array_equal(other.predict(x), one.predict(x))


def numbers_of(encoding: Encoding) -> list[tuple[float, float]]:
    """The means and spreads that an encoding has learned."""
    parts: list[Any] = [*encoding.predictors, *encoding.targets]
    return [(part.mean, part.sd) for part in parts]


def test_weights_count_in_means_spreads_and_levels() -> None:
    x, y, counts = np.array([1.0, 2, 5]), np.array([0.0, 4, 1]), np.array([1, 3, 2])
    alone = as_rows({"x": x, "y": y, "w": counts})
    repeated = as_rows({"x": np.repeat(x, counts), "y": np.repeat(y, counts)})
    for family in ("normal", "poisson"):
        wanted, found = (
            Learner(
                responses=[("y", [family], None)],
                predictors=["x"],
                standardise="predictors_and_response",
                extras=extras,
            ).whole(rows, np.arange(rows.table.num_rows))
            for rows, extras in (
                (repeated, ()),
                (alone, [Extra(role="weight", column="w")]),
            )
        )
        for old, new in zip(numbers_of(wanted), numbers_of(found), strict=True):
            assert new == pytest.approx(old, rel=1e-14)
        assert found.target.levels == pytest.approx(wanted.target.levels, rel=1e-14)


def test_draws_have_the_predicted_mean(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]], regressor: MoERegressor
) -> None:
    x, state = bent[0][::12], torch.random.get_rng_state()
    draws = regressor.sample(x, num_samples=4000, random_state=0)
    assert draws.shape == (4000, 5)
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - regressor.predict(x)) < 5 * error).all()
    assert np.array_equal(draws, regressor.sample(x, 4000, random_state=0))
    assert torch.equal(state, torch.random.get_rng_state())


def test_draws_of_classes_are_as_frequent_as_predicted(
    classified: tuple[pd.DataFrame, NDArray[Any]], classifier: MoEClassifier
) -> None:
    few = classified[0][:4]
    draws, p = classifier.sample(few, 2000, random_state=0), classifier.predict_proba(few)
    assert draws.dtype == classifier.classes_.dtype
    shares = (draws[..., None] == classifier.classes_).mean(0)
    assert (np.abs(shares - p) <= 5 * np.sqrt(p * (1 - p) / 2000) + 1e-12).all()


def test_the_density_is_that_of_the_parameters(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]], regressor: MoERegressor
) -> None:
    """Numerically, p(y | x) has integral 1 and the predicted mean."""
    grid = np.linspace(-5, 8, 20_001)
    x = np.full((len(grid), 1), 0.4)
    density = np.exp(regressor.log_likelihood(x, grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-8)
    assert np.trapezoid(density * grid, grid) == pytest.approx(regressor.predict(x)[0], abs=1e-8)


def test_probabilities_of_experts_and_classes(
    classified: tuple[pd.DataFrame, NDArray[Any]], classifier: MoEClassifier
) -> None:
    frame, labels = classified
    p = classifier.predict_proba(frame)
    assert list(classifier.classes_) == ["high", "low", "mid"]
    own = p[np.arange(90), np.searchsorted(classifier.classes_, labels)]
    assert np.allclose(classifier.log_likelihood(frame, labels), np.log(own), atol=1e-12)
    gate = classifier.gate_probabilities(frame)
    # p(z | x) is the mean of p(z | y, x) over y.
    each = [classifier.responsibilities(frame, np.full(90, c)) for c in classifier.classes_]
    mixed = sum(p[:, [c]] * r for c, r in enumerate(each))
    assert gate.shape == (90, 2)
    assert np.allclose(mixed, gate, atol=1e-12)
    assert classifier.score(frame, labels) > 0.9
    with pytest.raises(InputError, match="class 'none', which was not there"):
        classifier.log_likelihood(frame[:1], ["none"])


@pytest.mark.parametrize("labels", [[True, False], [2.0, 1.0], ["b", "a"], [7, -3]])
def test_labels_keep_their_type(
    labels: list[object], classified: tuple[pd.DataFrame, NDArray[Any]], tmp_path: Path
) -> None:
    x = classified[0].to_numpy()
    y = np.array(labels)[(x[:, 0] > 0).astype(int)]
    fitted = MoEClassifier(**QUICK, random_state=0).fit(x, y)
    fitted.save(tmp_path / "run")
    for one in (fitted, MoEClassifier.load(tmp_path / "run")):
        assert one.predict(x).dtype == y.dtype
        assert one.score(x, y) > 0.9


@pytest.mark.parametrize("family", ["bernoulli", "categorical", "ordinal"])
def test_two_classes_have_two_probabilities(
    family: str, classified: tuple[pd.DataFrame, NDArray[Any]]
) -> None:
    frame = classified[0]
    y = np.where(frame["y"] > 0, "yes", "no")
    fitted = MoEClassifier(**QUICK, family=family, random_state=0).fit(frame, y)
    p = fitted.predict_proba(frame)
    assert np.allclose(p.sum(-1), 1)
    assert fitted.score(frame, y) > 0.9
    assert set(fitted.sample(frame, 3, 0).ravel()) <= {"yes", "no"}


def test_copies_and_files_predict_the_same(
    classified: tuple[pd.DataFrame, NDArray[Any]], classifier: MoEClassifier, tmp_path: Path
) -> None:
    frame, labels = classified
    classifier.save(tmp_path / "run")
    loaded = MoEClassifier.load(tmp_path / "run")
    for one in (loaded, deepcopy(classifier)):
        assert one.get_params() == classifier.get_params()
        assert np.array_equal(one.predict_proba(frame), classifier.predict_proba(frame))
        assert np.array_equal(
            one.log_likelihood(frame, labels), classifier.log_likelihood(frame, labels)
        )
        assert list(one.feature_names_in_) == ["y", "weight"]
        assert one.n_iter_ == classifier.n_iter_
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[["weight", "y"]])
    with pytest.raises(InputError, match="exists already"):
        classifier.save(tmp_path / "run")
    classifier.save(tmp_path / "run", overwrite=True)


def test_the_commands_read_what_was_saved(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]], regressor: MoERegressor, tmp_path: Path
) -> None:
    regressor.save(tmp_path / "run")
    table = predict(load_fit(tmp_path / "run"), {"x0": bent[0][:, 0]})
    assert np.array_equal(table["mean"].to_numpy(), regressor.predict(bent[0]))


@pytest.mark.parametrize("labels", [["inner", "outer"], [10, 9], [False, True], [2.0, -1.0]])
def test_the_commands_have_the_labels_of_a_classifier(labels: list[Any], tmp_path: Path) -> None:
    x = np.linspace(-2, 2, 40)[:, None]
    y = np.array(labels)[(np.abs(x[:, 0]) > 1).astype(int)]
    classifier = MoEClassifier(num_experts=2, epochs=5, restarts=1).fit(x, y)
    classifier.save(tmp_path / "run")
    rows = {"x0": x[:, 0], "y": y.astype(str)}
    table = predict(load_fit(tmp_path / "run"), rows)
    assert table["predicted"].to_pylist() == [str(label) for label in classifier.predict(x)]
    for label, own in zip(classifier.classes_, classifier.predict_proba(x).T, strict=True):
        assert np.array_equal(table[f"p({label})"].to_numpy(), own)
    np.testing.assert_allclose(table["log_density"], classifier.log_likelihood(x, y), rtol=1e-12)
    again = MoEClassifier.load(tmp_path / "run")
    assert np.array_equal(again.predict(x), classifier.predict(x))
    assert np.array_equal(again.log_likelihood(x, y), classifier.log_likelihood(x, y))


def test_a_folder_of_another_estimator_is_refused(regressor: MoERegressor, tmp_path: Path) -> None:
    regressor.save(tmp_path / "run")
    with pytest.raises(InputError, match="holds a MoERegressor, not a MoEClassifier"):
        MoEClassifier.load(tmp_path / "run")
    stored = read_json(tmp_path / "run", FILE)
    write_json(tmp_path / "run" / FILE, stored | {"num_features": "one"})
    seal(tmp_path / "run")
    with pytest.raises(InputError, match="num_features"):
        MoERegressor.load(tmp_path / "run")


def test_a_search_chooses_the_number_of_experts(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    steps = make_pipeline(StandardScaler(), MoERegressor(**CONVERGED))
    order = np.random.default_rng(0).permutation(60)
    search = GridSearchCV(steps, {"moeregressor__num_experts": [1, np.int64(2)]}, cv=3)
    search.fit(bent[0][order], bent[1][order])
    assert search.best_params_ == {"moeregressor__num_experts": 2}
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"family": "bernoulli"}, "MoERegressor: family: bernoulli is not a family"),
        ({"family": "binomial"}, "binomial is not a family"),
        ({"experts": "liner"}, "experts.kind"),
        ({"num_experts": 0}, "experts.number"),
        ({"treatment": "enumerat"}, "did you mean 'enumerate'"),
        ({"expert_prior": -1.0}, "priors.experts.scale"),
        ({"optimiser": "lbfgs", "treatment": "leave_one_out"}, "fit.optimiser"),
    ],
)
def test_a_wrong_parameter_is_one_line(
    parameters: dict[str, Any],
    message: str,
    bent: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    with pytest.raises(InputError, match=message) as error:
        MoERegressor(**parameters).fit(*bent)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"experts": "mlp", "gate": "mlp", "hidden": (8,), "optimiser": None},
        {"treatment": {"name": "leave_one_out", "num_samples": 3}},
        {"gate": {"kind": "cosine", "dimensions": 2}},
        {"expert_prior": None, "gate_prior": None},
        {"expert_prior": {"kind": "laplace"}, "gate_prior": {"kind": "normal", "scale": 0.5}},
        {"family": "student_t"},
        {"early_stopping": True, "optimiser": None},
        {"early_stopping": {"share": 0.2}, "weight_decay": 0.01},
        {"weights": "mean_field", "optimiser": None},
    ],
)
def test_other_settings_of_a_spec(
    parameters: dict[str, Any], bent: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    fitted = MoERegressor(**{**QUICK, "random_state": 0, "epochs": 100, **parameters}).fit(*bent)
    assert fitted.score(*bent) > 0.5
    assert fitted.fit_.spec.fit.optimiser == "adam"


def test_draws_tell_how_uncertain_the_weights_are(
    bent: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    few, far = (bent[0][:8], bent[1][:8]), np.array([[30.0]])
    spread = []
    for weights in ("point", "laplace"):
        fitted = MoERegressor(1, weights=weights, restarts=1, random_state=0).fit(*few)
        draws = fitted.sample(far, 2000, random_state=0)
        error = 5 * draws.std(0) / np.sqrt(len(draws))
        assert (np.abs(draws.mean(0) - fitted.predict(far)) < error).all()
        spread.append(float(draws.std()))
    assert spread[1] > 1.5 * spread[0]


def test_rows_that_are_all_the_same_and_one_class() -> None:
    ones = np.ones((5, 2))
    fitted = MoERegressor(**QUICK).fit(ones, np.full(5, 3.0))
    assert fitted.predict(ones) == pytest.approx(np.full(5, 3.0), abs=0.5)
    with pytest.raises(InputError, match="y has 1 class"):
        MoEClassifier(**QUICK).fit(ones, ["a"] * 5)
    with pytest.raises(ValueError, match="1 sample"):
        MoERegressor(**QUICK).fit(ones[:1], [1.0])
