"""Every family with parameters away from their start, responses to it, and scipy's densities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special  # type: ignore[import-untyped]  # no stubs
import scipy.stats  # type: ignore[import-untyped]
import torch

from pyromoe.models import MixtureOfExperts
from pyromoe.models.likelihoods import FAMILIES, Likelihood

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Own = dict[str, Any]
SCALE, PARAMETER = np.array([0.6, 1.1, 2.0, 0.9]), np.array([-0.5, 0.4, 0.9, 0.1])
FLOOR = 1e-8  # of a coefficient of variation squared, and of 1 / precision
stats, expit = scipy.stats, scipy.special.expit


@dataclass
class Case:
    """A family of K experts.

    Attributes:
        likelihood: with the parameters of `own`.
        own: what each expert has beside its network, on the scale on which experts are mixed.
        y: responses, (N,).
        log_density: scipy's, of an expert's outputs, (P,), y, what it has, and the row's trials.
        mean: of the same but y.
        trials: of each row, (N,), where it has any.
    """

    likelihood: Likelihood
    own: list[Own]
    y: Tensor
    log_density: Callable[[Any, Any, Own, float], Any]
    mean: Callable[[Any, Own, float], Any]
    trials: Tensor | None = None
    extras: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.extras = [] if self.trials is None else ["trials"]

    def x(self, generator: torch.Generator | None = None) -> Tensor:
        """Two predictors and the extras, (N, 2 or 3)."""
        x = torch.randn(len(self.y), 2, generator=generator)
        return x if self.trials is None else torch.cat([x, self.trials[:, None].to(x)], -1)

    def response(self, n: int) -> Any:
        """A row's response, as scipy takes it."""
        return self.y[n].numpy() if self.y.dim() > 1 else float(self.y[n])

    def trial(self, n: int) -> float:
        return 0.0 if self.trials is None else float(self.trials[n])

    def model(self, **options: Any) -> MixtureOfExperts:
        """A mixture of the case's experts over two predictors."""
        generator = torch.Generator().manual_seed(1)
        number = len(self.own)
        return MixtureOfExperts(
            2, self.likelihood, number, extras=self.extras, generator=generator, **options
        )


def made(name: str, num_experts: int, num_classes: int = 3, **options: Any) -> Likelihood:
    """A likelihood at its first values."""
    known: dict[str, Any] = {
        "num_experts": num_experts,
        "num_classes": num_classes,
        "num_responses": 2,
        "scale": "per_expert",
    }
    wanted = FAMILIES[name].arguments
    return FAMILIES[name](**{n: v for n, v in (known | options).items() if n in wanted})


def own_of(name: str, k: int, num_classes: int) -> tuple[dict[str, Any], Own]:
    """An expert's parameters, as the likelihood stores them and as they are mixed."""
    scale, v = float(SCALE[k % 4]), float(PARAMETER[k % 4])
    bounded = -np.log(np.exp(-v) + FLOOR)
    gaps = np.linspace(-1.0 + v, v, num_classes - 2)
    cutpoints = np.cumsum([0.0, *(np.exp(gaps) + 1e-4)])
    stored: dict[str, tuple[dict[str, Any], Own]] = {
        "student_t": ({"log_df": v}, {"log_df": v}),
        "skew_normal": ({"skew": v}, {"skew": v}),
        "ordinal": ({"log_gap": gaps}, {"cutpoints": cutpoints - cutpoints.mean()}),
        "negative_binomial": ({"log_dispersion": v}, {"log_dispersion": v}),
        "zero_inflated_poisson": ({"zero_logit": v}, {"zero_logit": v}),
        "gamma": ({"log_shape": v}, {"log_shape": bounded}),
        "beta": ({"log_precision": v}, {"log_precision": bounded}),
    }
    parameters, own = stored.get(name, ({}, {}))
    if name == "multivariate_normal":
        scales = scale * np.array([1.0, 0.5])
        parameters = {"log_scale": np.log(scales), "coefficients": v}
        return parameters, {"scale": scales + 1e-4, "coefficients": np.array([v])}
    if FAMILIES[name].in_units:
        parameters = parameters | {"log_scale": np.log(scale)}
        own = own | {"scale": scale + 1e-4}
    return parameters, own


def case(name: str, num_experts: int, num_data: int, num_classes: int = 3) -> Case:
    """A family with parameters that differ between experts."""
    likelihood = made(name, num_experts, num_classes)
    pairs = [own_of(name, k, num_classes) for k in range(num_experts)]
    with torch.no_grad():
        for parameter, tensor in likelihood.named_parameters():
            values = np.stack([np.atleast_1d(stored[parameter]) for stored, _ in pairs])
            tensor.copy_(torch.from_numpy(values.reshape(tensor.shape)))
    counts = torch.arange(num_data)
    responses: dict[str, Tensor] = {
        "bernoulli": (counts % 2).double(),
        "binomial": (counts % 4).double(),
        "categorical": counts % num_classes,
        "ordinal": counts % num_classes,
        "multivariate_normal": torch.stack([counts % 5 - 2.0, counts / 3 - 1], -1).double(),
        "gamma": torch.linspace(0.2, 4, num_data, dtype=torch.float64),
        "beta": torch.linspace(0.05, 0.9, num_data, dtype=torch.float64),
    }
    real = FAMILIES[name].in_units
    other = torch.linspace(-2, 2, num_data, dtype=torch.float64) if real else counts.double()
    return Case(
        likelihood,
        [own for _, own in pairs],
        responses.get(name, other).to(torch.get_default_dtype())
        if name not in ("categorical", "ordinal")
        else responses[name],
        LOG_DENSITIES[name],
        MEANS[name],
        (counts % 4 + 1 + counts % 3) if "trials" in FAMILIES[name].required else None,
    )


def _ordinal(eta: Any, own: Own) -> Any:
    upper = expit(np.append(own["cutpoints"] - eta[0], np.inf))
    return np.diff(upper, prepend=0.0)


def skewed(skew: float) -> tuple[float, float, float]:
    """Alpha, xi and omega of mean 0 and deviation 1, from the skewness."""
    largest = (4 - np.pi) / 2 * (2 / (np.pi - 2)) ** 1.5 * (1 - 1e-6)
    c = np.cbrt(2 * largest * np.tanh(skew) / (4 - np.pi))
    delta = np.sqrt(np.pi / 2) * c / np.sqrt(1 + c * c)
    return delta / np.sqrt(1 - delta**2), -c, np.sqrt(1 + c * c)


def _multivariate(eta: Any, own: Own) -> Any:
    matrix = np.array([[1.0, 0.0], [-own["coefficients"][0], 1.0]])
    factor = np.linalg.inv(matrix) * own["scale"]
    return stats.multivariate_normal(eta, factor @ factor.T)


def _student(eta: Any, own: Own) -> Any:
    return stats.t(1 + np.exp(own["log_df"]), eta[0], own["scale"])


def _skewed(eta: Any, own: Own) -> Any:
    alpha, xi, omega = skewed(own["skew"])
    return stats.skewnorm(alpha, eta[0] + own["scale"] * xi, own["scale"] * omega)


def _negative_binomial(eta: Any, own: Own) -> Any:
    alpha, mu = np.exp(own["log_dispersion"]), np.exp(eta[0])
    return stats.nbinom(1 / alpha, 1 / (1 + alpha * mu))


def _zero_inflated(eta: Any, y: Any, own: Own, _: float) -> Any:
    share = expit(own["zero_logit"])
    return np.log(share * (y == 0) + (1 - share) * stats.poisson(np.exp(eta[0])).pmf(y))


def _gamma(eta: Any, own: Own) -> Any:
    k = np.exp(own["log_shape"])
    return stats.gamma(k, scale=np.exp(eta[0]) / k)


def _beta(eta: Any, own: Own) -> Any:
    phi = np.exp(own["log_precision"])
    return stats.beta(phi * expit(eta[0]), phi * expit(-eta[0]))


LOG_DENSITIES: dict[str, Callable[[Any, Any, Own, float], Any]] = {
    "normal": lambda eta, y, own, _: stats.norm(eta[0], own["scale"]).logpdf(y),
    "multivariate_normal": lambda eta, y, own, _: _multivariate(eta, own).logpdf(y),
    "student_t": lambda eta, y, own, _: _student(eta, own).logpdf(y),
    "skew_normal": lambda eta, y, own, _: _skewed(eta, own).logpdf(y),
    "bernoulli": lambda eta, y, *_: stats.bernoulli(expit(eta[0])).logpmf(y),
    "binomial": lambda eta, y, _, n: stats.binom(n, expit(eta[0])).logpmf(y),
    "categorical": lambda eta, y, *_: np.log(scipy.special.softmax(eta)[int(y)]),
    "ordinal": lambda eta, y, own, _: np.log(_ordinal(eta, own)[int(y)]),
    "poisson": lambda eta, y, *_: stats.poisson(np.exp(eta[0])).logpmf(y),
    "negative_binomial": lambda eta, y, own, _: _negative_binomial(eta, own).logpmf(y),
    "zero_inflated_poisson": _zero_inflated,
    "gamma": lambda eta, y, own, _: _gamma(eta, own).logpdf(y),
    "beta": lambda eta, y, own, _: _beta(eta, own).logpdf(y),
}
MEANS: dict[str, Callable[[Any, Own, float], Any]] = {
    "normal": lambda eta, *_: eta[0],
    "multivariate_normal": lambda eta, *_: eta,
    "student_t": lambda eta, own, _: _student(eta, own).mean(),
    "skew_normal": lambda eta, own, _: _skewed(eta, own).mean(),
    "bernoulli": lambda eta, *_: expit(eta[0]),
    "binomial": lambda eta, _, n: stats.binom(n, expit(eta[0])).mean(),
    "categorical": lambda eta, *_: scipy.special.softmax(eta),
    "ordinal": lambda eta, own, _: _ordinal(eta, own),
    "poisson": lambda eta, *_: np.exp(eta[0]),
    "negative_binomial": lambda eta, own, _: _negative_binomial(eta, own).mean(),
    "zero_inflated_poisson": lambda eta, own, _: expit(-own["zero_logit"]) * np.exp(eta[0]),
    "gamma": lambda eta, own, _: _gamma(eta, own).mean(),
    "beta": lambda eta, own, _: _beta(eta, own).mean(),
}
