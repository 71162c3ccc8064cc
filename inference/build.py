"""From a spec to a model and its guide."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.guides import AmortisedGuide, PointGuide, PosteriorGuide, PriorGuide, WeightedGuide
from pyromoe.models import MixtureOfExperts
from pyromoe.models.gates import GATES
from pyromoe.models.likelihoods import FAMILIES, Likelihood

if TYPE_CHECKING:
    from pyromoe.inference.plan import Latent
    from pyromoe.models.encoding import Encoding
    from pyromoe.models.spec import Spec


def build(
    spec: Spec, latent: Latent | None, encoding: Encoding, generator: torch.Generator
) -> tuple[MixtureOfExperts, WeightedGuide]:
    """Return a model with fresh weights and the guide of its weights and of z.

    Args:
        spec: the model's settings.
        latent: which guide of z; None where z is summed out.
        encoding: the columns of the data.
        generator: where the first values of the weights are drawn from.
    """
    experts, gate = spec.experts, spec.gate
    constant = gate.kind == "constant"
    model = MixtureOfExperts(
        len(encoding.columns),
        likelihood(spec, encoding),
        experts.number,
        expert_hidden=experts.hidden,
        gate=partial(GATES[gate.form], **gate.options),
        activation=experts.activation,
        expert_columns=encoding.indices(experts.predictors),
        gate_columns=() if constant else encoding.indices(gate.predictors),
        extras=[extra.role for extra in encoding.extras],
        mix=experts.mix,
        generator=generator,
    ).to(dtype=getattr(torch, spec.fit.precision))
    with torch.no_grad():
        getattr(model.experts, f"bias_{model.experts.depth - 1}")[..., 0] += encoding.target.level
    of_latent = _latent_guide(spec, latent, model, generator)
    points: dict[str, torch.Tensor] = {}
    for name, prior in (("experts", spec.priors.experts), ("gate", spec.priors.gate)):
        if prior.scale is not None:
            part = getattr(model, name)
            start = {n: p.detach().clone() for n, p in part.named_parameters()}
            part.place_prior(prior.scale)
            left = dict(part.named_parameters())  # what has no prior
            points |= {f"{name}.{n}": value for n, value in start.items() if n not in left}
    return model, WeightedGuide(PointGuide(points), of_latent)


def likelihood(spec: Spec, encoding: Encoding) -> Likelihood:
    """Return the likelihood that a spec names, for the classes of the data."""
    family = FAMILIES[spec.likelihood.family]
    known: dict[str, Any] = {
        **spec.likelihood.model_dump(),
        "num_experts": spec.experts.number,
        "num_classes": encoding.num_classes,
    }
    return family(**{name: known[name] for name in family.arguments})


def _latent_guide(
    spec: Spec, latent: Latent | None, model: MixtureOfExperts, generator: torch.Generator
) -> PriorGuide | None:
    if latent is None:
        return None
    if latent == "amortised":
        guide = AmortisedGuide(model, spec.guide.hidden, generator)
        return guide.to(dtype=getattr(torch, spec.fit.precision))
    return PriorGuide(model) if latent == "prior" else PosteriorGuide(model)
