"""The gates p(z | x), by name: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.constant import Constant
from pyromoe.models.gates.cosine import Cosine
from pyromoe.models.gates.equal import Equal
from pyromoe.models.gates.gate import Gate
from pyromoe.models.gates.gaussian import Gaussian
from pyromoe.models.gates.hierarchical import Hierarchical
from pyromoe.models.gates.linear import Linear
from pyromoe.models.gates.mlp import Mlp
from pyromoe.models.gates.stick_breaking import StickBreaking
from pyromoe.models.gates.top_k import TopK

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "GATES",
    "Constant",
    "Cosine",
    "Equal",
    "Gate",
    "Gaussian",
    "Hierarchical",
    "Linear",
    "Mlp",
    "StickBreaking",
    "TopK",
]

GATES: dict[str, Callable[..., Gate]] = {
    "equal": Equal,
    "constant": Constant,
    "linear": Linear,
    "mlp": Mlp,
    "hierarchical": Hierarchical,
    "cosine": Cosine,
    "top_k": TopK,
    "gaussian": Gaussian,
    "stick_breaking": StickBreaking,
}
"""Every gate by its name in a spec."""
