"""What a specification asks to be learned from a table, and to be looked for in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.data.learn import Learner
from pyromoe.models.data.outsize import Outsize
from pyromoe.models.specs.fit_settings import CONVERGED
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyromoe.models.data.encoding import Extra
    from pyromoe.models.specs.spec import Spec


def learner_of(
    spec: Spec, responses: Sequence[str], predictors: Sequence[str], extras: Sequence[Extra]
) -> Learner:
    """Return what learns the encoding that a spec asks for."""
    levels = [getattr(one, "levels", None) for one in spec.likelihoods]
    vector = [*spec.families] * (len(responses) if len(spec.families) == 1 else 1)
    return Learner(
        responses=list(zip(responses, vector, levels * len(responses), strict=False)),
        predictors=predictors,
        categorical=spec.data.categorical,
        standardise=spec.data.standardise,
        extras=extras,
        group=spec.data.group,
        centred=spec.experts.intercept == "per_expert",
        incomplete=(
            spec.data.missing.responses == "marginalise",
            spec.data.missing.predictors == "indicate",
        ),
    )


def outsize_of(
    spec: Spec, responses: Sequence[str], predictors: Sequence[str], extras: Sequence[Extra]
) -> Outsize:
    """Return what looks for values that drown all others."""
    missing, several = spec.data.missing, len(spec.families) == 1
    families = [*spec.families] * (len(responses) if several else 1)
    numbers = [name for name in predictors if name not in spec.data.categorical]
    shifted = [(name, missing.predictors == "indicate") for name in numbers]
    shifted += [
        (name, missing.responses == "marginalise")
        for name, own in zip(responses, families, strict=False)
        if not RESPONSES[own[0]].classes
    ]
    precision = "float64" if spec.fit.optimiser in CONVERGED else spec.fit.precision
    return Outsize(shifted, extras, precision)
