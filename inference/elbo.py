"""A treatment of z as one of Pyro's ELBOs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace

from pyromoe.guides import Seeded
from pyromoe.inference.treatments import TREATMENTS, Treatment
from pyromoe.models import InputError, log_joint
from pyromoe.models.dropout import Masks, dropping
from pyromoe.models.errors import did_you_mean, listed, quoted
from pyromoe.models.joint import NotRelaxableError
from pyromoe.models.trace import (
    guide_trace,
    log_density_of_weights,
    logits_in,
    weights_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyro.poutine.trace_struct import Trace

    from pyromoe.guides import Noise
    from pyromoe.models import LogJoint
    from pyromoe.models.trace import Program

UNSET = object()
GUIDES = {
    "marginal": "a guide without z",
    "jensen": "PriorGuide(model)",
    "elbo": "any other guide of z",
    "iwae": "any guide of z",
}
"""Which guide makes which objective."""


class Treatment_ELBO(ELBO):  # Pyro's own naming
    """The ELBO of a model with one latent discrete site, its gradient estimated by a treatment.

    Used like any of Pyro's: `loss = Treatment_ELBO("leave_one_out")(model, guide)`, then
    `loss(x, y).backward()` and a step of a `torch.optim` optimiser on `loss.parameters()`. The
    guide decides the objective: without z the marginal, the gate itself (`PriorGuide`) the Jensen
    bound, any other the ELBO; a treatment that weights several draws makes it the
    importance-weighted bound instead. Losses are in nats, summed over the data, and are minimised.

    Args:
        treatment: a name in `TREATMENTS`, or a treatment.
        noise: where chance comes from; `Seeded(0)` where it is None.
        site: the name of the latent site.
        **options: fields of the treatment's config; `self.config` may be replaced between steps,
            to anneal a temperature.

    Raises:
        InputError: for an unknown treatment or option, and, when the loss is first computed, for
            a guide whose objective the treatment cannot estimate, a program that takes integers z
            alone where the treatment relaxes z, and a `pyro.param` outside every module.

    >>> import torch
    >>> from pyromoe.guides import AmortisedGuide
    >>> from pyromoe.inference import Treatment_ELBO
    >>> from pyromoe.models import MixtureOfExperts
    >>> from pyromoe.models.likelihoods import Normal
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> guide, x, y = AmortisedGuide(model), torch.randn(20, 2), torch.randn(20)
    >>> loss = Treatment_ELBO("leave_one_out", num_samples=4)(model, guide)
    >>> loss(x, y).backward()  # nats, summed over the rows
    >>> all(parameter.grad is not None for parameter in loss.parameters())
    True
    """

    def __init__(
        self,
        treatment: str | Treatment[Any] = "enumerate",
        *,
        noise: Noise | None = None,
        site: str = "z",
        **options: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Pyro's
        if isinstance(treatment, str) and treatment not in TREATMENTS:
            remedy = did_you_mean(treatment, TREATMENTS) or "`pyromoe treatments` lists them"
            raise InputError(f"unknown treatment {treatment!r}", remedy=remedy)
        self.treatment = TREATMENTS[treatment] if isinstance(treatment, str) else treatment
        self._refuse_unknown(options)
        self.config = self.treatment.config(**options)
        self.noise: Noise = noise if noise is not None else Seeded(0)
        self.site = site
        self.state: Any = UNSET

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return minus the estimated objective, a scalar with a gradient; advances the state."""
        with dropping(Masks(self._normal)):
            return self._loss(model, guide, *args, **kwargs)

    def _loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> torch.Tensor:
        trace, joint, logits, objective = self._arguments(model, guide, *args, **kwargs)
        if self.state is UNSET:
            self.state = self.treatment.init(self.config, joint, logits, self.noise)
        try:
            value, self.state = self.treatment.objective(
                joint, logits, self.config, self.state, self.noise
            )
        except NotRelaxableError as error:
            raise self._needs_weights(objective) from error
        of_weights = joint.log_prior_of_weights - log_density_of_weights(trace, self.site)
        return -((value * joint.scale).sum() + of_weights)

    def prepare(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> None:
        """Make the treatment's first state, where there is none yet."""
        if self.state is UNSET:
            with torch.no_grad():
                _, joint, logits, _ = self._arguments(model, guide, *args, **kwargs)
                self.state = self.treatment.init(self.config, joint, logits, self.noise)

    def _arguments(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> tuple[Trace, LogJoint, Any, str]:
        """Return the guide's trace, log p(y, z | x), log q (None without z) and the objective."""
        trace = guide_trace(guide, *args, site=self.site, normal=self._normal, **kwargs)
        logits: Any = logits_in(trace, self.site)  # None only where the treatment takes it
        weights = weights_in(trace, self.site)
        joint = log_joint(model, *args, site=self.site, weights=weights, **kwargs)
        objective = self._objective(guide, logits)
        self._check(objective, guide, model)
        if logits is not None and getattr(guide, "objective", "") == "jensen":
            # q is p: differentiating log p(z) again would add noise of mean zero to the Jensen
            # bound. The importance-weighted one runs through both.
            joint = joint.with_prior(logits.detach() if objective == "jensen" else logits)
        return trace, joint, logits, objective

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        """Return standard normal noise of a tensor's shape, for the weights of a guide."""
        return self.noise.normal(like, 1)[0]

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return the loss as a number; advances noise and state like a step does."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return the loss as a number and add its gradient to every parameter's `grad`."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """Return one draw of model and guide; Pyro's base class asks for it."""
        pair: tuple[Trace, Trace] = get_importance_trace("flat", 1, model, guide, args, kwargs)
        return pair

    def _refuse_unknown(self, options: Mapping[str, object]) -> None:
        known = [field.name for field in dataclasses.fields(self.treatment.config)]
        for name in options:
            if name not in known:
                raise InputError(
                    f"treatment {self.treatment.name!r} has no option {quoted(name)}",
                    remedy=did_you_mean(name, known) or f"it has {listed(known) or 'none'}",
                )

    def _needs_weights(self, objective: str) -> InputError:
        others = (t for t in TREATMENTS.values() if not t.needs_relaxed_likelihood)
        return InputError(
            f"treatment {self.treatment.name!r} needs a program whose z may be weights of the K "
            "values, (S, N, K), and this one takes integers alone",
            remedy=f"use {', '.join(t.name for t in others if objective in t.objectives)}",
        )

    def _objective(self, guide: Program, logits: torch.Tensor | None) -> str:
        if logits is None:
            return "marginal"
        if "iwae" in self.treatment.objectives:
            return "iwae"
        return getattr(guide, "objective", "elbo")

    def _check(self, objective: str, guide: Program, model: Program) -> None:
        if objective not in self.treatment.objectives:
            valid = "; ".join(f"{o} ({GUIDES[o]})" for o in self.treatment.objectives)
            raise InputError(
                f"treatment {self.treatment.name!r} cannot estimate the objective {objective!r}, "
                f"which {GUIDES[objective]} makes",
                remedy=f"valid here: {valid}",
            )
        if self.treatment.needs_own_guide and getattr(guide, "objective", "") == "jensen":
            raise InputError(
                f"treatment {self.treatment.name!r} trains the guide apart from the model, and "
                "here the guide is the model's own gate",
                remedy="use AmortisedGuide(model)",
            )
        if self.treatment.hard and getattr(model, "mix", None) == "likelihoods":
            raise InputError(
                f"treatment {self.treatment.name!r} with mix 'likelihoods' inflates gradients "
                "exponentially in the gap of two log-likelihoods",
                remedy="use mix 'log_likelihoods' or 'parameters'",
            )
