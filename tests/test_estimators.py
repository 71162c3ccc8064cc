"""The estimators for scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.utils.estimator_checks import parametrize_with_checks

from pyromoe import MoEClassifier, MoERegressor

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = {"num_experts": 2, "restarts": 1}


@parametrize_with_checks([MoERegressor(**SMALL), MoEClassifier(**SMALL)])
def test_scikit_learn_finds_an_estimator(
    estimator: MoERegressor | MoEClassifier, check: Callable[[object], None]
) -> None:
    check(estimator)
