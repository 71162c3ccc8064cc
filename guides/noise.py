"""Where chance enters: an argument, so that a test can replace it."""

from __future__ import annotations

from typing import Protocol

import torch


class Noise(Protocol):
    """What a treatment may ask of chance."""

    def categorical(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return z, (S, N), for logits, (N, K); no gradient flows through it."""
        ...

    def gumbel(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return standard Gumbel noise, (S, N, K), for logits, (N, K)."""
        ...

    def normal(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Return standard normal noise, (S, N, K), for logits, (N, K)."""
        ...


class Seeded:
    """Noise from a generator of its own; torch's global one is left alone.

    Args:
        seed: where the generator starts.
        device: the device the noise is drawn on.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def categorical(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.categorical`."""
        probs = logits.detach().softmax(-1)
        return torch.multinomial(probs, num_samples, replacement=True, generator=self.generator).T

    def gumbel(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.gumbel`."""
        shape = (num_samples, *logits.shape)
        exponential = torch.empty(shape, dtype=logits.dtype, device=logits.device)
        exponential.exponential_(generator=self.generator)
        smallest = torch.finfo(logits.dtype).tiny
        return -exponential.clamp_min(smallest).log()

    def normal(self, logits: torch.Tensor, num_samples: int) -> torch.Tensor:
        """See `Noise.normal`."""
        shape = (num_samples, *logits.shape)
        normal = torch.empty(shape, dtype=logits.dtype, device=logits.device)
        return normal.normal_(generator=self.generator)
