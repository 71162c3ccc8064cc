r"""A bank of networks divided over processes.

    process r of W holds the networks k with  r K / W <= k < (r + 1) K / W   (rounded down)

Every process asks for outputs at rows of its own, and gets them of all K networks, or of those
chosen for each row: the rows go to the processes that hold the networks, the outputs come back,
and so do gradients. The parameters of a network so get the sum over the rows of all processes,
while those of anything else get that over a process's own rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pyro.nn.module import PyroSample

from pyromoe.models.exchange import Divided, Exchange
from pyromoe.models.networks import Networks
from pyromoe.models.pick import pick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, distributed as dist, nn

    from pyromoe.models.priors import Kind

    Layers = list[tuple[Tensor, Tensor]]


ALL, CHOSEN, WAITS = range(3)
"""What a process asks for: outputs of all networks, of those chosen, or none any more."""


class DividedNetworks(Networks):
    """K networks, of which this process holds its share; see `Networks` for what is not said here.

    All processes of the group make it with the same arguments, and call it equally often, in the
    same order, each with any number of rows.

    Args:
        number: K.
        sizes: widths from input to output.
        activation: applied between layers.
        generator: where the first values are drawn from, at the same place in all processes.
        shared: the last so many inputs have the same coefficients in all networks. Every process
            holds them, with the gradient of its own networks alone.
        shared_intercept: whether the intercept is the same in all; the same holds for it.
        dropout: must be 0.
        group: of `torch.distributed`; all processes where it is None.

    Raises:
        ValueError: for dropout, and for fewer networks than processes.
    """

    def __init__(
        self,
        number: int,
        sizes: Sequence[int],
        activation: str = "relu",
        generator: torch.Generator | None = None,
        *,
        shared: int = 0,
        shared_intercept: bool = False,
        dropout: float = 0.0,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        exchange = Exchange(group)
        if dropout:
            raise ValueError(f"divided networks take no dropout, and it is {dropout}")
        if number < exchange.size:
            raise ValueError(f"{exchange.size} processes cannot divide {number} networks")
        super().__init__(
            number,
            sizes,
            activation,
            generator,
            shared=shared,
            shared_intercept=shared_intercept,
            held=exchange.share(number),
        )
        self.all, self.exchange, self.closed = number, exchange, False
        self.divided = {n for n, _ in self.named_parameters() if n.split("_")[0] not in self.common}

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        """Make every weight a latent site; the log prior is that of all K networks.

        Raises:
            ValueError: for the kind hierarchical, whose sites depend on the number of networks.
        """
        if kind == "hierarchical":
            raise ValueError("divided networks take no hierarchical prior")
        starts = super().place_prior(scale, kind)
        own = {f"{name}{end}" for name in self.divided for end in ("", "_local")}
        self.divided = own & {*starts}
        for name in self.divided:
            law: Any = self._pyro_samples[name]
            setattr(self, name, PyroSample(Divided(law.base_dist, self.exchange)))
        return starts

    def forward(self, x: Tensor, layers: Layers | None = None) -> Tensor:
        """Return the outputs of all K networks, (K, N, P), at this process's rows x, (N, D)."""
        layers = self.layers() if layers is None else layers
        return self._of_all(x, layers, self._asked(ALL, x))

    def of_chosen(self, x: Tensor, z: Tensor, layers: Layers) -> Tensor:
        """Return the outputs of chosen networks, (..., N, P), at this process's rows x, (N, D).

        Args:
            x: inputs, (N, D).
            z: a network of all K for every datum, (..., N).
            layers: from `layers()`, those of this process.
        """
        chosen, order = z.flatten().sort(stable=True)
        ends = [self.exchange.share(self.all, r).stop for r in range(self.exchange.size)]
        before = torch.searchsorted(chosen, torch.tensor(ends, device=z.device))
        asked = self._asked(CHOSEN, x, before.diff(prepend=before.new_zeros(1)))
        if any(each[0] == ALL for each in asked):  # another process, of one row, needs them
            return pick(self._of_all(x, layers, asked).movedim(0, 1), z)
        # An empty batch has no rows that could be repeated.
        outputs = self._of_chosen(x[order % max(1, len(x))], chosen, layers, asked)
        back = torch.empty_like(outputs).index_copy(0, order, outputs)
        return back.reshape(*z.shape, outputs.shape[-1])

    def wait(self, layers: Layers) -> None:
        """Answer what other processes ask, without gradients, until all of them wait.

        Args:
            layers: from `layers()`, those of this process.
        """
        x = layers[0][0].new_empty(0, layers[0][0].shape[1])
        none = x.new_empty(0, dtype=torch.long)
        with torch.no_grad():
            while True:
                asked = self._asked(WAITS, x)
                kinds = {each[0] for each in asked}
                if kinds == {WAITS}:
                    return
                if ALL in kinds:
                    self._of_all(x, layers, asked)
                else:
                    self._of_chosen(x, none, layers, asked)

    def whole(self) -> dict[str, Tensor] | None:
        """Return the parameters of all K networks by name, in process 0; None in the others."""
        parts = {n: self._whole(n, p) for n, p in self.named_parameters(recurse=False)}
        found = {name: part for name, part in parts.items() if part is not None}
        return found if self.exchange.rank == 0 else None

    def _whole(self, name: str, part: nn.Parameter) -> Tensor | None:
        if name not in self.divided:
            return part.detach()
        return self.exchange.in_first(part.detach(), self.all)

    def _asked(self, what: int, x: Tensor, counts: Tensor | None = None) -> list[list[int]]:
        """Return what each process asks for, its rows, and how many of them to each, (W,).

        Args:
            what: this process asks for.
            x: the rows of this process, (N, D).
            counts: how many rows go to each process, (W,), where networks are chosen.
        """
        if self.closed:
            raise RuntimeError("process 0 has put these experts together: ask there")
        own = torch.tensor([what, len(x)], device=x.device, dtype=torch.long)
        to_each = own.new_zeros(self.exchange.size) if counts is None else counts
        return self.exchange.told(torch.cat([own, to_each]))

    def _of_all(self, x: Tensor, layers: Layers, asked: list[list[int]]) -> Tensor:
        """Return the outputs of all networks, (K, N, P), at the rows of this process, (N, D)."""
        size, rows = self.exchange.size, [each[1] for each in asked]
        every = self.exchange.rows(x.repeat(size, 1), [len(x)] * size, rows)
        outputs = super().forward(every, layers)  # (K / W, rows of all processes, P)
        parts, width = outputs.split(rows, 1), len(x) * outputs.shape[-1]
        received = [width * len(self.exchange.share(self.all, r)) for r in range(size)]
        flat = torch.cat([part.reshape(-1) for part in parts])
        found = self.exchange.rows(flat, [part.numel() for part in parts], received)
        return found.view(self.all, len(x), outputs.shape[-1])

    def _of_chosen(self, x: Tensor, z: Tensor, layers: Layers, asked: list[list[int]]) -> Tensor:
        """Return the outputs, (R, P), at rows, (R, D), sorted by their networks, (R,)."""
        rank = self.exchange.rank
        sent, received = asked[rank][2:], [each[2 + rank] for each in asked]
        rows = self.exchange.rows(x, sent, received)
        own = self.exchange.rows(z, sent, received) - self.held.start
        return self.exchange.rows(super().of_chosen(rows, own, layers), received, sent)


def divided_sites(module: nn.Module) -> set[str]:
    """Return the names of a model's parameters and latent sites of which a process holds a part."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        if isinstance(part, DividedNetworks)
        for name in part.divided
    }
