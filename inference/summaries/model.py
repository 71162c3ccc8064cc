"""What was fitted, in words, from its spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.errors import listed, one_line
from pyromoe.models.specs.gate_settings import NetworkGate

if TYPE_CHECKING:
    from pyromoe.models.specs.model_settings import Experts
    from pyromoe.models.specs.spec import Spec

NAME = 40


def model_title(spec: Spec, response: str = "") -> str:
    r"""Return the model in a few words.

    Args:
        spec: with every default written out.
        response: its name, said where the table has none.

    >>> from pyromoe.models import parse_spec
    >>> spec = parse_spec("data: {dataset: engel}\nlikelihood: {family: normal}", "s").spec
    >>> model_title(spec)
    '4 linear experts, engel'
    """
    named = _table(spec) or response
    return f"{experts_of(spec)}{f', {named}' if named else ''}"


def model_sentences(spec: Spec, response: str = "", *, counted: bool = True) -> tuple[str, ...]:
    """Return what a spec fits, in sentences.

    Args:
        spec: with every default written out.
        response: its name, where the spec leaves it to the data set.
        counted: whether to say how many experts.
    """
    families = listed(dict.fromkeys(f for of_one in spec.families for f in of_one))
    asked = spec.data.response
    names = [asked] if isinstance(asked, str) else asked
    named = listed((one_line(n, NAME) for n in names), 4) if names else response
    of = f" of {named}" if named else ""
    inputs = spec.data.predictors
    known = "all other columns" if inputs == "all" else listed(inputs, 6) or "no predictors"
    table = _table(spec)
    levels = spec.gate.levels if isinstance(spec.gate, NetworkGate) else None
    tree = f" with levels {' x '.join(map(str, levels))}" if levels else ""
    sentences = [
        f"{experts_of(spec, counted=counted)} and {_article(spec.gate.kind)} {spec.gate.kind} "
        f"gate{tree}, family {families}{of}, from {known}{f' of {table}' if table else ''}.",
    ]
    treatment, latent = spec.treatment.name, spec.guide.z
    guide = f", guide of z: {latent}" if latent else ""
    sentences.append(f"Treatment of z: {treatment}, objective: {spec.objective}{guide}.")
    kinds = {part: getattr(spec.priors, part).kind for part in ("experts", "gate")}
    if spec.guide.weights != "point":
        sentences.append(f"Weights: a posterior, guide {spec.guide.weights}; {_priors(kinds)}.")
    else:
        sentences.append(f"Weights: a point; {_priors(kinds)}.")
    return tuple(sentences)


def experts_of(spec: Spec, *, counted: bool = True) -> str:
    """Return how many experts of which kind; linear ones without predictors are constant.

    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: iris}, likelihood: {family: categorical}, experts: {number: 1}}"
    >>> experts_of(parse_spec(text, "s").spec)
    '1 linear expert'
    """
    experts: Experts = spec.experts
    seen = experts.kind != "linear" or (experts.predictors and spec.data.predictors)
    kind = experts.kind if seen else "constant"
    hidden = f" ({' x '.join(map(str, experts.hidden))})" if experts.hidden else ""
    if not counted:
        return f"{kind.capitalize()}{hidden} experts"
    return f"{experts.number} {kind}{hidden} expert{'s' if experts.number > 1 else ''}"


def _priors(kinds: dict[str, str]) -> str:
    if set(kinds.values()) == {"none"}:
        return "no priors"
    return "priors " + ", ".join(f"{kind} of the {part}" for part, kind in kinds.items())


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" or word == "mlp" else "a"


def of_table(spec: Spec | None) -> str:
    """Return the name of the table after a comma; nothing where it is not known."""
    name = "" if spec is None else _table(spec)
    return f", {name}" if name else ""


def _table(spec: Spec) -> str:
    """Return the name of the table, without its folder; one given in Python has none."""
    name = spec.data.dataset or (spec.data.file or "").replace("\\", "/").rpartition("/")[2]
    return one_line(name, NAME)
