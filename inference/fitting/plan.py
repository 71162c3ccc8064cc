"""Objective, treatment and guide bound together: what does not fit is refused, in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pyromoe.inference.fitting.choice import check_optimiser
from pyromoe.inference.fitting.schedule import Schedule
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models.errors import InputError, did_you_mean, listed, quoted
from pyromoe.models.specs.fit_settings import CONVERGED
from pyromoe.models.specs.spec_errors import MUST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.inference.treatments.treatment import ObjectiveName
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_file import SpecFile

Latent = Literal["prior", "amortised", "posterior"]
GUIDES: dict[ObjectiveName, tuple[Latent, ...]] = {
    "marginal": (),
    "jensen": ("prior",),
    "elbo": ("amortised", "posterior"),
    "iwae": ("prior", "amortised", "posterior"),
}
"""The guides of z that make each objective, the default first; none where z is summed out."""


def guides(treatment: Treatment[Any], objective: ObjectiveName) -> tuple[Latent, ...]:
    """Return the guides of z with which a treatment can estimate an objective."""
    apart = treatment.needs_own_guide
    return tuple(g for g in GUIDES[objective] if not (apart and g == "prior"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a spec asks for, checked and with every default filled in.

    Attributes:
        spec: the spec with objective, guide and treatment options written out.
        treatment: the treatment.
        config: its options at the start of the fit.
        schedules: the options that change over the fit, by name.
        objective: what is maximised.
        latent: the guide of z, None where it is summed out.
    """

    spec: Spec
    treatment: Treatment[Any]
    config: Any
    schedules: Mapping[str, Schedule]
    objective: ObjectiveName
    latent: Latent | None

    def config_at(self, done: float) -> Any:
        """Return the options when the share `done`, from 0 to 1, of the fit is done."""
        now = {name: schedule.at(done) for name, schedule in self.schedules.items()}
        return dataclasses.replace(self.config, **now)


def make_plan(file: SpecFile) -> Plan:
    """Return the plan of a spec.

    Raises:
        InputError: for an unknown treatment or option, and for a combination of objective,
            treatment and guide that means nothing, naming the valid ones.
    """
    spec = file.spec
    treatment = find(file, spec.treatment.name, "treatment.name")
    objective = spec.objective or treatment.objectives[0]
    if objective not in treatment.objectives:
        raise file.error(
            "objective",
            f"treatment {treatment.name} cannot estimate the objective {objective}",
            f"valid with it: {_valid(treatment)}",
        )
    latent = _latent(file, treatment, objective)
    if treatment.hard and spec.experts.mix == "likelihoods":
        raise file.error(
            "experts.mix",
            f"with treatment {treatment.name}, likelihoods inflate the gate's gradient "
            "exponentially in the gap of two log-likelihoods",
            "use log_likelihoods or parameters",
        )
    config, schedules = _configure(file, treatment, spec.treatment.options)
    guide = spec.guide.model_copy(update={"z": latent})
    options = {**dataclasses.asdict(config), **_plain(schedules)}
    filled = type(spec.treatment)(name=treatment.name, **options)
    spec = spec.model_copy(update={"objective": objective, "guide": guide, "treatment": filled})
    check_optimiser(file, spec)
    return Plan(spec, treatment, config, schedules, objective, latent)


def with_treatment(file: SpecFile, name: str, objective: ObjectiveName | None = None) -> SpecFile:
    """Return the spec with another treatment, for a comparison.

    The spec's objective and guide are kept where the treatment can estimate them, and otherwise
    become its own; options are kept for the treatment that the spec names itself.

    Args:
        file: the spec.
        name: of the treatment.
        objective: in place of the spec's.
    """
    spec = file.spec
    treatment = find(file, name, "compare.treatments")
    own = spec.treatment if spec.treatment.name == name else type(spec.treatment)(name=name)
    wanted = objective or spec.objective
    chosen = wanted if wanted in treatment.objectives else treatment.objectives[0]
    keeps = wanted is not None and spec.guide.z in guides(treatment, chosen)
    guide = spec.guide.model_copy(update={"z": spec.guide.z if keeps else None})
    # What is compared takes the same steps: no other treatment ends where a gradient vanishes.
    steps = "adam" if spec.fit.optimiser in (None, *CONVERGED) else spec.fit.optimiser
    fit = spec.fit.model_copy(update={"optimiser": steps, "initialisation": None})
    update = {"treatment": own, "objective": chosen, "guide": guide, "fit": fit}
    return dataclasses.replace(file, spec=spec.model_copy(update=update))


def plans_of_all(file: SpecFile) -> tuple[dict[str, Plan], dict[str, str]]:
    """Return a plan for every treatment that the spec allows, and why it refuses the others."""
    plans, refused = {}, {}
    for name in TREATMENTS:
        try:
            plans[name] = make_plan(with_treatment(file, name))
        except InputError as error:
            refused[name] = error.what
    return plans, refused


def find(file: SpecFile, name: str, field: str) -> Treatment[Any]:
    """Return a treatment by its name, or an error at the given field."""
    if name not in TREATMENTS:
        remedy = did_you_mean(name, TREATMENTS) or "`pyromoe treatments` lists them"
        raise file.error(field, f"unknown treatment {quoted(name)}", remedy)
    return TREATMENTS[name]


def _latent(file: SpecFile, treatment: Treatment[Any], objective: ObjectiveName) -> Latent | None:
    asked, possible = file.spec.guide.z, guides(treatment, objective)
    if asked is None:
        return possible[0] if possible else None
    if asked not in possible:
        what = f"guide {asked} does not make the objective {objective}"
        raise file.error("guide.z", what, f"valid with {treatment.name}: {_valid(treatment)}")
    return asked


def _valid(treatment: Treatment[Any]) -> str:
    pairs = [(o, g) for o in treatment.objectives for g in guides(treatment, o) or (None,)]
    return ", ".join(f"{o} with {f'guide {g}' if g else 'no guide of z'}" for o, g in pairs)


def _configure(
    file: SpecFile, treatment: Treatment[Any], options: dict[str, object]
) -> tuple[Any, dict[str, Schedule]]:
    types = get_type_hints(treatment.config)
    values: dict[str, Any] = {}
    schedules: dict[str, Schedule] = {}
    for name, value in options.items():
        field = f"treatment.{name}"
        if name not in types:
            near = did_you_mean(name, types)
            known = f"{treatment.name} has {listed(types) or 'no options'}"
            raise file.error(field, "unknown setting", near or known)
        if types[name] is float and isinstance(value, dict):
            schedules[name] = _schedule(file, field, value)
            values[name] = schedules[name].at(0.0)
        else:
            values[name] = _checked(file, field, types[name], value)
    try:
        for done in (0.0, 1.0):
            now = {name: schedule.at(done) for name, schedule in schedules.items()}
            treatment.config(**{**values, **now})
        return treatment.config(**values), schedules
    except ValueError as error:
        raise file.error("treatment", str(error)) from None


def _schedule(file: SpecFile, field: str, value: dict[str, object]) -> Schedule:
    types = get_type_hints(Schedule)
    for name in value:
        if name not in types:
            remedy = did_you_mean(name, types) or f"known here: {listed(types)}"
            raise file.error(f"{field}.{name}", "unknown setting", remedy)
    for name in ("start", "end"):
        if name not in value:
            raise file.error(f"{field}.{name}", "required, but missing", "add it")
    values = {n: _checked(file, f"{field}.{n}", types[n], v) for n, v in value.items()}
    try:
        return Schedule(**values)
    except ValueError as error:
        raise file.error(field, str(error)) from None


def _checked(file: SpecFile, field: str, kind: Any, value: object) -> Any:
    """Return a value of the wanted type, or an error in plain words."""
    try:
        strict = ConfigDict(strict=True, allow_inf_nan=False)
        return TypeAdapter(kind, config=strict).validate_python(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
    if detail["type"] == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "")
        raise file.error(field, f"unknown choice {quoted(value)}", f"choose one of: {choices}")
    must = MUST.get(detail["type"], detail["msg"])
    remedy = "write a number, or {start: 1.0, end: 0.3}" if kind is float else ""
    raise file.error(field, f"{must}, not {quoted(value)}", remedy)


def _plain(schedules: Mapping[str, Schedule]) -> dict[str, Any]:
    return {name: dataclasses.asdict(schedule) for name, schedule in schedules.items()}
