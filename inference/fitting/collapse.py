"""An alarm while a fit goes on: experts that no row is left to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.fitting.events import silent
from pyromoe.inference.fitting.probabilities import effective_experts
from pyromoe.models.errors import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pyromoe.inference.fitting.events import Log
    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models import Spec

DEAD = 0.1
"""An expert is dead whose mean responsibility is below this part of 1/K."""
EARLY = 0.1
"""The part of a fit in which experts are still found."""
TIMES = 2
"""How often in a row it must be so: an expert may be on its way from some rows to others."""


class Collapse:
    """Tells once of every restart whose experts collapse.

    Args:
        spec: what is fitted. A gate by stick breaking is there to empty experts: none is told of.
        restarts: of a fit.
        log: told of it.

    Attributes:
        times: how often in a row each restart was found so.
    """

    def __init__(self, spec: Spec, restarts: Sequence[Restart], log: Log = silent) -> None:
        self.restarts, self.times, self.log = restarts, [0] * len(restarts), log
        self.asked = spec.gate.kind != "stick_breaking"

    def check(self, done: float, shares: Tensor) -> str:
        """Return what there is to tell, or an empty text.

        Args:
            done: the part of the fit that is done, 0 to 1.
            shares: the mean responsibility of every expert, (R, K).
        """
        found = []
        for r, (restart, share) in enumerate(zip(self.restarts, shares, strict=True)):
            text = collapsed(share) if self.asked and restart.going and done > EARLY else ""
            if self.times[r] < TIMES:
                self.times[r] = self.times[r] + 1 if text else 0
                if self.times[r] == TIMES:
                    found.append(f"; start {restart.seed + 1}: {text}")
                    self.log("alarm", restart=restart.seed, step=restart.steps, what=text)
        return "".join(found)


def collapsed(share: Tensor) -> str:
    """Return which of K experts, with mean responsibilities (K,), do nothing, or an empty text.

    >>> import torch
    >>> collapsed(torch.tensor([0.49, 0.50, 0.01]))
    'dead experts: 2 (2.1 of 3 in use)'
    """
    number, used = len(share), effective_experts(share[None])
    dead = [str(k) for k in (share < DEAD / number).nonzero()[:, 0].tolist()]
    of_all = f"{used:.1f} of {number} in use"
    if dead:
        return f"dead experts: {listed(dead, 8)} ({of_all})"
    largest = int(share.argmax())
    return f"expert {largest} takes over ({of_all})" if used < number / 2 else ""
