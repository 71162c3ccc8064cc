"""Mixtures of experts as estimators of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from pyromoe.inference.scikit_learn.mixture_estimator import MixtureEstimator
from pyromoe.models.errors import InputError, listed, quoted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyromoe.models.tables.columns import FloatArray


class MoERegressor(RegressorMixin, MixtureEstimator):  # type: ignore[misc]  # no types
    """Regression by a mixture of experts: p(y | x) = sum_k p(k | x) p(y | x, k).

    The parameters are those of `pyromoe.inference.scikit_learn.mixture_estimator.MixtureEstimator`.

    >>> import numpy as np
    >>> from pyromoe import MoERegressor
    >>> x = np.linspace(-2, 2, 80)[:, None]  # (N, D)
    >>> model = MoERegressor(num_experts=2, restarts=4, random_state=0).fit(x, np.abs(x[:, 0]))
    >>> model.predict([[-1.0], [1.0]]).round(1)  # (N,)
    array([1., 1.])
    """

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return E[y | x], (N,)."""
        return self.fitted.mean(self._encoded(X)[0])

    def _validated(
        self, X: ArrayLike, y: ArrayLike, *, reset: bool
    ) -> tuple[FloatArray, NDArray[Any]]:
        x, given = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=np.float64,
            y_numeric=True,
            ensure_min_samples=2 if reset else 1,
        )
        return x, given.astype(np.float64)

    def _learn(self, y: NDArray[Any]) -> NDArray[Any]:
        return y

    def _known(self, y: NDArray[Any]) -> NDArray[Any]:
        return y

    def _decoded(self, y: NDArray[Any]) -> NDArray[Any]:
        return self.fitted.encoding.decode(y)


class MoEClassifier(ClassifierMixin, MixtureEstimator):  # type: ignore[misc]  # no types
    """Classification by a mixture of experts: p(y | x) = sum_k p(k | x) p(y | x, k).

    The parameters are those of `pyromoe.inference.scikit_learn.mixture_estimator.MixtureEstimator`.

    >>> import numpy as np
    >>> from pyromoe import MoEClassifier
    >>> x = np.linspace(-2, 2, 80)[:, None]  # (N, D)
    >>> y = np.where(np.abs(x[:, 0]) > 1, "outer", "inner")
    >>> model = MoEClassifier(num_experts=2, restarts=4, random_state=0).fit(x, y)
    >>> model.predict([[-2.0], [0.0], [2.0]]).tolist(), model.predict_proba(x).shape  # (N, C)
    (['outer', 'inner', 'outer'], (80, 2))
    """

    _classes = True

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row, (N,)."""
        codes = self.predict_proba(X).argmax(-1)
        found: NDArray[Any] = self.classes_[codes]
        return found

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return p(y = c | x), (N, C), in the order of `classes_`."""
        mean = self.fitted.mean(self._encoded(X)[0])
        return mean if mean.ndim > 1 else np.stack([1 - mean, mean], -1)

    def _validated(
        self, X: ArrayLike, y: ArrayLike, *, reset: bool
    ) -> tuple[FloatArray, NDArray[Any]]:
        x, given = validate_data(
            self, X, y, reset=reset, dtype=np.float64, ensure_min_samples=2 if reset else 1
        )
        check_classification_targets(given)
        return x, given

    def _learn(self, y: NDArray[Any]) -> NDArray[Any]:
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            what = f"y has {len(self.classes_)} class, where a classifier needs two or more"
            raise InputError(what, remedy="add rows of another class")
        return codes.ravel()

    def _known(self, y: NDArray[Any]) -> NDArray[Any]:
        unknown = ~np.isin(y, self.classes_)
        if unknown.any():
            raise InputError(
                f"y has the class {quoted(str(y[unknown][0]))}, which was not there in training",
                remedy=f"known: {listed(map(str, self.classes_))}",
            )
        return np.searchsorted(self.classes_, y)

    def _decoded(self, y: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = self.classes_[y.astype(np.int64)]
        return found
