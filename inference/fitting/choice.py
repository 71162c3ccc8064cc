"""Which optimiser a spec means, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pyromoe.models.errors import listed
from pyromoe.models.specs.fit_settings import CONVERGED, Initialisation, Stochastic

if TYPE_CHECKING:
    from pyromoe.models.specs.spec import Fit, Spec
    from pyromoe.models.specs.spec_file import SpecFile

RESTARTS = 32
"""Of em and lbfgs where the spec names no number, with more than one expert."""
FEW = 4
"""The same with one expert, whose likelihood mostly has one maximum."""
SMALL = 50_000
"""Rows that are taken all at once where the spec names no batch size."""
CHAINS = 4
"""Of NUTS, which share the draws among them."""
FEWEST = 4
"""Draws of a chain without which R-hat is not defined."""
AT_MODE = ("laplace", "nuts")
"""The guides of weights that begin at the mode of the posterior."""


def check_optimiser(file: SpecFile, spec: Spec) -> None:
    """Refuse an optimiser that cannot follow the treatment.

    Args:
        file: where its settings stand.
        spec: the same with treatment and objective filled in.

    Raises:
        InputError: naming the valid ones.
    """
    optimiser, kinds = spec.fit.optimiser, spec.fit.initialisation
    stochastic = get_args(Stochastic)
    if optimiser in CONVERGED and not _exact(spec):
        what = f"{optimiser} maximises log p(y | x) itself, with z summed out"
        remedy = (
            f"valid with treatment {spec.treatment.name} and objective {spec.objective}: "
            f"{listed(stochastic)}; or set treatment: enumerate, objective: marginal"
        )
        raise file.error("fit.optimiser", what, remedy)
    if optimiser in CONVERGED and spec.fit.device != "cpu":
        remedy = f"set it to cpu, or fit.optimiser to one of {listed(stochastic)}"
        raise file.error("fit.device", f"{optimiser} runs on the CPU", remedy)
    _check_weights(file, spec)
    _check_steps(file, spec)
    _check_stream(file, spec)
    if optimiser in stochastic and kinds not in (None, "random", ["random"]):
        what = f"{optimiser} starts from the networks' random values alone"
        remedy = f"remove it, or set optimiser: {' or '.join(CONVERGED)}"
        raise file.error("fit.initialisation", what, remedy)


def _check_stream(file: SpecFile, spec: Spec) -> None:
    """Refuse what needs all rows at once, where they are streamed."""
    if spec.data.stream is None:
        return
    steps, remedy = spec.fit.optimiser, "or remove data.stream"
    if steps in CONVERGED:
        what = f"{steps} looks at all rows in every step, and they are streamed"
        raise file.error("fit.optimiser", what, f"set adam, {remedy}")
    if spec.fit.batch_size == "full":
        what = "all rows are in the batch, and they are streamed"
        raise file.error("fit.batch_size", what, f"write a number, such as 8192, {remedy}")
    if spec.guide.weights != "point":
        what = f"{spec.guide.weights} is measured on all rows at once, and they are streamed"
        raise file.error("guide.weights", what, f"set point, {remedy}")


def _check_weights(file: SpecFile, spec: Spec) -> None:
    """Refuse a guide of the weights that cannot be."""
    kind, priors = spec.guide.weights, spec.priors
    if kind == "point":
        return
    none = [n for n in ("experts", "gate", "scales") if getattr(priors, n).kind == "none"]
    if len(none) == 3:
        what = "no weight has a prior, and so none a posterior"
        raise file.error("guide.weights", what, "set priors.experts, or weights: point")
    if kind not in AT_MODE and spec.fit.optimiser in CONVERGED:
        what = f"{spec.fit.optimiser} finds a mode, and {kind} is fitted to the whole posterior"
        remedy = f"valid with it: point, {listed(AT_MODE)}; or set fit.optimiser: adam"
        raise file.error("guide.weights", what, remedy)
    if kind == "nuts" and not _exact(spec):
        what = "nuts sums z out, and so knows no other treatment or objective"
        raise file.error("guide.weights", what, "set treatment: enumerate, objective: marginal")
    if kind == "nuts" and spec.output.draws < CHAINS * FEWEST:
        what = f"{spec.output.draws} draws are too few for the {CHAINS} chains of nuts"
        raise file.error("output.draws", what, f"take {CHAINS * FEWEST} or more")


def _check_steps(file: SpecFile, spec: Spec) -> None:
    """Refuse what only stochastic steps have a meaning for, where the end is a mode."""
    named, by_optimiser = _of_steps(spec), spec.fit.optimiser in CONVERGED
    if not named or not (by_optimiser or spec.guide.weights in AT_MODE):
        return
    field, (what, instead) = next(iter(named.items()))
    whose = spec.fit.optimiser if by_optimiser else f"guide.weights: {spec.guide.weights}"
    other = "fit.optimiser: adam" if by_optimiser else "guide.weights: point"
    remedy = f"{instead}, or set {other}"
    raise file.error(field, f"{whose} ends where the gradient vanishes, {what}", remedy)


def _of_steps(spec: Spec) -> dict[str, tuple[str, str]]:
    """Return the settings that keep steps from the mode: what is meant, and another way to it."""
    named = dict[str, tuple[str, str]]()
    if spec.fit.weight_decay and spec.fit.optimiser != "adamw":
        prior = "set a smaller priors.experts.scale and priors.gate.scale instead"
        named["fit.weight_decay"] = ("and knows no weight decay", prior)
    if spec.fit.early_stopping is not None:
        named["fit.early_stopping"] = ("not before", "remove it")
    for part in ("experts", "gate"):
        if getattr(getattr(spec, part), "dropout", 0.0):
            named[f"{part}.dropout"] = ("and leaves no unit out", "remove it")
    return named


def settle(spec: Spec, rows: int, shards: int = 1) -> Spec:
    """Return the spec with optimiser, starts, precision and batch written out.

    Args:
        spec: of a plan.
        rows: N, in the training data.
        shards: of a batch, where the spec does not say.
    """
    fit = spec.fit
    exactly = spec.data.stream is None and (_plain(spec, rows) or _mode(spec, rows))
    optimiser = fit.optimiser or ("lbfgs" if exactly else "adam")
    update: dict[str, Any] = {"optimiser": optimiser, "shards": fit.shards or shards}
    if optimiser in CONVERGED:
        update |= {"precision": "float64", "batch_size": "full", "shards": 1}
        if "restarts" not in fit.model_fields_set:
            update["restarts"] = RESTARTS if spec.experts.number > 1 else FEW
    else:
        update["initialisation"] = "random"
    if fit.initialisation is None and optimiser in CONVERGED:
        update["initialisation"] = list(get_args(Initialisation))
    settled: Fit = fit.model_copy(update=update)
    return spec.model_copy(update={"fit": settled})


def check_shards(file: SpecFile, spec: Spec, rows: int) -> None:
    """Refuse more shards than a batch has rows.

    Args:
        file: where its settings stand.
        spec: the same, settled.
        rows: N, in the training data.

    Raises:
        InputError: naming how many there may be.
    """
    size, number = spec.fit.batch_size, spec.fit.shards or 1
    batch = rows if size == "full" else min(size, rows)
    if number > batch:
        what = f"{number} shards of a batch that has {batch} row{'s' * (batch > 1)}"
        remedy = f"set it to {batch} or fewer, or take a larger fit.batch_size"
        raise file.error("fit.shards", what, remedy)


def _mode(spec: Spec, rows: int) -> bool:
    """Whether a guide begins at the mode of the posterior, which is found best exactly."""
    on_cpu = spec.fit.device == "cpu"
    return on_cpu and spec.guide.weights in AT_MODE and _exact(spec) and rows <= SMALL


def _exact(spec: Spec) -> bool:
    return spec.treatment.name == "enumerate" and spec.objective == "marginal"


def _plain(spec: Spec, rows: int) -> bool:
    """Whether a spec asks for nothing but the maximum of the likelihood of all rows."""
    size = spec.fit.batch_size if "batch_size" in spec.fit.model_fields_set else SMALL
    return (
        _exact(spec)
        and spec.fit.device == "cpu"
        and not _of_steps(spec)
        and spec.priors.experts.kind == "none"
        and spec.priors.gate.kind == "none"
        and spec.priors.scales.kind == "none"
        and spec.fit.precision == "float64"
        and (size == "full" or size >= rows)
    )
