r"""A bank of networks of one shape, evaluated together.

    h_0 = x,    h_{i+1} = activation(h_i W_i + b_i),    output = h_L W_L + b_L

All K networks live in batched tensors, so one call of `baddbmm` a layer serves the whole bank, and
one grouped product those that are chosen.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyromoe.models.dispatch import Dispatch
from pyromoe.models.dropout import masks_in_force
from pyromoe.models.priors import PRIORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.priors import Kind

ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
}
"""What is applied between layers, by name."""

PART, BLOCK = 2**16, 16
"""Numbers that are drawn at once for a part of a bank; torch draws normal ones in such blocks."""
NARROW = 16
"""A product with fewer columns is four times faster on its side, the rows as columns."""


class Networks(PyroModule):
    """K networks with the layer widths `sizes`; linear maps where `sizes` has two entries.

    Args:
        number: K, how many networks.
        sizes: widths from input to output; an input width of 0 leaves the intercepts alone.
        activation: a key of `ACTIVATIONS`, applied between layers.
        generator: where the first values are drawn from, torch's own where it is None.
        shared: the last so many inputs have the same coefficients in all networks, linear maps.
        shared_intercept: whether the intercept is the same in all.
        dropout: the probability with which a hidden unit is left out in training; see
            `pyromoe.models.dropout`.
        held: which of the K networks this bank holds; all where it is None. Their first values are
            those that they have in the bank of all.

    >>> import torch
    >>> from pyromoe.models import Networks
    >>> bank = Networks(4, [3, 16, 1])  # K, and the widths of the layers
    >>> bank(torch.zeros(10, 3)).shape  # (K, N, P)
    torch.Size([4, 10, 1])
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
        held: range | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.held = range(number) if held is None else held
        self.shared, self.number = shared, len(self.held)
        self.own_intercepts, self.width = not shared_intercept, sizes[-2]
        self.depth = len(sizes) - 1
        self.activation = ACTIVATIONS[activation]
        self.priors: dict[str, Kind] = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            spread = 1 / math.sqrt(max(1, fan_in))
            shapes = {
                "weight": (number, fan_in - shared, fan_out),
                "bias": (1 if shared_intercept else number, 1, fan_out),
                **({"shared": (1, shared, fan_out)} if shared else {}),
            }
            for name, shape in shapes.items():
                if len(self.held) < number and name not in self.common:
                    value = _part(shape, self.held, spread, generator)
                else:
                    value = torch.empty(shape).normal_(0, spread, generator=generator)
                setattr(self, f"{name}_{i}", nn.Parameter(value))

    @property
    def common(self) -> set[str]:
        """The kinds of parameters that all networks have in common."""
        return {"shared"} if self.own_intercepts else {"shared", "bias"}

    def place_prior(self, scale: float, kind: Kind = "normal") -> dict[str, Tensor]:
        r"""Make every weight a latent site; see `pyromoe.models.priors` for the kinds.

        With hidden layers, each layer's weights have scale / sqrt(inputs of the layer), so that
        the prior of the outputs does not depend on the widths (Neal, 1996, section 2.1). The
        coefficients of a linear map, and all intercepts, have the scale itself.

        Returns:
            Where the sites start, by name: the weights are what they were.
        """
        starts = dict[str, Tensor]()
        for name, parameter in list(self.named_parameters()):
            is_weight = not name.startswith("bias")
            divided = self.depth > 1 and is_weight
            spread = scale / math.sqrt(max(1, parameter.shape[-2])) if divided else scale
            own = "normal" if kind in ("laplace", "horseshoe") and not is_weight else kind
            self.priors[name] = own
            starts |= PRIORS[own].place(self, name, parameter, spread)
        return starts

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight, (K, in, out), and bias, (K, 1, out), of every layer.

        Where they have priors they are sample sites: ask outside of the plate of the data.
        """
        found = []
        for i in range(self.depth):
            # Pyro's Predictive pads what it drew from a guide: (1, K, in, out).
            weight, bias = (self._of_layer(name, i) for name in ("weight", "bias"))
            if self.shared:
                common = self._of_layer("shared", i).expand(self.number, -1, -1)
                weight = torch.cat([weight, common], 1)
            if len(bias) < self.number:
                bias = bias.expand(self.number, -1, -1)
            found.append((weight, bias))
        return found

    def _of_layer(self, name: str, i: int) -> Tensor:
        name = f"{name}_{i}"
        value: Tensor = PRIORS[self.priors.get(name, "normal")].read(self, name)
        return value.reshape(value.shape[-3:])

    def forward(self, x: Tensor, layers: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Return the outputs, (K, N, P), at x, (N, D); layers are (K, in, out) and (K, 1, out)."""
        layers = self.layers() if layers is None else layers
        h = x.expand(len(layers[0][0]), *x.shape)
        for i, (weight, bias) in enumerate(layers):
            h = _affine(h, weight, bias)
            if i < self.depth - 1:
                h = self.activation(h)
                mask = self._mask(i, h)
                h = h if mask is None else h * mask
        return h

    def of_chosen(self, x: Tensor, z: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the outputs of chosen networks alone, (..., N, P), at x, (N, D).

        Args:
            x: inputs, (N, D).
            z: a network for every datum, (..., N).
            layers: from `layers()`, (K, in, out) and (K, 1, out).
        """
        dispatch = Dispatch(z.flatten(), len(layers[0][0]))
        h = x[dispatch.order % len(x)]
        for i, (weight, bias) in enumerate(layers):
            h = dispatch.linear(h, weight, bias)
            if i < self.depth - 1:
                h = self.activation(h)
                mask = self._mask(i, h.new_empty(()).expand(len(weight), len(x), h.shape[-1]))
                rows = dispatch.order % len(x)
                h = h if mask is None else h * mask[z.flatten()[dispatch.order], rows]
        return dispatch.back(h).reshape(*z.shape, h.shape[-1])

    def _mask(self, layer: int, like: Tensor) -> Tensor | None:
        """Return what the hidden units of a layer are multiplied by, (K, N, H), if by anything."""
        masks = masks_in_force() if self.dropout and self.training else None
        return None if masks is None else masks.of(self, layer, like, self.dropout)


def _affine(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return h W + b, (K, N, P), for h, (K, N, D)."""
    if weight.shape[-1] < NARROW:
        return torch.baddbmm(bias.mT, weight.mT, h.mT).mT
    return torch.baddbmm(bias, h, weight)


def _part(
    shape: tuple[int, ...], held: range, spread: float, generator: torch.Generator | None
) -> Tensor:
    """Return the first values of some networks, (k, in, out), as drawn for all, (K, in, out).

    The numbers of all are drawn, but never held: in parts that begin where one of torch's blocks
    does, which are the same numbers.
    """
    total, each = math.prod(shape), math.prod(shape[1:])
    low, high = held.start * each, held.stop * each
    found, at = torch.empty(high - low), 0
    while at < total:
        size = total - at if total - at < PART + BLOCK else PART
        drawn = torch.empty(size).normal_(0, spread, generator=generator)
        first, last = max(low, at), min(high, at + size)
        if first < last:
            found[first - low : last - low] = drawn[first - at : last - at]
        at += size
    return found.view(-1, *shape[1:]) if each else torch.empty(len(held), *shape[1:])
