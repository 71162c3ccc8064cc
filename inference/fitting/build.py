"""From a spec to a model and its guide."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.guides import (
    WEIGHT_GUIDES,
    AmortisedGuide,
    DrawnGuide,
    LaplaceGuide,
    PointGuide,
    PosteriorGuide,
    PriorGuide,
    WeightedGuide,
)
from pyromoe.inference.distributed.device import CPU
from pyromoe.inference.fitting.choice import CHAINS
from pyromoe.models import MixtureOfExperts
from pyromoe.models.divided_networks import DividedNetworks
from pyromoe.models.gates import GATES
from pyromoe.models.likelihoods import FAMILIES, Joint, Likelihood, Mixed as MixedLikelihood, Noise
from pyromoe.models.networks import Networks
from pyromoe.models.priors import is_positive
from pyromoe.models.specs.spec import Mixed, MultivariateNormal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.inference.fitting.plan import Latent
    from pyromoe.models.data.encoding import Encoding, Target
    from pyromoe.models.specs.family_settings import Likelihood as Settings, Single
    from pyromoe.models.specs.spec import Spec


def build(
    spec: Spec,
    latent: Latent | None,
    encoding: Encoding,
    generator: torch.Generator,
    device: torch.device = CPU,
    *,
    divided: bool = False,
) -> tuple[MixtureOfExperts, WeightedGuide]:
    """Return a model with fresh weights and the guide of its weights and of z.

    Args:
        spec: the model's settings.
        latent: which guide of z; None where z is summed out.
        encoding: the columns of the data.
        generator: where the first values of the weights are drawn from, on the CPU.
        device: where model and guide are to be, the tensors of priors included.
        divided: whether this process holds its share of the experts alone.
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
        expert_dropout=experts.dropout,
        expert_columns=encoding.indices(experts.predictors),
        gate_columns=() if constant else encoding.indices(gate.predictors),
        expert_shared=encoding.indices(experts.shared),
        shared_intercept=experts.intercept == "shared",
        extras=[extra.role for extra in encoding.extras],
        incomplete=encoding.incomplete or encoding.group is not None,
        mix=experts.mix,
        bank=DividedNetworks if divided else Networks,
        generator=generator,
    ).to(device, getattr(torch, spec.fit.precision))
    _begin_at_levels(model, encoding)
    of_latent = _latent_guide(spec, latent, model, generator)
    if of_latent is not None:
        of_latent.to(device)
    points = _place_priors(spec, model)
    positive = [name for name in points if is_positive(name)]
    kind = spec.guide.weights
    if kind in WEIGHT_GUIDES:
        weights = WEIGHT_GUIDES[kind](points, positive, generator)
        return model, WeightedGuide(weights, of_latent)
    if kind == "nuts":
        each = -(-spec.output.draws // CHAINS)
        kept = DrawnGuide(points, positive, CHAINS, each, model.num_experts)
        return model, WeightedGuide(kept, of_latent)
    of_weights = LaplaceGuide if kind == "laplace" else PointGuide
    return model, WeightedGuide(of_weights(points, positive), of_latent)


def _begin_at_levels(model: MixtureOfExperts, encoding: Encoding) -> None:
    """Move the experts' intercepts to where their linear predictors start."""
    bank = model.experts
    intercepts = getattr(bank, f"bias_{bank.depth - 1}")
    with torch.no_grad():
        for place, target in zip(model.likelihood.places, encoding.targets, strict=True):
            levels = torch.tensor(target.levels).to(intercepts)  # of all experts, or one for them
            own = levels.expand(model.num_experts)[bank.held.start : bank.held.stop, None]
            intercepts[..., place] += own if bank.own_intercepts else levels.mean()


def least_bytes(spec: Spec, encoding: Encoding) -> int:
    """Return how many bytes the weights of networks take, up to their last hidden layers.

    A file with fewer cannot be of this spec, whose model would then be built in vain.
    """
    gate, experts = spec.gate, spec.experts
    each = (
        (experts.number, experts.predictors, experts.hidden),
        (1, gate.predictors, gate.options.get("hidden", ())),
    )
    weights = 0
    for number, predictors, hidden in each:
        widths = (len(encoding.indices(predictors)), *hidden)
        weights += number * sum(a * b for a, b in pairwise(widths))
    size: int = getattr(torch, spec.fit.precision).itemsize
    return weights * size


def _place_priors(spec: Spec, model: MixtureOfExperts) -> dict[str, torch.Tensor]:
    """Make latent sites of what has a prior; return where they start, by name."""
    priors, points = spec.priors, dict[str, torch.Tensor]()
    for name, prior in (("experts", priors.experts), ("gate", priors.gate)):
        if prior.scale is not None and prior.kind != "none":
            starts = getattr(model, name).place_prior(prior.scale, prior.kind)
            points |= {f"{name}.{n}": value for n, value in starts.items()}
    if priors.scales.scale is not None:
        starts = model.likelihood.place_prior(priors.scales.scale)
        points |= {f"likelihood.{n}": value for n, value in starts.items()}
    return points


def likelihood(spec: Spec, encoding: Encoding) -> Likelihood:
    """Return the likelihood that a spec names, for the responses of the data."""
    if len(spec.likelihoods) > 1:
        pairs = zip(spec.likelihoods, encoding.targets, strict=True)
        return Joint([_of_response(spec, encoding, one, [target]) for one, target in pairs])
    return _of_response(spec, encoding, spec.likelihoods[0], encoding.targets)


def _of_response(
    spec: Spec, encoding: Encoding, settings: Settings, targets: Sequence[Target]
) -> Likelihood:
    """Return the likelihood of a response, or of a vector of them; experts may differ in it."""
    number, noise = spec.experts.number, spec.experts.noise
    each = settings.experts if isinstance(settings, Mixed) else [settings] * number
    learning = each[:-1] if noise else each
    distinct = [one for i, one in enumerate(learning) if one not in learning[:i]]
    families = [_of_family(encoding, one, learning.count(one), targets) for one in distinct]
    if len(families) == 1 and not noise:
        return families[0]
    of_expert = [distinct.index(one) for one in learning]
    if noise:
        low, high = ([getattr(t, end) for t in targets] for end in ("low", "high"))
        vector = isinstance(settings, MultivariateNormal)
        families.append(Noise(low, high, vector=vector))
        of_expert.append(len(families) - 1)
    return MixedLikelihood(families, of_expert)


def _of_family(
    encoding: Encoding, settings: Single, number: int, targets: Sequence[Target]
) -> Likelihood:
    family = FAMILIES[settings.family]
    known: dict[str, Any] = {
        **settings.model_dump(),
        "num_experts": number,
        "num_classes": len(targets[0].labels),
        "num_responses": len(targets),
        "incomplete": encoding.incomplete or encoding.group is not None,
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
