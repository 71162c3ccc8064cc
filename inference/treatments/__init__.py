"""The table of treatments: one file each, and one line here."""

from __future__ import annotations

from typing import Any

from pyromoe.inference.treatments import (
    enumerate,
    expectation_maximisation,
    gumbel_softmax,
    jensen,
    leave_one_out,
    reinforce,
    reinforce_decaying_baseline,
    reinforce_neural_baseline,
    reinmax,
    straight_through,
    straight_through_gumbel_softmax,
)
from pyromoe.inference.treatments.treatment import Treatment as Treatment

TREATMENTS: dict[str, Treatment[Any]] = {
    t.name: t
    for t in (
        enumerate.TREATMENT,
        expectation_maximisation.TREATMENT,
        jensen.TREATMENT,
        reinforce.TREATMENT,
        reinforce_decaying_baseline.TREATMENT,
        reinforce_neural_baseline.TREATMENT,
        leave_one_out.TREATMENT,
        gumbel_softmax.TREATMENT,
        straight_through_gumbel_softmax.TREATMENT,
        straight_through.TREATMENT,
        reinmax.TREATMENT,
    )
}
