"""What is wrong where numbers are not finite: the term, the expert, the first rows.

It is asked for when a fit has broken down already, and takes its time: all rows are gone through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyro
import torch

from pyromoe.inference.fitting.joint import Joint
from pyromoe.inference.fitting.natural import moments
from pyromoe.inference.fitting.probabilities import CHUNK, to_tensors
from pyromoe.inference.steps.optimisers import LARGEST
from pyromoe.models import log_joint
from pyromoe.models.errors import LONGEST, listed, one_line
from pyromoe.models.specs.fit_settings import CONVERGED
from pyromoe.models.trace import guide_trace, logits_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pyromoe.inference.fitting.restart import Restart
    from pyromoe.models import Spec
    from pyromoe.models.data.divide import Data, Part
    from pyromoe.models.data.encoding import Encoding

FEW = 5
"""So many rows are named."""
FAR = 1e9
"""A value so many times the median size of its column is no value beside the others."""
SMALLER = "set a smaller fit.learning_rate, or standardise the columns"
NARROWER = "standardise the columns, or set narrower priors"
CORRECT = "correct these values (rows count from 0), or leave the rows out"


def values_at_fault(data: Data, far: float = LARGEST) -> str:
    """Return which values are not finite, or far from all others, or an empty text.

    Args:
        data: encoded, in all their parts.
        far: how many times the median size of a column a value may be.
    """
    for part in (data.train, data.kept, data.test):
        if part is not None and (found := _at_fault(part, data.encoding, far)):
            more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
            return ", ".join(list(found.values())[:FEW]) + more
    return ""


def diagnose(data: Data, spec: Spec, restart: Restart, seen: str) -> str:
    """Return why a restart broke down and what to do about it, in one line.

    Args:
        data: that it is fitted to.
        spec: of the fit.
        restart: with the parameters that broke down.
        seen: what was seen of it, e.g. "the loss is nan at step 12".
    """
    tries = f", after going back {restart.retries} times" if restart.retries else ""
    with pyro.validation_enabled(False):
        cause, values = _cause(data, spec, restart)
    otherwise = NARROWER if spec.fit.optimiser in CONVERGED else SMALLER
    remedy = CORRECT if values else otherwise
    return one_line(f"{seen}{tries}{cause and f': {cause}'}; {remedy}", LONGEST)


def _cause(data: Data, spec: Spec, restart: Restart) -> tuple[str, bool]:
    """Return the first term that is at fault, and whether values of the data are."""
    joint = Joint(restart.model, restart.guide)
    for text in _tensors_at_fault(joint, gradients=False):
        return text, False
    values = values_at_fault(data, FAR)
    with torch.no_grad():
        term = _term(data.train, spec, restart)
    if term or values:
        return ", where ".join(t for t in (term, values) if t), bool(values)
    x, y = (t[:CHUNK] for t in to_tensors(data.train, spec))
    each, _, scale, prior = joint(x, y)
    if _unfit(prior.detach()):
        return f"the log prior of the weights is {float(prior):.3g}", False
    ((each.logsumexp(0) * scale).sum() + prior).backward()
    for text in _tensors_at_fault(joint, gradients=True):
        return text, False
    return "", False


def _tensors_at_fault(joint: Joint, *, gradients: bool) -> Iterator[str]:
    """Yield the parameters, or gradients in them, that have a number which is not finite."""
    number, names = joint.model.num_experts, _names(joint)
    for name, parameter in joint.named_parameters():
        tensor = parameter.grad if gradients else parameter.detach()
        if tensor is None or not len(places := _unfit(tensor).nonzero()):
            continue
        place = tuple(places[0].tolist())
        expert = f" of expert {place[0]}" if place and len(tensor) == number > 1 else ""
        what = f"the gradient of {names[name]}" if gradients else names[name]
        yield f"{what}{expert} is {float(tensor[place]):.3g}"


def _names(joint: Joint) -> dict[str, str]:
    """Return the names of parameters as a reader knows them: of points, those of the weights."""
    tensors = getattr(joint.guide.weights, "tensors", dict[str, "nn.Parameter"])()
    known = {id(tensor): name for name, tensor in tensors.items()}
    return {n: known.get(id(p), n.split(".", 1)[1]) for n, p in joint.named_parameters()}


def _term(part: Part, spec: Spec, restart: Restart) -> str:
    """Return the first term of a row that is at fault, with its expert and rows."""
    x, y = to_tensors(part, spec)
    weights = restart.guide.weights.values()
    found: dict[str, list[Tensor]] = {"log p(y | z, x)": [], "log p(z | x)": [], "log q(z)": []}
    for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        joint = log_joint(restart.model, a, b, weights=weights)
        found["log p(y | z, x)"].append(joint.enumerate_likelihood().T)
        found["log p(z | x)"].append(joint.log_prior)
        logits = logits_in(guide_trace(restart.guide, a, b))
        found["log q(z)"] += [] if logits is None else [logits]
    for name, parts in found.items():
        term = torch.cat(parts) if parts else torch.zeros(0, 1)
        # An expert may be impossible for a row, as long as another one is not.
        allowed = term.isneginf() & ~term.isneginf().all(-1, keepdim=True)
        unfit = _unfit(term) & ~allowed
        if unfit.any():
            return _of_rows(name, term, unfit, part)
    return ""


def _of_rows(name: str, term: Tensor, unfit: Tensor, part: Part) -> str:
    """Return what a term, (N, K), is in its first unfit rows, and of which experts."""
    rows = unfit.any(-1).nonzero()[:, 0]
    experts = unfit[rows[0]].nonzero()[:, 0].tolist()
    number = part.rows.reshape(len(part.rows), -1)[:, 0][rows.numpy()].tolist()
    whose = "every expert" if len(experts) == term.shape[1] else f"expert {experts[0]}"
    value = float(term[rows[0], experts[0]])
    which = f"row{'s' if len(number) > 1 else ''} {listed(map(str, number), FEW)}"
    return f"{name} of {whose} is {value:.3g} in {which}"


def _unfit(tensor: Tensor) -> Tensor:
    """Return which numbers are not finite, or too large to go on with."""
    return ~(tensor.abs() < LARGEST)


def _at_fault(part: Part, encoding: Encoding, far: float) -> dict[int, str]:
    """Return what is wrong with rows, by their number in the table, from 0."""
    rows = part.rows.reshape(-1)
    columns = [*_predictors(part, encoding), *_responses(part, encoding)]
    found = dict[int, str]()
    for name, values, missing in columns:
        size = np.abs(values)
        if size.max(initial=0.0) <= far:
            continue
        known = size[np.isfinite(size) & (size > 0)]
        usual = max(float(np.median(known)), 1.0) if len(known) else 1.0
        bad = ~(size <= far * usual) & ~missing & (rows >= 0)
        for i in np.flatnonzero(bad).tolist():
            found.setdefault(int(rows[i]), f"{name} is {values[i]:.3g} in row {rows[i]}")
    return dict(sorted(found.items()))


Column = tuple[str, "NDArray[np.float64]", "NDArray[np.bool_]"]


def _predictors(part: Part, encoding: Encoding) -> Iterator[Column]:
    """Yield predictors and extras in the units of the table: name, values, none missing."""
    names = [*encoding.columns, *(f"the {extra.role}" for extra in encoding.extras)]
    mean, sd = moments(encoding, list(range(len(encoding.columns))))
    # Without predictors there are no numbers, but still rows.
    x = np.asarray(part.x, np.float64).reshape(part.rows.size, len(names))
    for d, name in enumerate(names):
        inside = d < len(mean)
        values = x[:, d] * sd[d] + mean[d] if inside else x[:, d]
        yield name, values, np.zeros(len(x), bool)


def _responses(part: Part, encoding: Encoding) -> Iterator[Column]:
    """Yield responses in the units of the table: name, values, and which are missing."""
    y = np.asarray(part.y, np.float64).reshape(-1, len(encoding.targets))
    for r, target in enumerate(encoding.targets):
        missing = np.isnan(y[:, r]) & (encoding.incomplete or encoding.group is not None)
        yield target.name, y[:, r] * target.sd + target.mean, missing
