r"""The density of a Pyro program as a function of its latent discrete site.

log p(y, z | x) = log p(z | x) + log p(y | z, x),    for each datum
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyromoe.models.pick import pick
from pyromoe.models.trace import (
    Assign,
    latent_logits,
    log_density_of_weights,
    log_probs,
    observed,
    trace_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyro.poutine.trace_struct import Trace
    from torch import Tensor

    from pyromoe.models.trace import Program, Weights


class NotRelaxableError(TypeError):
    """A program that takes z as integers alone was asked for a likelihood inside the simplex."""


class LogJoint:
    """log p(y, z | x) of one batch as a function of z, in nats.

    Calling it returns (S, N) for integer z, (S, N) or (S, 1), and for points of the simplex,
    (S, N, K), where log p(z | x) is continued linearly: sum_k z_k log p(z = k | x).

    Args:
        run: runs the program and returns its trace, with z set to the argument.
        features: returns each datum as the input of a network, (N, F), for learned baselines.
        gate: returns log p(z = k | x), (N, K), without running what comes after z.
        site: the name of the latent site.
        fixed_prior: used for log p(z | x), (N, K), instead of the program's own.

    >>> import torch
    >>> from pyromoe.models import MixtureOfExperts, log_joint
    >>> from pyromoe.models.likelihoods import Normal
    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> joint = log_joint(MixtureOfExperts(2, Normal(3), num_experts=3), x, y)
    >>> joint.enumerate().shape, joint.log_prior.shape  # (K, N) and (N, K)
    (torch.Size([3, 5]), torch.Size([5, 3]))
    >>> torch.equal(joint(torch.ones(1, 5).long())[0], joint.enumerate()[1])  # z = 1
    True
    """

    def __init__(
        self,
        run: Callable[[Tensor | None], Trace],
        features: Callable[[], Tensor],
        gate: Callable[[], Tensor],
        site: str = "z",
        fixed_prior: Tensor | None = None,
    ) -> None:
        self.run, self.features, self.gate, self.site = run, features, gate, site
        self.fixed_prior = fixed_prior
        self._last: Trace | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return log p(y, z | x), (S, N), of z, (S, N) or (S, N, K)."""
        likelihood = self.likelihood(z)
        log_prior = self.log_prior  # (N, K)
        if z.is_floating_point():
            absent = (z == 0) & (log_prior == -torch.inf)
            return likelihood + (z * torch.where(absent, 0.0, log_prior)).sum(-1)
        return likelihood + pick(log_prior, z)

    def likelihood(self, z: Tensor) -> Tensor:
        """Return log p(y | z, x), (S, N), of z, (S, N) or (S, N, K).

        Raises:
            NotRelaxableError: where the program takes integers z, but not points of the simplex.
        """
        if not z.is_floating_point():
            return self._likelihood(self._run(z))
        try:
            value = self._likelihood(self._run(z))
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            self.run(z.argmax(-1))  # what fails for integers too is another mistake: let it out
            raise NotRelaxableError("the program fails where z is not an integer") from error
        if value.shape != z.shape[:-1]:
            shapes = f"{tuple(value.shape)}, not {tuple(z.shape[:-1])}"
            raise NotRelaxableError(f"the likelihood of z inside the simplex has shape {shapes}")
        return value

    def enumerate(self) -> Tensor:
        """Return log p(y, z = k | x) for every k, (K, N)."""
        return self.enumerate_likelihood() + self.log_prior.T

    def enumerate_likelihood(self) -> Tensor:
        """Return log p(y | z = k, x) for every k, (K, N)."""
        return self._likelihood(self._run(None))

    @property
    def log_prior(self) -> Tensor:
        """Log p(z = k | x), (N, K), normalised; asking for it evaluates no expert."""
        if self.fixed_prior is not None:
            return self.fixed_prior
        if self._last is None:
            return self.gate()
        return log_probs(self._last.nodes[self.site]["fn"])

    @property
    def scale(self) -> float | Tensor:
        """By how much the plate scales this batch up to the whole data, a scalar or (N,)."""
        scale: float | Tensor = self.last.nodes[self.site]["scale"]
        return scale

    @property
    def log_prior_of_weights(self) -> Tensor | float:
        """The log density of all other latent sites and the factors beside the data, a scalar."""
        return log_density_of_weights(self.last, self.site)

    @property
    def last(self) -> Trace:
        """The last trace; runs the program if it has not run."""
        return self._last if self._last is not None else self._run(None)

    def with_prior(self, log_prior: Tensor) -> LogJoint:
        """Return the same with log p(z | x), (N, K), held at the given values."""
        return LogJoint(self.run, self.features, self.gate, self.site, log_prior)

    def _run(self, z: Tensor | None) -> Trace:
        self._last = self.run(z)
        return self._last

    def _likelihood(self, trace: Trace) -> Tensor:
        terms = [_masked_log_prob(node) for node in observed(trace)]
        total: Tensor = sum(terms[1:], terms[0])
        return total


def log_joint(
    program: Program,
    *args: Any,
    site: str = "z",
    weights: Weights | None = None,
    **kwargs: Any,
) -> LogJoint:
    """Return log p(y, z | x) of a program with one latent discrete site in a plate.

    Args:
        program: the model.
        *args: its arguments, the first tensors being x, (N, D), and y, (N,).
        site: the name of the latent site.
        weights: the values of the other latent sites, by name.
        **kwargs: more arguments of the program.

    >>> import torch
    >>> from pyromoe.models import MixtureOfExperts, log_joint
    >>> from pyromoe.models.likelihoods import Normal
    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> model = MixtureOfExperts(2, Normal(3), num_experts=3)
    >>> log_joint(model, x, y).enumerate().logsumexp(0).shape  # log p(y | x), (N,)
    torch.Size([5])
    """

    def run(z: Tensor | None) -> Trace:
        return trace_of(Assign({**(weights or {}), site: z})(program), *args, **kwargs)

    def features() -> Tensor:
        return getattr(program, "features", _side_by_side)(*args)

    def gate() -> Tensor:
        return latent_logits(program, *args, site=site, weights=weights, **kwargs)

    return LogJoint(run, features, gate, site)


def _masked_log_prob(node: Any) -> Tensor:
    value: Tensor = node["fn"].log_prob(node["value"])
    mask = node["mask"]
    if mask is None:
        return value
    return value * 0.0 if mask is False else torch.where(torch.as_tensor(mask), value, 0.0)


def _side_by_side(*args: Any) -> Tensor:
    """Return the tensors among the arguments as columns, (N, F)."""
    columns = [a.flatten(1) if a.dim() > 1 else a[:, None] for a in args if torch.is_tensor(a)]
    dtype = torch.get_default_dtype()
    return torch.cat([c.to(dtype) for c in columns], -1) if columns else torch.empty(0, 0)
