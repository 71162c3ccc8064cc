"""The gates p(z | x), by name: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.gates.constant import Constant as Constant
from pyromoe.models.gates.cosine import Cosine as Cosine
from pyromoe.models.gates.equal import Equal as Equal
from pyromoe.models.gates.gate import Gate as Gate
from pyromoe.models.gates.hierarchical import Hierarchical as Hierarchical
from pyromoe.models.gates.linear import Linear as Linear
from pyromoe.models.gates.mlp import Mlp as Mlp
from pyromoe.models.gates.stick_breaking import StickBreaking as StickBreaking
from pyromoe.models.gates.top_k import TopK as TopK

if TYPE_CHECKING:
    from collections.abc import Callable

GATES: dict[str, Callable[..., Gate]] = {
    "equal": Equal,
    "constant": Constant,
    "linear": Linear,
    "mlp": Mlp,
    "hierarchical": Hierarchical,
    "cosine": Cosine,
    "top_k": TopK,
    "stick_breaking": StickBreaking,
}
