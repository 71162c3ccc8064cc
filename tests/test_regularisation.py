"""Weight decay, early stopping, dropout: what they do, and that they do nothing unasked."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pyromoe.inference.choice import settle
from pyromoe.inference.plan import make_plan
from pyromoe.inference.svi import fit
from pyromoe.models import InputError
from pyromoe.models.spec_file import parse_spec

if TYPE_CHECKING:
    from pyromoe.inference.result import Fit
    from pyromoe.models.spec_file import SpecFile

SPEC = """
data: {file: none.csv, response: y, split: {test: 0}, DATA}
likelihood: {LIKELIHOOD}
experts: {number: 2, EXPERTS}
gate: {GATE}
fit: {FIT}
MORE
"""


def spec(likelihood: str = "family: normal", **parts: str) -> SpecFile:
    text = SPEC.replace("LIKELIHOOD", likelihood)
    for name in ("DATA", "EXPERTS", "GATE", "FIT", "MORE"):
        text = text.replace(name, parts.get(name.lower(), ""))
    return parse_spec(text, "s.yaml")


@cache
def table(n: int = 90) -> dict[str, Any]:
    """Two noisy lines that cross, classes of them, and groups of three rows."""
    chance = np.random.default_rng(1)
    x, w = chance.normal(size=(2, n))
    y = np.where(chance.random(n) < 0.5, 1 + x, 1 - x) + 0.2 * chance.normal(size=n)
    return {"x": x, "w": w, "y": y}


def values(result: Fit) -> dict[str, Any]:
    return {name: value.numpy() for name, value in result.tensors().items()}


def same(one: Fit, other: Fit) -> bool:
    return bool(one.metrics["parameters_sha256"] == other.metrics["parameters_sha256"])


# Settings


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"fit": "optimiser: lbfgs, weight_decay: 0.1"},
            "s.yaml:6:25: fit.weight_decay: lbfgs ends where the gradient vanishes, and knows no "
            "weight decay; set a smaller priors.experts.scale and priors.gate.scale instead, or "
            "set fit.optimiser: adam",
        ),
        (
            {"fit": "weight_decay: 0.1", "more": "guide: {weights: laplace}"},
            "s.yaml:6:7: fit.weight_decay: guide.weights: laplace ends where the gradient "
            "vanishes, and knows no weight decay; set a smaller priors.experts.scale and "
            "priors.gate.scale instead, or set guide.weights: point",
        ),
    ],
)
def test_what_only_steps_know_is_refused_at_a_mode(parts: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(spec(**parts))
    assert str(caught.value) == message


PLAIN = "priors: {experts: {kind: none}, gate: {kind: none}}"


@pytest.mark.parametrize(
    ("fit_", "optimiser"),
    [("", "lbfgs"), ("weight_decay: 0.0", "lbfgs"), ("weight_decay: 0.1", "adam")],
)
def test_what_only_steps_know_takes_adam(fit_: str, optimiser: str) -> None:
    file = spec(fit=f"precision: float64, {fit_}", more=PLAIN)
    assert settle(make_plan(file).spec, 50).fit.optimiser == optimiser


@pytest.mark.parametrize(
    ("fit_", "decay"),
    [
        ("", 0.0),
        ("optimiser: adam", 0.0),
        ("optimiser: sgd", 0.0),
        ("optimiser: adamw", 0.01),
        ("optimiser: adamw, weight_decay: 0.0", 0.0),
    ],
)
def test_weight_decay_is_that_of_the_optimiser(fit_: str, decay: float) -> None:
    assert spec(fit=fit_).spec.fit.weight_decay == decay


# Weight decay

SHORT = "epochs: 40, restarts: 1, batch_size: 30, learning_rate: 0.05"


def test_weight_decay_pulls_parameters_to_0() -> None:
    """The more, the further; adamw without any is adam."""
    none, little, much = (
        fit(spec(fit=f"{SHORT}, optimiser: adamw, weight_decay: {d}"), table())
        for d in (0.0, 0.1, 5.0)
    )
    norms = [sum((v**2).sum() for v in values(f).values()) for f in (none, little, much)]
    assert norms[0] > norms[1] > norms[2]
    adam = fit(spec(fit=f"{SHORT}, optimiser: adam"), table())
    assert same(none, adam)
    assert not same(little, adam)
