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
# # A regression with regimes
#
# Does inflation fall when unemployment rises? In the United States the answer has changed over the
# decades. At the end of this article you will have found out how many regimes fifty years of data
# ask for, when each began, which line holds in each, how sure all that is, and how the variance of
# a prediction splits into noise and not knowing the regime.
#
# The model is a mixture of regressions. Each expert is a line in unemployment; the gate knows the
# date alone, so that an expert is a period.

# %%
# %matplotlib inline
# %config InlineBackend.figure_format = "retina"
import numpy as np
import pandas as pd
from statsmodels.datasets import macrodata

from pyromoe.inference import coefficients, predict, select
from pyromoe.inference.pictures import (
    curves_of,
    new_figure,
    palette,
    plot_curves,
    plot_entropy,
    plot_gate,
    plot_held_out,
    rows_of,
    values_of,
)
from pyromoe.models import parse_spec

# %% [markdown]
# ## 1. The data
#
# Quarterly inflation and unemployment, percent, from 1959 to 2009; they come with statsmodels. The
# first quarter has no quarter before it to compute inflation from, and is left out.

# %%
table = macrodata.load_pandas().data.iloc[1:]
table = table.assign(time=table["year"] + (table["quarter"] - 1) / 4)[["time", "unemp", "infl"]]
figure = new_figure(height=3.6)
left, right = figure.subplots(1, 2, sharey=True)
left.plot(table["time"], table["infl"], color="0.4", linewidth=1)
left.set(xlabel="time", ylabel="inflation, % a year")
points = right.scatter(table["unemp"], table["infl"], 10, table["time"])
right.set(xlabel="unemployment, %")
figure.colorbar(points, label="time")
figure

# %% [markdown]
# On the right, all quarters together show hardly any relation. Those of one colour, of about the
# same time, often lie along a falling line.
#
# ## 2. How many regimes?
#
# `experts.predictors` and `gate.predictors` say who sees what. Some quarters, those of the
# financial crisis above all, are far from any line: Student's t gives outliers room, so that they
# need no expert of their own. Two priors are wider than the default ones, for a line may be steep,
# and a regime may begin from one quarter to the next. The prior of the family's scales and degrees
# of freedom keeps the latter from running off to infinity where an expert has no outliers.

# %%
SPEC = """
data: {response: infl, split: {test: 0}}
likelihood: {family: student_t}
experts: {number: 2, predictors: [unemp]}
gate: {kind: linear, predictors: [time]}
priors: {experts: {scale: 2.5}, gate: {scale: 10}, scales: {kind: normal, scale: 0.5}}
fit: {optimiser: lbfgs, restarts: 4}
"""
file = parse_spec(SPEC, "macrodata.yaml")
selection = select(file, table, experts=[1, 2, 3, 4], folds=3)
figure = new_figure(height=3.2)
plot_held_out(figure.subplots(), selection.rows)
figure

# %% [markdown]
# Each mark is the mean log-likelihood of quarters while they were held out, less that of the best
# mixture, and the bar is the standard error of that difference. One line for all years and two
# regimes are behind by many standard errors. The plain network sees unemployment and the date, and
# comes near; but it says nothing of when a regime began. What is recommended is the
# smallest number that is not behind by more than one standard error:

# %%
selection

# %% [markdown]
# A caution. Quarters were held out at random, and so a held-out quarter has its neighbours in the
# training data. That is the right question for what this article does, to describe fifty years. It
# is not how well the model would have *forecast*: no gate in the date knows of a regime to come.

# %% tags=["hide-cell"]
one, two, three, _, network = selection.rows
for row in (one, two):
    assert row["behind"] > 4 * row["behind_standard_error"]
assert 0 < network["behind"] < two["behind"]
assert three["recommended"]

# %% [markdown]
# ## 3. The regimes
#
# The fit of the recommended number to all quarters. Several starts were made, and what they came to
# says whether there is one solution or many.

# %%
found = selection.fit
found

# %% tags=["hide-cell"]
assert found.metrics["modes"][0]["hits"] >= 2

# %% [markdown]
# Experts are numbered by chance. In the order of time:

# %%
rows = rows_of(found)
time, r = values_of(found, "time", rows.x), rows.responsibilities
order = np.argsort((r.T @ time) / r.sum(0))
parameters = coefficients(found).to_pandas()
lines = parameters[parameters["parameter"].str.startswith("expert")].drop(columns="of")
lines = lines.pivot(index="expert", columns="parameter").loc[order]
lines.round(2)

# %% [markdown]
# The slope is what inflation does, in percentage points, when unemployment is higher by one point
# within the regime. In the first two it is below 0 by several standard errors: the curve of
# Phillips (1958), the second time at a much higher level. In the last one it cannot be told from 0.
#
# When does one give way to the next? The date at which the gate gives the same probability to two
# neighbours:

# %%
steps = np.linspace(time.min(), time.max(), 2000)
gate = predict(found, {"time": steps, "unemp": np.full(len(steps), 6.0)}).to_pandas()
leading = gate[[f"gate_{k}" for k in order]].to_numpy().argmax(1)
borders = steps[1:][np.diff(leading) > 0]
pd.Series(borders, ["first to second", "second to third"], name="date").round(1)

# %% tags=["hide-cell"]
slopes, wrong = (lines[column, "expert_slope"] for column in ("value", "standard_error"))
assert (slopes[:2] + 2 * wrong[:2] < 0).all()
assert abs(slopes.iloc[2]) < 2 * wrong.iloc[2]
assert 1970 < borders[0] < 1976 < 1980 < borders[1] < 1986

# %% [markdown]
# The borders are near two well-known events: the first oil crisis, of October 1973, and the end of
# the disinflation under Volcker, in the early eighties. The model knew of neither.
#
# Above, p(z | x), what the gate says of a date; below, p(z | y, x), once the inflation and the
# unemployment of the quarter are known as well.

# %%
colours = palette(3, r.mean(0))
figure = new_figure(height=4.2)
upper, lower = figure.subplots(2, 1, sharex=True)
plot_gate(upper, "", time, found.gate(rows.x).numpy().T, colours)
plot_gate(lower, "time", time, r.T, colours)
lower.get_legend().remove()
lower.set_ylabel("p(z | y, x)")
figure

# %% [markdown]
# ## 4. The lines
#
# Each panel has the quarters that one expert leads, and every expert's line where the gate stands
# at the median date of that panel: the line of the panel's own expert is strong, and its band holds
# 90% of what it predicts; those of the others are faint.

# %%
own = r.argmax(1)
figure = new_figure(height=3.4)
for axes, k in zip(figure.subplots(1, 3, sharey=True), order, strict=True):
    x, y = rows.x[own == k], rows.y[own == k, 0]
    curves = curves_of(found, "unemp", x)
    plot_curves(axes, curves, values_of(found, "unemp", x), y, r[own == k], colours)
    axes.get_legend().remove()
    axes.set_title(f"expert {k}, from {time[own == k].min():.0f}", fontsize=8)
    axes.set(xlabel="unemployment, %", ylabel="", ylim=(-10, 16))
figure.axes[0].set_ylabel("inflation, % a year")
figure

# %% [markdown]
# The third panel has the outliers for which Student's t was there. Its degrees of freedom are low
# in that regime and higher in the others, where the prior decides:

# %%
free = parameters.query("parameter == 'df'").set_index("expert").loc[order, "value"]
free.to_frame("degrees of freedom").round(1)

# %% [markdown]
# Assignments are certain but for the quarters about the borders.

# %%
figure = new_figure(height=2.2)
plot_entropy(figure.subplots(), r)
figure

# %% tags=["hide-cell"]
assert free.idxmin() == order[2]

# %% [markdown]
# ## 5. Predictions, and where their variance comes from
#
# `predict` gives for each row the mean, quantiles, and the variance by its causes: *within*, the
# noise of the experts; *between*, not knowing which expert it is; *weights*, not knowing the
# parameters, which is 0 here, because they were fitted as a point (see
# [bayesian_weights](bayesian_weights.ipynb) for when they are not). Here is what it says of an
# unemployment of 6% at every date; the band holds 90%.

# %%
at = {"time": np.arange(1960, 2010, 0.25), "unemp": np.full(200, 6.0)}
told = predict(found, at, quantiles=[0.05, 0.5, 0.95]).to_pandas()
figure = new_figure(height=4.6)
upper, lower = figure.subplots(2, 1, sharex=True)
upper.plot(table["time"], table["infl"], ".", color="0.6", markersize=4)
upper.fill_between(at["time"], told["q0.05"], told["q0.95"], alpha=0.25, linewidth=0)
upper.plot(at["time"], told["mean"], linewidth=2)
upper.set(ylabel="inflation, % a year")
causes = ["variance_within", "variance_between"]
lower.stackplot(at["time"], told[causes].T.to_numpy(), labels=["within", "between"])
lower.set(xlabel="time", ylabel="variance, squared points")
lower.legend(frameon=False)
figure

# %% [markdown]
# At a border, two lines are possible. The mean lies between them, where neither expert would put
# it, and the variance between experts is what says so. An interval of a mixture takes both into
# account.

# %% tags=["hide-cell"]
share = told["variance_between"] / told["variance"]
near = np.abs(at["time"][:, None] - borders).min(1) < 1
assert share[near].max() > 3 * share[~near].median()
assert np.allclose(told[[*causes, "variance_weights"]].sum(axis=1), told["variance"], rtol=1e-4)

# %% [markdown]
# ## 6. What to conclude
#
# Three lines and two dates describe these fifty years much better than one line does, and better
# than a network that may bend as it likes. The regimes were found from the figures alone. That two
# of the borders are near events with a name is a check, not a proof: a model with other predictors
# would have others, and quarters are not independent, so the standard errors are too small.
