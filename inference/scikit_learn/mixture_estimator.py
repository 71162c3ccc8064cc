"""What the estimators for scikit-learn have in common."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.scikit_learn import estimator_state as state
from pyromoe.inference.scikit_learn.estimator_spec import distinct_rows, spec_of, table_of
from pyromoe.inference.scikit_learn.sampling import draw
from pyromoe.inference.svi import fit
from pyromoe.models.data.data import as_rows, encode_part
from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from pyromoe.inference.fitting.result import Fit
    from pyromoe.models.tables.columns import FloatArray

    Setting = str | Mapping[str, object]

LARGEST_SEED = 2**31 - 1


class MixtureEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What regressor and classifier have in common: all but the response.

    Args:
        num_experts: K.
        experts: "linear" or "mlp", or a mapping as in `experts` of a spec.
        hidden: widths of the hidden layers of what is "mlp".
        gate: "linear", "mlp" or another kind of gate, or a mapping as in `gate` of a spec.
        family: of the response given z, or a mapping as in `likelihood` of a spec; None for normal
            in a regressor, and categorical in a classifier.
        expert_prior: standard deviation of a normal prior of the experts' weights, for standardised
            features, or a kind or a mapping as in `priors.experts` of a spec; None for maximum
            likelihood.
        gate_prior: the same for the gate.
        weights: what is done with weights that have a prior: "point", or another guide of weights,
            over whose draws all predictions are then means.
        treatment: how the gradient gets through z: a name, or a mapping with options.
        objective: what is maximised; None for the treatment's own.
        optimiser: None for lbfgs, which ends where the gradient vanishes, where the treatment is
            enumerate, no network is mlp, weights are a point, laplace or nuts, there are 50,000
            distinct rows at most and nothing asks for stochastic steps; otherwise adam.
        learning_rate: of adam, adamw and sgd.
        batch_size: of the same, or "full".
        epochs: of the same.
        weight_decay: of the same; None for the optimiser's own.
        early_stopping: whether to keep rows back and stop, with the same, where their log p(y | x)
            gets no better; or a mapping as in `fit.early_stopping` of a spec.
        restarts: fits from different starts, of which the best is kept.
        random_state: of the starts, batches and draws in the fit.
    """

    fit_: Fit
    _classes = False

    def __init__(
        self,
        num_experts: int = 4,
        *,
        experts: Setting = "linear",
        hidden: Sequence[int] = (32,),
        gate: Setting = "linear",
        family: Setting | None = None,
        expert_prior: float | Setting | None = "normal",
        gate_prior: float | Setting | None = 1.0,
        weights: str = "point",
        treatment: Setting = "enumerate",
        objective: str | None = None,
        optimiser: str | None = None,
        learning_rate: float = 0.01,
        batch_size: int | str = 256,
        epochs: int = 200,
        weight_decay: float | None = None,
        early_stopping: bool | Setting = False,
        restarts: int = 8,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.num_experts = num_experts
        self.experts = experts
        self.hidden = hidden
        self.gate = gate
        self.family = family
        self.expert_prior = expert_prior
        self.gate_prior = gate_prior
        self.weights = weights
        self.treatment = treatment
        self.objective = objective
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.restarts = restarts
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to features, (N, D), and responses, (N,).

        Args:
            X: the features.
            y: the responses.
            sample_weight: how often each row counts, 0 or above, (N,); None for once.

        Raises:
            ValueError: for data or parameters that cannot be used.
        """
        x, given = self._validated(X, y, reset=True)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, x, dtype=np.float64, ensure_non_negative=True
            )
            there = weights > 0
            x, given, weights = x[there], given[there], weights[there]
        x, given, weights = distinct_rows(x, self._learn(given), weights)
        names = [*getattr(self, "feature_names_in_", (f"x{d}" for d in range(x.shape[1])))]
        spec = spec_of(
            self.get_params(deep=False),
            classes=self._classes,
            source=type(self).__name__,
            names=names,
            rows=len(x),
            weighted=weights is not None,
            seed=int(check_random_state(self.random_state).randint(LARGEST_SEED)),
        )
        self.fit_ = fit(spec, table_of(names, x, given, weights))
        self.n_iter_ = int(self.fit_.metrics["steps"])
        return self

    def gate_probabilities(self, X: ArrayLike) -> FloatArray:
        """Return p(z = k | x), (N, K)."""
        return self.fitted.gate(self._encoded(X)[0]).numpy()

    def responsibilities(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return p(z = k | y, x), (N, K)."""
        return self.fitted.responsibilities(*self._encoded(X, y)).detach().numpy()

    def log_likelihood(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return log p(y | x), (N,), z summed out, in nats."""
        return self.fitted.log_likelihood(*self._encoded(X, y)).detach().numpy()

    def sample(
        self,
        X: ArrayLike,
        num_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[Any]:
        """Draw y from p(y | x), (S, N).

        Args:
            X: the features, (N, D).
            num_samples: S.
            random_state: of the draws.
        """
        x, _ = self._encoded(X)
        seed = int(check_random_state(random_state).randint(LARGEST_SEED))
        return self._decoded(draw(self.fitted, x, num_samples, seed))

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write a run directory that `load` reads, and the commands of pyromoe too.

        Raises:
            InputError: where the folder exists, unless it is to be overwritten.
        """
        names, labels = (getattr(self, n, None) for n in ("feature_names_in_", "classes_"))
        stored = state.Stored(
            estimator=type(self).__name__,
            parameters=state.plain(self.get_params(deep=False)),
            num_features=self.n_features_in_,
            feature_names=None if names is None else names.tolist(),
            classes=None if labels is None else state.classes_of(labels),
        )
        state.write(Path(folder), self.fitted, stored, overwrite=overwrite)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote; nothing in it is ever executed.

        Raises:
            InputError: where it is not the directory of such an estimator, or is broken.
        """
        found, stored = state.read(Path(folder), cls.__name__)
        estimator = cls()
        try:
            estimator.set_params(**stored.parameters)
            estimator.hidden = tuple(estimator.hidden)
        except (TypeError, ValueError) as error:
            what = f"not parameters of a {cls.__name__} ({error})"
            raise InputError(what, file=str(Path(folder) / state.FILE)) from None
        estimator.fit_, estimator.n_iter_ = found, int(found.metrics["steps"])
        estimator.n_features_in_ = stored.num_features
        if stored.feature_names is not None:
            estimator.feature_names_in_ = np.array(stored.feature_names, dtype=object)
        if stored.classes is not None:
            estimator.classes_ = state.labels_of(stored.classes)
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Return plain values, which any way of copying objects can carry."""
        values = {**super().__getstate__()}
        return values | ({"fit_": state.packed(values["fit_"])} if "fit_" in values else {})

    def __setstate__(self, values: Mapping[str, Any]) -> None:
        """Take back what `__getstate__` gave."""
        whole = {**values}
        if "fit_" in whole:
            whole["fit_"] = state.unpacked(whole["fit_"])
        super().__setstate__(whole)

    @property
    def fitted(self) -> Fit:
        """The fit; an error where there is none yet."""
        check_is_fitted(self, "fit_")
        return self.fit_

    @abstractmethod
    def _validated(
        self, X: ArrayLike, y: ArrayLike, *, reset: bool
    ) -> tuple[FloatArray, NDArray[Any]]:
        """Return features and responses as arrays, or refuse them."""

    @abstractmethod
    def _learn(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the responses as the fit takes them, and learn their classes."""

    @abstractmethod
    def _known(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return new responses as the fit takes them."""

    @abstractmethod
    def _decoded(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return responses as the user has them, from those of the model, of any shape."""

    def _encoded(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, Tensor]:
        """Return features and responses as the model takes them; without y, it is missing."""
        found = self.fitted
        if y is None:
            x, known = validate_data(self, X, reset=False, dtype=np.float64), None
        else:
            x, given = self._validated(X, y, reset=False)
            known = self._known(given)
        names = [part.name for part in found.encoding.predictors]
        weights = np.ones(len(x)) if found.encoding.extras else None
        rows = as_rows(table_of(names, x, known, weights))
        return to_tensors(
            encode_part(found.encoding, rows, need_response=y is not None), found.spec
        )
