r"""Parameters of a model in the units of the table, as other software prints them.

    eta = mean_y + sd_y (b + sum_d w_d (x_d - mean_d) / sd_d)    is written    a + sum_d s_d x_d

For linear experts and gates. Slopes and intercepts of the gate are those of each expert less those
of the first one, which are 0: only their differences matter. Of a gaussian gate they are its
weights, means and standard deviations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pyromoe.models.data.predictors import Numeric
from pyromoe.models.trace import run_given

if TYPE_CHECKING:
    from pyromoe.guides import WeightedGuide
    from pyromoe.models import MixtureOfExperts
    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.trace import Weights

DIMENSIONS = {"covariance": ("expert", "response", "response_2")}
"""Of what families learn beside the networks; of others see `constants`."""
Named = dict[str, tuple[tuple[str, ...], Tensor]]
"""By name: the names of the dimensions, and the values."""


class Natural(nn.Module):
    """The parameters of a model in natural units, as a function of its tensors.

    Args:
        model: with linear experts, or a linear gate, or both; other parts have no such parameters.
        guide: of its weights.
        encoding: what one unit of a column is.
    """

    def __init__(self, model: MixtureOfExperts, guide: WeightedGuide, encoding: Encoding) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        self.encoding = encoding

    def forward(self) -> Named:
        """Return expert_slope, (K, D, P), expert_intercept, (K, P), and so on, by name."""
        model, weights = self.model, self.guide.weights.values()
        found: Named = {}
        if model.experts.depth == 1:
            ((slope, bias),) = run_given(model.layers, weights)
            slope, intercept = in_units(self.encoding, model.expert_columns, slope, bias[:, 0])
            for place, target in zip(model.likelihood.places, self.encoding.targets, strict=True):
                of_place = torch.zeros(slope.shape[-1], dtype=slope.dtype)
                of_place[place] = 1.0
                scaled = 1 + of_place * (target.sd - 1)
                slope, intercept = slope * scaled, intercept * scaled + of_place * target.mean
            used = model.likelihood.uses()
            if used is not None:
                slope = torch.where(used[:, None], slope, math.nan)
                intercept = torch.where(used, intercept, math.nan)
            last = ("output",) if slope.shape[-1] > 1 else ()
            slope, intercept = (t if last else t[..., 0] for t in (slope, intercept))
            found["expert_intercept"] = ("expert", *last), intercept
            found["expert_slope"] = ("expert", "expert_predictor", *last), slope
        found |= self._of_gate(weights)
        return found | constants(model, self.encoding, weights)

    def _of_gate(self, weights: dict[str, Tensor]) -> Named:
        of_gate = run_given(self.model.gate_coefficients, weights)
        given: Named = {name: (dims, value) for name, dims, value in of_gate}
        if "gate_mean" in given:
            mean, sd = moments(self.encoding, self.model.gate_columns)
            for name, shift in (("gate_mean", mean), ("gate_sd", 0.0)):
                dims, value = given[name]
                given[name] = dims, value * value.new_tensor(sd) + value.new_tensor(shift)
            given.pop("gate_correlation", None)  # more numbers than anybody reads
            return given
        if "gate_intercept" not in given:
            return {}
        intercept = given["gate_intercept"][1][:, None]
        slope = given.get("gate_slope", ((), intercept[:, :0]))[1][..., None]
        slope, intercept = in_units(self.encoding, self.model.gate_columns, slope, intercept)
        slope, intercept = slope[..., 0], intercept[:, 0]
        found: Named = {"gate_intercept": (("expert",), intercept - intercept[0])}
        if slope.shape[1]:
            found["gate_slope"] = ("expert", "gate_predictor"), slope - slope[0]
        return found


def in_units(
    encoding: Encoding, columns: list[int], slope: Tensor, intercept: Tensor
) -> tuple[Tensor, Tensor]:
    """Return slopes, (K, D, P), and intercepts, (K, P), for predictors as they stand in the table.

    Args:
        encoding: by which mean and spread predictors were standardised.
        columns: of the design, in the order of the slopes.
        slope: for standardised predictors, (K, D, P).
        intercept: the same, (K, P).
    """
    mean, sd = (torch.tensor(v, dtype=slope.dtype)[:, None] for v in moments(encoding, columns))
    slope = slope / sd
    return slope, intercept - (slope * mean).sum(1)


def moments(encoding: Encoding, columns: list[int]) -> tuple[list[float], list[float]]:
    """Return by which mean and spread the columns of a design were standardised."""
    known: list[tuple[float, float]] = []
    for part in encoding.predictors:
        own = (part.mean, part.sd) if isinstance(part, Numeric) else (0.0, 1.0)
        known += [own if name == part.name else (0.0, 1.0) for name in part.columns]
    return [known[c][0] for c in columns], [known[c][1] for c in columns]


def constants(model: MixtureOfExperts, encoding: Encoding, weights: Weights | None = None) -> Named:
    """Return what is learned beside the networks, in units of the responses, by name."""
    found: Named = run_given(model.given, weights or {}, lambda: _constants(model, encoding))
    return found


def _constants(model: MixtureOfExperts, encoding: Encoding) -> Named:
    parts, targets, found = model.likelihood.parts(), encoding.targets, Named()
    for r, part in enumerate(parts):
        own = targets if len(parts) == 1 else targets[r : r + 1]
        of = "" if len(parts) == 1 else f"({targets[r].name})"
        for name, value in part.constants([target.sd for target in own]).items():
            value = value.expand(model.num_experts, *value.shape[1:])
            dims = DIMENSIONS.get(name, ("expert", f"between{of}"))
            found[name + of] = dims[: value.dim()], value
    return found


def to_json(named: Named, names: dict[str, list[str]]) -> dict[str, Any]:
    """Return parameters as lists of numbers, slopes by the name of their predictor.

    What an expert does not have is null.

    Args:
        named: the parameters.
        names: of the entries of each dimension.
    """
    found: dict[str, Any] = {}
    for name, (dims, value) in named.items():
        array = value.detach().double().numpy()
        if len(dims) > 1 and dims[1].endswith("_predictor"):
            columns = names[dims[1]]
            found[name] = {c: nulls(array[:, i].tolist()) for i, c in enumerate(columns)}
        else:
            found[name] = nulls(np.asarray(array).tolist())
    return found


def nulls(value: Any) -> Any:
    """Return lists of numbers with null in the place of NaN."""
    if isinstance(value, list):
        return [nulls(each) for each in value]
    return None if math.isnan(value) else value
