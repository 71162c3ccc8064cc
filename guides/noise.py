"""Where chance enters: an argument, so that a test can replace it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import torch

from pyromoe.models.softmax import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence


class Noise(Protocol):
    """What a treatment may ask of chance.

    >>> import torch
    >>> from pyromoe.guides import Noise, Seeded
    >>> noise: Noise = Seeded(0)
    >>> noise.categorical(torch.zeros(5, 3), 4).shape  # (S, N)
    torch.Size([4, 5])
    """

    def categorical(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return z, (S, N), for logits, (N, K); no gradient flows through it."""
        ...

    def gumbel(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return standard Gumbel noise, (S, N, K), for logits, (N, K)."""
        ...

    def normal(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return standard normal noise, (S, N, K), for logits, (N, K)."""
        ...


Kind = Literal["uniform", "normal"]
Recipe = list[tuple[Kind, tuple[int, ...], torch.Tensor]]
"""What was asked of raw noise, in order: kind, shape, and a tensor of that type and device."""


class FromRaw:
    """Noise made from raw numbers by deterministic functions, so that these may come from outside.

    A category is where a uniform number falls among the cumulated probabilities.
    """

    def raw(self, kind: Kind, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Return numbers of a kind and of a shape, (...), of the type and device of like, (...)."""
        raise NotImplementedError

    def categorical(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.categorical`."""
        uniform = self.raw("uniform", (len(logits), num_samples), logits)
        cumulated = softmax(logits.detach()).cumsum(-1)
        # Counted, not searched: what runs for many members at once has no search of its own.
        z = (cumulated[:, None] <= (uniform * cumulated[:, -1:])[..., None]).sum(-1)
        # A uniform number next to 1 may be rounded up to it: the last category that is possible.
        last = (cumulated < cumulated[:, -1:]).sum(-1, keepdim=True)
        return torch.minimum(z, last).T

    def gumbel(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.gumbel`."""
        rows, number = logits.shape
        # The rows last: few categories are worked on several rows at a time.
        uniform = self.raw("uniform", (num_samples, number, rows), logits).mT
        return -(-uniform.clamp_min(torch.finfo(logits.dtype).tiny).log()).log()

    def normal(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.normal`."""
        return self.raw("normal", (num_samples, *logits.shape), logits)


class Seeded(FromRaw):
    """Noise from a generator of its own; torch's global one is left alone.

    Args:
        seed: where the generator starts.
        device: the device the noise is drawn on.

    >>> import torch
    >>> from pyromoe.guides import Seeded
    >>> logits = torch.tensor([[0.0, 0.0, float("-inf")]])  # (N, K)
    >>> int(Seeded(0).categorical(logits, 100).max())  # of 100 draws, (S, N)
    1
    >>> torch.equal(Seeded(1).gumbel(logits, 2), Seeded(1).gumbel(logits, 2))
    True
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def raw(self, kind: Kind, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """See `FromRaw.raw`."""
        numbers = torch.empty(shape, dtype=like.dtype, device=like.device)
        if kind == "uniform":
            return numbers.uniform_(generator=self.generator)
        return numbers.normal_(generator=self.generator)


class Given(FromRaw):
    """Noise from raw numbers that were drawn before, in the order of a recipe."""

    def __init__(self, numbers: Sequence[torch.Tensor]) -> None:
        self.left = list(numbers)

    def raw(self, kind: Kind, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """See `FromRaw.raw`."""
        return self.left.pop(0)


class Recorded(FromRaw):
    """Noise that notes what is asked of it, and answers with numbers of its own."""

    def __init__(self) -> None:
        self.recipe: Recipe = []

    def raw(self, kind: Kind, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """See `FromRaw.raw`."""
        self.recipe.append((kind, tuple(shape), like.detach().new_empty(())))
        return Seeded(0, like.device).raw(kind, shape, like)
