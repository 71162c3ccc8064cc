# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From flexmix to pyromoe
#
# For those who fit mixtures of regressions in R. At the end you will have the same models, on the
# same data, with the same numbers: log-likelihood, coefficients and their standard errors, AIC, BIC
# and ICL, posterior assignments; for a gate ("concomitant variables") and for nested groups. Each
# section has R's call and the spec that says the same.
#
# What R says was computed with flexmix 2.3-18 (Grün and Leisch, 2008), with `iter = 2000` and
# `tolerance = 1e-10`, and stands in this notebook as numbers. What pyromoe says is computed below.

# %%
# %matplotlib inline
# %config InlineBackend.figure_format = "retina"
import copy

import numpy as np
import pandas as pd
from statsmodels.datasets import engel, grunfeld

from pyromoe.inference import coefficients, fit, predict, select
from pyromoe.inference.commands.assign import assign
from pyromoe.inference.pictures import (
    curves_of,
    new_figure,
    plot_curves,
    plot_gate,
    plot_modes,
    rows_of,
    values_of,
)
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.models import parse_spec

# %% [markdown]
# ## 1. A mixture of two regressions with a gate
#
# Engel's data: what 235 households earned, and what they spent on food, here in hundreds of francs.
#
# ```r
# engel <- data.frame(income = income / 100, foodexp = foodexp / 100)
# flexmix(foodexp ~ income, data = engel, k = 2,
#         concomitant = FLXPmultinom(~ income))
# ```
#
# | flexmix | spec |
# |---|---|
# | `foodexp ~` | `data.response` |
# | `~ income` | `data.predictors`, or `experts.predictors` where the gate has others |
# | `k = 2` | `experts.number` |
# | `FLXMRglm(family = "gaussian")`, the default | `likelihood.family: normal` |
# | `concomitant = FLXPmultinom(~ income)` | `gate.kind: linear`, `gate.predictors` |
# | no `concomitant` | `gate.kind: constant` |
# | `initFlexmix(nrep = 32)` | `fit.restarts: 32` |
#
# Two defaults differ. A spec holds a fifth of the rows back for testing, and gives the coefficients
# priors. Without both, and in float64, the likelihood is climbed until its gradient vanishes.

# %%
SPEC = """
data: {response: foodexp, predictors: [income], split: {test: 0}}
likelihood: {family: normal}
experts: {number: 2}
gate: {kind: linear}
priors: {experts: {kind: none}, gate: {kind: none}}
fit: {precision: float64, restarts: 32}
"""
table = engel.load_pandas().data / 100
mixture = fit(parse_spec(SPEC, "engel.yaml"), table)
mixture

# %% [markdown]
# There is a second solution less than a nat below the first, and not every start comes to the
# better one. Nor does every run of flexmix: of 32, six did. A single run of either is a matter of
# luck.

# %%
figure = new_figure(height=2.2)
plot_modes(figure.subplots(), mixture.metrics["modes"])
figure

# %% [markdown]
# ## 2. Log-likelihood and criteria
#
# ```r
# logLik(m); AIC(m); BIC(m); ICL(m)
# ```

# %%
R_SAYS = {"log-likelihood": -287.3567, "AIC": 590.7134, "BIC": 618.3901, "ICL": 634.1574}


def criteria(fitted):
    """Return what R calls logLik, AIC, BIC and ICL."""
    m = fitted.metrics
    return {"log-likelihood": m["log_likelihood"]["train"]} | {
        name: m[name.lower()] for name in ("AIC", "BIC", "ICL")
    }


beside = pd.DataFrame({"flexmix": R_SAYS, "pyromoe": criteria(mixture)})
beside.assign(difference=beside["pyromoe"] - beside["flexmix"]).round(4)

# %% [markdown]
# Log-likelihood, AIC and BIC differ in the second decimal, ICL by more. To see why, give pyromoe
# the parameters at which flexmix stopped, from `parameters(m)` and `parameters(m, which =
# "concomitant")`, and compute the criteria there.

# %%
PARAMETERS = {
    "expert_intercept": [3.4631277, 0.4561868],
    "expert_slope": {"income": [0.3799385, 0.6094716]},
    "scale": [2.0893176, 0.6562486],
    "gate_intercept": [0.0, 18.994678],
    "gate_slope": {"income": [0.0, -1.445751]},
}
theirs = copy.deepcopy(mixture)
assign(theirs, PARAMETERS, "flexmix")
x, y = to_tensors(mixture.data.train, mixture.spec)
at_theirs = float(theirs.log_likelihood(x, y).sum())
bic = mixture.metrics["parameters"] * np.log(len(x)) - 2 * at_theirs
icl = bic - 2 * float(theirs.responsibilities(x, y).amax(1).log().sum())
pd.Series({"log-likelihood": at_theirs, "BIC": bic, "ICL by the largest": icl}).round(4)

# %% [markdown]
# These are R's numbers. So the densities are the same, and what differs is
#
# - where the climb ends: flexmix divides the squares of residuals by n less the number of
#   coefficients, as `lm` does, and its gate stops where the likelihood has become flat;
# - the definition of ICL: pyromoe adds twice the entropy of the assignments to BIC (Biernacki et al.,
#   2000), flexmix subtracts twice the logarithm of each row's largest posterior probability.
#
# The number of parameters is the same: two intercepts, two slopes, two scales, and of the gate one
# intercept and one slope, since only the difference between the experts counts.

# %% tags=["hide-cell"]
apart = (beside["pyromoe"] - beside["flexmix"]).abs()
assert apart[["log-likelihood", "AIC", "BIC"]].max() < 0.1 < apart["ICL"]
reached = [at_theirs, bic, icl]
assert np.allclose(reached, [R_SAYS[n] for n in ("log-likelihood", "BIC", "ICL")], atol=1e-3)
assert mixture.metrics["parameters"] == 8

# %% [markdown]
# ## 3. Coefficients and their standard errors
#
# ```r
# r <- refit(m); summary(r); summary(r, which = "concomitant")
# ```
#
# `coefficients` returns them in the units of the table, whatever was standardised on the way.

# %%
found = coefficients(mixture).to_pandas()
found.round(4)

# %% [markdown]
# As in R, the gate's coefficients are differences from the first component, here expert 0. Which
# one is the first is chance, again as in R; so we put them in the order of their slopes before we
# set them beside `refit`.

# %%
REFIT = pd.DataFrame(
    {
        "estimate": [3.406199, 0.449644, 0.382272, 0.610420, 17.2993, -1.3230],
        "error": [1.116420, 0.190527, 0.055205, 0.024282, 17.5971, 1.3044],
    },
    index=[
        "intercept, component 1",
        "intercept, component 2",
        "slope, component 1",
        "slope, component 2",
        "gate, intercept",
        "gate, slope",
    ],
)
slopes = found.query("parameter == 'expert_slope'").set_index("expert")["value"]
first, second = slopes.sort_values().index


def of_expert(parameter, expert):
    """Return value and standard error of a parameter of one expert."""
    row = found.query("parameter == @parameter and expert == @expert").iloc[0]
    return row["value"], row["standard_error"]


sign = 1 if first == 0 else -1  # the gate's differences change their sign with the order
ours = [
    of_expert("expert_intercept", first),
    of_expert("expert_intercept", second),
    of_expert("expert_slope", first),
    of_expert("expert_slope", second),
    *((sign * v, e) for v, e in (of_expert(f"gate_{part}", 1) for part in ("intercept", "slope"))),
]
same = pd.DataFrame(ours, REFIT.index, ["estimate", "error"])
pd.concat({"flexmix": REFIT, "pyromoe": same}, axis=1).round(4)

# %% [markdown]
# The same to three digits or more: `refit` climbs the whole likelihood once more, to its maximum.
#
# The gate's coefficients have standard errors as large as themselves. That the second component has
# the households of small income is clear; how abruptly it ends is not, and this is where the
# likelihood was flat above. The distribution of such an estimate is far from normal, and its z
# value should not be taken at its word.
#
# flexmix takes the observed information, and so did we. The sandwich, which allows for a model that
# is not the truth, and the bootstrap are one argument away.

# %%
wider = coefficients(mixture, "sandwich").to_pandas()
pd.DataFrame(
    {
        "parameter": found["parameter"],
        "expert": found["expert"],
        "information": found["standard_error"],
        "sandwich": wider["standard_error"],
    }
).round(3)

# %% tags=["hide-cell"]
assert np.allclose(same["estimate"], REFIT["estimate"], rtol=1e-2)
assert np.allclose(same["error"], REFIT["error"], rtol=1e-2)

# %% [markdown]
# ## 4. Posterior assignments
#
# ```r
# posterior(m); table(clusters(m))
# ```
#
# The number of households in each component, and who they are: points are coloured by their
# responsibilities, p(z | y, x), and below is the gate, p(z | x).

# %%
rows = rows_of(mixture)
clusters = np.bincount(rows.responsibilities.argmax(1), minlength=2)
pd.DataFrame({"flexmix": [40, 195], "pyromoe": clusters[[first, second]]}, index=[1, 2])

# %%
figure = new_figure(height=4.8)
upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
curves = curves_of(mixture, "income", rows.x)
income = values_of(mixture, "income", rows.x)
plot_curves(upper, curves, income, rows.y[:, 0], rows.responsibilities)
plot_gate(lower, "income", curves.values, curves.gate)
lower.get_legend().remove()
upper.set(xlabel="", ylabel="food, hundreds of francs")
lower.set_xlabel("income, hundreds of francs")
figure

# %% [markdown]
# An expert's line is faint where the gate does not choose it, and a band holds 90% of what it
# predicts.
#
# New households go through `predict`, which has R's `predict(m, newdata)` and `posterior(m,
# newdata)` in one table: the mean of each expert, the gate, and, where the response is known, the
# assignment.

# %%
new = {"income": [5.0, 10.0, 25.0], "foodexp": [3.5, 6.0, 17.0]}
told = predict(mixture, new, per_expert=True).to_pandas()
told.filter(regex="mean|gate|responsibility").round(3)

# %% tags=["hide-cell"]
assert abs(int(clusters[first]) - 40) <= 1

# %% [markdown]
# ## 5. How many components?
#
# ```r
# stepFlexmix(foodexp ~ income, data = engel, k = 1:3, nrep = 20,
#             concomitant = FLXPmultinom(~ income))
# ```
#
# `select` computes the same criteria, and beside them what these stand in for: the log-likelihood
# of rows that were held out, with the standard error of the differences.

# %%
selection = select(
    parse_spec(SPEC.replace("restarts: 32", "restarts: 8"), "engel.yaml"),
    table,
    experts=[1, 2, 3],
    folds=4,
)
side_by_side = pd.DataFrame(selection.rows).set_index("candidate")
side_by_side[["parameters", "aic", "bic", "icl", "behind", "behind_standard_error"]].round(3)

# %% [markdown]
# *Behind* is how many nats a row a candidate is behind the best mixture on held-out rows. Criteria
# and held-out rows need not agree, and the standard errors say how much the latter know. The
# recommendation in words:

# %%
selection

# %% [markdown]
# ## 6. Nested groups
#
# Grunfeld's data have 20 years of 11 firms, and it is the firm that belongs to a component.
#
# ```r
# flexmix(invest ~ value + capital | firm, data = grunfeld, k = 2)
# ```
#
# What stands behind the bar is `data.group`.

# %%
FIRMS = """
data:
  response: invest
  predictors: [value, capital]
  group: firm
  split: {test: 0}
likelihood: {family: normal}
experts: {number: 2}
gate: {kind: constant}
priors: {experts: {kind: none}, gate: {kind: none}}
fit: {precision: float64, restarts: 32}
"""
years = grunfeld.load_pandas().data
firms = fit(parse_spec(FIRMS, "grunfeld.yaml"), years)
GROUPED = {"log-likelihood": -1053.6103, "AIC": 2125.221, "BIC": 2155.763, "ICL": 2155.763}
pd.DataFrame({"flexmix": GROUPED, "pyromoe": criteria(firms)}).round(3)

# %% [markdown]
# R's column is the best of 400 runs, which 18 of them came to. Here 32 starts were enough, and
# `firms.metrics["modes"]` says how many of them found it.
#
# All rows of a firm have the same responsibility. The firms of each component:

# %%
own = predict(firms, years).to_pandas().assign(firm=years["firm"].to_numpy())
own.groupby("firm")[["expert", "entropy"]].first().sort_values("expert").round(4)

# %% [markdown]
# And the coefficients, of which R's `refit` says 0.0303 and 0.1092 for the slopes of one component,
# 0.0938 and 0.3715 for those of the other.

# %%
of_firms = coefficients(firms).to_pandas()
of_firms.round(4)

# %% tags=["hide-cell"]
assert abs(criteria(firms)["log-likelihood"] + 1053.61) < 0.02
capital = of_firms.query("parameter == 'expert_slope' and of == 'capital'")["value"]
assert np.allclose(sorted(capital), [0.1092, 0.3715], atol=1e-3)

# %% [markdown]
# ## 7. The rest of the phrase book
#
# | R | spec or Python |
# |---|---|
# | `FLXMRglm(family = "poisson")` | `likelihood: {family: poisson}` |
# | `FLXMRglm(cbind(s, f) ~ ., family = "binomial")` | `likelihood: {family: binomial}`, `data.trials` |
# | `FLXMRglm(family = "Gamma")` | `likelihood: {family: gamma}`, whose link is the logarithm; R's is the inverse |
# | `FLXMRmultinom()` | `likelihood: {family: categorical}` |
# | betareg's `betamix(y ~ x, k = 2)` | `likelihood: {family: beta}` |
# | `model = list(FLXMRglm(y1 ~ .), FLXMRglm(y2 ~ ., family = "poisson"))` | `data.response: [y1, y2]`, `likelihood: [{family: normal}, {family: poisson}]` |
# | `FLXMRglmfix(fixed = ~ x)` | `experts.shared: [x]` |
# | `FLXMRglmfix(varFix = TRUE)` | `likelihood: {family: normal, scale: shared}` |
# | `FLXMCmvnorm()` | `likelihood: {family: multivariate_normal}` |
# | `FLXMRrobglm()` | `experts.noise: true` |
# | `offset`, `weights` | `data.offset`, `data.weights` |
# | `cluster = ` a first assignment | `fit.initialisation` |
# | `boot(m, sim = "parametric")`, `LR_test` | `select(..., bootstrap=199)` |
# | `relabel` | `pyromoe.inference.fitting.labels.matched` |
#
# In betareg a second part of the formula, `y ~ x | w`, lets the precision depend on predictors;
# here the precision of `beta` is one number for each expert. There is no `FLXMRlmer`, no
# `FLXMRmgcv` and no `FLXMRcondlogit`. What there is beyond: experts and gates may be networks,
# gates may be trees or sparse, weights may have priors and posteriors, and z may be sampled or
# relaxed instead of summed out; the other notebooks are about these.
