"""The table of treatments: one file each, and one line here."""

from __future__ import annotations

from typing import Any

from pyromoe.inference.treatments import (
    arsm,
    decoupled_straight_through,
    disarm,
    enumerate,
    expectation_maximisation,
    gapped_straight_through,
    gumbel_rao,
    gumbel_softmax,
    hard_expectation_maximisation,
    jensen,
    leave_one_out,
    linear_straight_through,
    muprop,
    noisy_top_k,
    ovis,
    picked_component,
    picked_log_component,
    q_baseline,
    rebar,
    reinforce,
    reinforce_decaying_baseline,
    reinforce_neural_baseline,
    reinmax,
    relax,
    reweighted_wake_sleep,
    self_normalised_posterior_score,
    sparse_marginal,
    sparse_mixer,
    straight_through,
    straight_through_gumbel_softmax,
    stratified,
    sum_and_sample,
    sum_of_components,
    switch,
    truncated_enumeration,
    unordered_set,
    vimco,
)
from pyromoe.inference.treatments.treatment import Treatment

__all__ = [
    "TREATMENTS",
    "Treatment",
]

TREATMENTS: dict[str, Treatment[Any]] = {
    t.name: t
    for t in (
        # summed out, or the best of the sum
        enumerate.TREATMENT,
        expectation_maximisation.TREATMENT,
        hard_expectation_maximisation.TREATMENT,
        truncated_enumeration.TREATMENT,
        sparse_marginal.TREATMENT,
        self_normalised_posterior_score.TREATMENT,
        jensen.TREATMENT,
        # score function
        reinforce.TREATMENT,
        reinforce_decaying_baseline.TREATMENT,
        reinforce_neural_baseline.TREATMENT,
        q_baseline.TREATMENT,
        leave_one_out.TREATMENT,
        stratified.TREATMENT,
        sum_and_sample.TREATMENT,
        unordered_set.TREATMENT,
        disarm.TREATMENT,
        arsm.TREATMENT,
        muprop.TREATMENT,
        rebar.TREATMENT,
        relax.TREATMENT,
        # several draws, weighted
        vimco.TREATMENT,
        ovis.TREATMENT,
        reweighted_wake_sleep.TREATMENT,
        # relaxed and straight-through
        gumbel_softmax.TREATMENT,
        straight_through_gumbel_softmax.TREATMENT,
        gumbel_rao.TREATMENT,
        straight_through.TREATMENT,
        gapped_straight_through.TREATMENT,
        decoupled_straight_through.TREATMENT,
        reinmax.TREATMENT,
        # routers of sparse networks
        sparse_mixer.TREATMENT,
        noisy_top_k.TREATMENT,
        switch.TREATMENT,
        # readings of a proposal, as what they are
        sum_of_components.TREATMENT,
        picked_component.TREATMENT,
        picked_log_component.TREATMENT,
        linear_straight_through.TREATMENT,
    )
}
"""Every treatment by its name; `docs/catalogue.md` sets them out."""
