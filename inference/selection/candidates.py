"""The models among which `select` chooses: mixtures of some numbers of experts, a plain network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromoe.inference.fitting.plan import make_plan
from pyromoe.models.errors import InputError
from pyromoe.models.specs.family_settings import Mixed
from pyromoe.models.specs.fit_settings import CONVERGED, Treatment
from pyromoe.models.specs.gate_settings import EqualGate
from pyromoe.models.specs.model_settings import ExpertPrior, Experts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.specs.settings import Columns
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_file import SpecFile

NETWORK = "network"
"""The name of the plain network."""


@dataclass(frozen=True)
class Candidate:
    """One of the models.

    Attributes:
        name: the number of experts, or `network`.
        experts: K.
        file: what is fitted.
    """

    name: str
    experts: int
    file: SpecFile

    @property
    def mixture(self) -> bool:
        """Whether it is a number of experts, and not the plain network beside them."""
        return self.name != NETWORK

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        if not self.mixture:
            return "the plain network"
        return f"{self.experts} expert{'s' if self.experts > 1 else ''}"


def candidates(file: SpecFile, numbers: Sequence[int]) -> list[Candidate]:
    """Return a mixture for each number of experts, 1 among them, and the plain network.

    The plain network sees what experts or gate see; its hidden layers are as wide as those of the
    experts of the largest mixture together, or [32] where experts are linear. Without a prior it
    would follow every row, and so has the default one where the experts have none; its steps are
    adam's. One expert alone has no z: its gate is equal, its treatment enumerate.

    Args:
        file: the spec, whose `experts.number` is not used.
        numbers: K.

    Raises:
        InputError: for a number that the spec's gate or families do not allow.
    """
    if any(isinstance(each, Mixed) for each in file.spec.likelihoods):
        what = "a family for each expert fixes the number of experts"
        raise file.error("likelihood", what, "give one family for all")
    ordered = sorted({1, *numbers})
    own = file.spec.experts
    wide = [width * ordered[-1] for width in own.hidden] or [32]
    seen = _seen(file.spec)
    network = Experts(number=1, kind="mlp", hidden=wide, activation=own.activation, predictors=seen)
    alone = own.model_copy(update={"number": 1, "noise": False})
    mixtures = [_mixture(file, own.model_copy(update={"number": k})) for k in ordered[1:]]
    return [
        Candidate("1", 1, _alone(file, alone)),
        *mixtures,
        Candidate(NETWORK, 1, _network(file, network)),
    ]


def _seen(spec: Spec) -> Columns:
    """Return the predictors that the experts or the gate see."""
    of_gate = () if spec.gate.kind == "constant" else spec.gate.predictors
    own = spec.experts.predictors
    if "all" in (own, of_gate):
        return "all"
    return list(dict.fromkeys([*own, *of_gate]))


def _mixture(file: SpecFile, experts: Experts) -> Candidate:
    try:
        changed = file.changed(experts=experts)
    except InputError as error:
        what = f"with {experts.number} experts: {error.what}"
        raise file.error(error.field, what, "choose other select.experts") from None
    make_plan(changed)
    return Candidate(str(experts.number), experts.number, changed)


def _network(file: SpecFile, experts: Experts) -> SpecFile:
    """Return the spec of the plain network."""
    priors, fit = file.spec.priors, file.spec.fit
    if priors.experts.kind == "none":
        priors = priors.model_copy(update={"experts": ExpertPrior()})
    if fit.optimiser in (None, *CONVERGED):
        # The mode of a wide network is not worth the hundreds of thousands of exact steps.
        fit = fit.model_copy(update={"optimiser": "adam", "initialisation": None})
    return _alone(file, experts, priors=priors, fit=fit)


def _alone(file: SpecFile, experts: Experts, **sections: Any) -> SpecFile:
    """Return the spec of one expert."""
    update: dict[str, Any] = {
        "experts": experts,
        "gate": EqualGate(kind="equal"),
        "treatment": Treatment(name="enumerate"),
        "objective": "marginal",
        "guide": file.spec.guide.model_copy(update={"z": None}),
    } | sections
    changed = file.changed(**update)
    make_plan(changed)
    return changed
