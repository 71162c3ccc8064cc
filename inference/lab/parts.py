"""The gradient of a loss in the gate, the guide and the experts, each apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from pyromoe.models import log_joint

if TYPE_CHECKING:
    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.elbo import Treatment_ELBO
    from pyromoe.models import MixtureOfExperts

Part = Literal["gate", "guide", "experts"]


class Parts:
    """A model and its guide, their trained tensors sorted by the part they belong to.

    Args:
        model: the model; what is not the gate's counts as the experts'.
        guide: its guide.
        x: predictors, (N, D).
        y: response, (N,).
    """

    def __init__(self, model: MixtureOfExperts, guide: WeightedGuide, x: Tensor, y: Tensor) -> None:
        self.model, self.guide, self.x, self.y = model, guide, x, y
        named: dict[str, Tensor] = dict(model.named_parameters()) | guide.weights.values()
        latent: list[Tensor] = [] if guide.latent is None else [*guide.latent.parameters()]
        parts: dict[Part, list[Tensor]] = {
            "gate": [t for n, t in named.items() if n.startswith("gate.")],
            "guide": latent,
            "experts": [t for n, t in named.items() if not n.startswith("gate.")],
        }
        self.tensors = {part: tensors for part, tensors in parts.items() if tensors}
        self.beside: tuple[Tensor, dict[Part, Tensor]] | None = None

    def loss(self, elbo: Treatment_ELBO, rows: Tensor) -> float:
        """Return the loss of a batch, without a gradient; advances the treatment's state."""
        return elbo.loss(self.model, self.guide, self.x[rows], self.y[rows])

    def gradient(self, elbo: Treatment_ELBO, rows: Tensor) -> dict[Part, Tensor]:
        """Return one gradient of the objective by part, (P,) each, in nats a datum.

        The gradient of the weights' prior and of a gate's penalties, the same for every treatment,
        is left out.
        """
        loss = elbo.differentiable_loss(self.model, self.guide, self.x[rows], self.y[rows])
        flat, beside = self._flat(-loss), self._beside(rows)
        return {part: (flat[part] - beside[part]) / len(rows) for part in flat}

    def zeros(self) -> dict[Part, Tensor]:
        """Return zeros in the place of every gradient."""
        return self._flat(torch.zeros(()))

    def _beside(self, rows: Tensor) -> dict[Part, Tensor]:
        """Return the gradient of what is not the data's; the parameters never change here."""
        if self.beside is None or self.beside[0] is not rows:
            weights = self.guide.weights.values()
            joint = log_joint(self.model, self.x[rows], self.y[rows], weights=weights)
            value = torch.as_tensor(joint.log_prior_of_weights)
            self.beside = rows, self._flat(value)
        return self.beside[1]

    def _flat(self, value: Tensor) -> dict[Part, Tensor]:
        tensors = [tensor for part in self.tensors.values() for tensor in part]
        if not value.requires_grad:
            found: tuple[Tensor | None, ...] = (None,) * len(tensors)
        else:
            found = torch.autograd.grad(value, tensors, allow_unused=True)
        filled = (
            torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True)
        )
        return {
            part: torch.cat([next(filled).flatten() for _ in own])
            for part, own in self.tensors.items()
        }
