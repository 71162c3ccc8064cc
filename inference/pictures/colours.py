"""Colours that can be told apart without red or green, and one for each expert.

Up to eight experts have those of Okabe and Ito (2008). More are spread over viridis, whose
lightness alone orders it, so that the leading ones are far apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Patch

from pyromoe.inference.pictures.frame import add_legend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
    "#F0E442",
)
OBJECTIVES = {"marginal": "#0072B2", "jensen": "#E69F00", "elbo": "#009E73", "iwae": "#CC79A7"}
GREY = "#666666"
LIGHTEST = 0.95
"""Of viridis; what is above is hard to see on white."""
LEADING = 8
"""Experts that a legend names."""


def palette(number: int, shares: NDArray[np.float64] | None = None) -> list[str]:
    """Return a colour for each of K experts.

    Args:
        number: K.
        shares: of each expert, (K,): the larger ones get the most distant colours, where there
            are more than eight; the first ones where it is None.

    >>> from pyromoe.inference.pictures import palette
    >>> palette(2)
    ['#0072B2', '#E69F00']
    """
    if number <= len(OKABE_ITO):
        return list(OKABE_ITO[:number])
    ranks = np.arange(number) if shares is None else np.argsort(np.argsort(-shares, kind="stable"))
    # Halves of halves (van der Corput): any first few are spread evenly.
    halves = [int(f"{i:b}"[::-1], 2) / 2 ** i.bit_length() for i in range(number)]
    places = np.argsort(np.argsort(halves)) / (number - 1)
    viridis = mpl.colormaps["viridis"]
    return [to_hex(viridis(LIGHTEST * place)) for place in places[ranks]]


def paled(colour: NDArray[np.float64], strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours, (..., 3), mixed with white, of which there is none at strength 1, (...)."""
    mixed: NDArray[np.float64] = 1 - strength[..., None] * (1 - colour)
    return mixed


def to_array(colours: Sequence[str]) -> NDArray[np.float64]:
    """Return colours as red, green and blue, (K, 3)."""
    return np.array([to_rgb(colour) for colour in colours])


def certainty(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the largest of K probabilities, (N, K), is on its way from 1/K to 1.

    >>> certainty(np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 0.75]]))
    array([0. , 1. , 0.5])
    """
    number = probabilities.shape[-1]
    if number == 1:
        return np.ones(probabilities.shape[:-1])
    found: NDArray[np.float64] = (probabilities.max(-1) * number - 1) / (number - 1)
    return found.clip(0, 1)


def leading(shares: NDArray[np.float64]) -> list[int]:
    """Return the experts that a legend names: all in their order, or the largest of many."""
    if len(shares) <= LEADING:
        return list(range(len(shares)))
    return [int(k) for k in np.argsort(-shares, kind="stable")[: LEADING - 1]]


def expert_legend(
    axes: Axes, colours: Sequence[str], shares: NDArray[np.float64], *, written: bool = True
) -> Legend:
    """Name the leading experts above the axes, and say how many others there are.

    Args:
        axes: above which.
        colours: of the experts.
        shares: by which they lead, (K,).
        written: whether shares are named too: they are those of the rows.

    >>> import numpy as np
    >>> from pyromoe.inference.pictures import expert_legend, new_figure, palette
    >>> legend = expert_legend(new_figure().subplots(), palette(2), np.array([0.75, 0.25]))
    >>> [text.get_text() for text in legend.get_texts()]
    ['expert 0, 75%', 'expert 1, 25%']
    """
    named = leading(shares)
    handles = [Patch(color=colours[k]) for k in named]
    names = [f"expert {k}, {shares[k]:.0%}" if written else f"expert {k}" for k in named]
    if others := len(shares) - len(named):
        handles.append(Patch(color="none"))
        names.append(f"and {others} others")
    return add_legend(axes, handles, names)
