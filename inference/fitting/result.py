"""A fitted mixture of experts: its parameters, its assignments, its predictions."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import pyromoe
from pyromoe.guides import DrawnGuide, Seeded
from pyromoe.inference.fitting.early_stopping import what_stopped
from pyromoe.inference.fitting.measured import measured
from pyromoe.inference.fitting.probabilities import (
    effective_experts,
    log_jacobian,
    log_probabilities,
)
from pyromoe.inference.summaries.run import fit_lines
from pyromoe.models.priors import is_hyperparameter
from pyromoe.models.tables.readers import ALONE
from pyromoe.models.trace import Draw, run_given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from pyromoe.guides import WeightedGuide
    from pyromoe.inference.fitting.plan import Plan
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models import MixtureOfExperts, Spec
    from pyromoe.models.data.divide import Data
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.tables.readers import Readers
    from pyromoe.models.trace import Weights

PARTS = ("train", "test")


@dataclass
class Fit:
    """A fitted mixture of experts.

    Attributes:
        spec: what was fitted, every default filled in.
        encoding: how columns become numbers.
        model: the Pyro program.
        guide: its guide.
        metrics: see `metrics.json` in the documentation of a run directory.
        history: a row for each epoch of each restart.
        data: the rows it was fitted to and tested on; None for a fit read from its directory.

    >>> import torch
    >>> from pyromoe.inference import fit
    >>> from pyromoe.models import parse_spec
    >>> text = "{data: {dataset: engel}, likelihood: {family: normal}, experts: {number: 2}}"
    >>> spec = parse_spec(text, "engel.yaml", ["fit.epochs=5", "fit.restarts=1"])
    >>> found = fit(spec)
    >>> x = torch.zeros(3, 1, dtype=torch.float32)  # encoded rows, (N, D): 0 is the mean
    >>> found.gate(x).shape, found.mean(x).shape  # (N, K) and (N,)
    (torch.Size([3, 2]), (3,))
    """

    spec: Spec
    encoding: Encoding
    model: MixtureOfExperts
    guide: WeightedGuide
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    data: Data | None = None

    def __repr__(self) -> str:
        """Return what was fitted, and how well."""
        return "\n".join(fit_lines(self.metrics, self.spec, self.encoding.target.name))

    @classmethod
    def of(
        cls,
        plan: Plan,
        data: Data,
        best: Restart,
        restarts: Sequence[Restart],
        readers: Readers = ALONE,
    ) -> Fit:
        """Return the best restart with its metrics, for which readers share streamed rows."""
        history = [row for r in restarts for row in r.history]
        fit = cls(plan.spec, data.encoding, best.model, best.guide, {}, history, data)
        fit.metrics = {
            **fit.measure(data, readers),
            "restarts": [r.summary() for r in restarts],
            "optimiser": plan.spec.fit.optimiser,
            "treatment": plan.treatment.name,
            "objective": plan.objective,
            "guide": plan.latent,
            **what_stopped(best, data.kept),
            "steps": best.steps,
            "mode": best.mode,
            "seconds": sum(r.seconds for r in restarts),
            "steps_per_second": sum(r.steps for r in restarts) / sum(r.seconds for r in restarts),
            "parameters_sha256": fit.fingerprint(),
            "versions": _versions(),
        }
        return fit

    @property
    def weights(self) -> Weights:
        """The values of the latent weights, by site."""
        return {name: value.detach() for name, value in self.guide.weights.values().items()}

    def weight_draws(self) -> list[Weights]:
        """Return draws of the latent weights, by site; one where their guide is a point.

        They are the same at every call, as many as `output.draws`; of NUTS all that were kept,
        each with the order of its experts.
        """
        weights = self.guide.weights
        if not weights.spread:
            return [self.weights]
        v, _ = weights.draws(Seeded(self.spec.seed), self.spec.output.draws)
        each = [weights.weights_at(one) for one in v]
        return weights.numbered(each) if isinstance(weights, DrawnGuide) else each

    def tensors(self) -> dict[str, Tensor]:
        """Return every fitted tensor by its name: the model's, and the guide's for z."""
        of_weights = self.guide.weights
        named = {n: p.detach() for n, p in self.model.named_parameters()}
        named |= {n: p.detach() for n, p in (of_weights.tensors() | of_weights.stored()).items()}
        latent = self.guide.latent
        if latent is not None:
            named |= {f"guide.{n}": p.detach() for n, p in latent.named_parameters()}
        return dict(sorted(named.items()))

    def fingerprint(self) -> str:
        """Return the SHA-256 of every fitted tensor, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in self.tensors().items():
            digest.update(name.encode() + str(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()

    def log_joint(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(y, z = k | x), (N, K), at encoded x, (N, D), and y, (N,), in nats.

        The density is that of y on its original scale. Where weights have a posterior, p
        is the mean over their draws.
        """
        draws = self.weight_draws()
        joint = log_probabilities(self.model, draws[0], x, y)
        for weights in draws[1:]:
            joint = torch.logaddexp(joint, log_probabilities(self.model, weights, x, y))
        return joint - math.log(len(draws)) + log_jacobian(self.encoding, y)[:, None]

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(y | x), (N,), z summed out, at x, (N, D), and y, (N,); see `log_joint`."""
        return self.log_joint(x, y).logsumexp(-1)

    def responsibilities(self, x: Tensor, y: Tensor) -> Tensor:
        """Return p(z = k | y, x), (N, K), at x, (N, D), and y, (N,)."""
        return self.log_joint(x, y).softmax(-1)

    @torch.no_grad()
    def components(
        self, x: Tensor, weights: Weights | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gate p(z = k | x), (N, K), and the experts' parameters, (K, N, ...).

        Args:
            x: the rows, (N, D).
            weights: of one draw; the point of their guide where it is None.
        """
        given = self.weights if weights is None else weights
        log_gate, parameters = run_given(self.model.components, given, x)
        order = given.order if isinstance(given, Draw) else slice(None)
        # Without gradients, but for views of what is trained, which torch leaves theirs.
        return log_gate.exp()[:, order], {n: v[order].detach() for n, v in parameters.items()}

    def mean(self, x: Tensor) -> NDArray[Any]:
        """Return E[y | x], (N,), on the original scale; for classes p(y = c | x), (N, C).

        Of several responses, it is that of the first; see `means`.
        """
        return self.means(x)[0]

    def means(self, x: Tensor) -> list[NDArray[Any]]:
        """Return E[y | x] of each response; for groups of rows (N, M) or (N, M, C)."""
        draws = self.weight_draws()
        each = [self._mixed(x, weights) for weights in draws]
        mixed = [torch.stack(parts).mean(0).numpy() for parts in zip(*each, strict=True)]
        return [
            mean if target.labels else self.encoding.decode(mean, r)
            for r, (mean, target) in enumerate(zip(mixed, self.encoding.targets, strict=True))
        ]

    def gate(self, x: Tensor) -> Tensor:
        """Return p(z = k | x), (N, K), at x, (N, D); its mean where weights have a posterior."""
        each = [self.components(x, weights)[0] for weights in self.weight_draws()]
        return torch.stack(each).mean(0)

    def _mixed(self, x: Tensor, weights: Weights) -> list[Tensor]:
        """Return E[y | x, weights] of each encoded response."""
        gate, parameters = self.components(x, weights)
        means = self.model.likelihood.means(**parameters)  # (K, N) or (K, N, C)
        return [torch.einsum("nk,kn...->n...", gate, mean) for mean in means]

    def measure(self, data: Data, readers: Readers = ALONE) -> dict[str, Any]:
        """Return likelihoods, information criteria, errors and usage of the experts.

        Args:
            data: the rows.
            readers: who read them, each its shards, where they are streamed; each calls this.
        """
        held_out = "test" if data.tested else "train"
        parts = {
            name: measured(self, data, name, errors=name == held_out, readers=readers)
            for name in PARTS
        }
        train = parts["train"]
        assert train is not None
        count = sum(p.numel() for p in self.model.parameters())
        count += sum(v.numel() for n, v in self.weights.items() if not is_hyperparameter(n))
        count -= self.model.redundant
        total = train.log_likelihood
        bic = -2 * total + count * math.log(train.observed)
        numbers = {name: (p.rows, p.data) if p else (0, 0) for name, p in parts.items()}
        groups = {name: number for name, (_, number) in numbers.items()}
        of_errors = parts[held_out]
        return {
            "log_likelihood": {name: p and p.log_likelihood for name, p in parts.items()},
            "n": {name: rows for name, (rows, _) in numbers.items()},
            **({"groups": groups} if self.encoding.group is not None else {}),
            "parameters": count,
            "aic": -2 * total + 2 * count,
            "bic": bic,
            "icl": bic + 2 * train.entropy,
            **({} if of_errors is None else of_errors.error()),
            "measured_on": held_out,
            "effective_experts": effective_experts(train.share[None]),
        }


def _versions() -> dict[str, str]:
    return {"pyromoe": pyromoe.__version__} | {n: version(n) for n in ("torch", "pyro-ppl")}
