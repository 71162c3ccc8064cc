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
# # Weights with a posterior
#
# A fit by a point says which lines and which gate are best, and not how sure that is. At the end of
# this article you will have priors that you have looked at, an approximate posterior and draws from
# the exact one, the diagnostics that tell whether to trust either, models compared by
# leave-one-out, and predictions whose variance has a part for not knowing the weights.
#
# The data are small, as they should be where the weights are uncertain: the volume of the Nile at
# Aswan in each of a hundred years. At some time in between, the flow fell. When, and how sure is
# that?

# %%
# %matplotlib inline
# %config InlineBackend.figure_format = "retina"
import warnings

import numpy as np
import pandas as pd
from statsmodels.datasets import nile

from pyromoe.inference import fit, predict, to_arviz
from pyromoe.inference.pictures import (
    coassignment,
    curves_of,
    new_figure,
    palette,
    plot_curves,
    rows_of,
    values_of,
)
from pyromoe.models import parse_spec

with warnings.catch_warnings():  # ArviZ announces its next version at import
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

table = nile.load_pandas().data

# %% [markdown]
# ## 1. Priors
#
# Two lines in the year, with one scale of noise, and a gate in the year. Columns are standardised,
# so that a prior of scale 1 for the lines' coefficients means: a slope of one standard deviation of
# the flow for one of the year is not unusual. The gate's prior is wider, since the change may have
# been sudden. `priors.scales` gives the noise a prior, too, and so a posterior.

# %%
SPEC = """
data: {{response: volume, split: {{test: 0}}}}
likelihood: {{family: normal, scale: shared}}
experts: {{number: {experts}}}
gate: {{kind: linear}}
priors: {{experts: {{scale: 1}}, gate: {{scale: 5}}, scales: {{kind: normal}}}}
guide: {{weights: {weights}, warmup: 200}}
output: {{draws: 800}}
fit: {{{fit}}}
"""


def fitted(weights, experts=2, settings=""):
    """Return a fit with a posterior of this kind."""
    text = SPEC.format(weights=weights, experts=experts, fit=settings)
    return fit(parse_spec(text, "nile.yaml"), table)


normal = fitted("mean_field", settings="batch_size: full, epochs: 1500, learning_rate: 0.02")
approximate = to_arviz(normal)
prior = approximate["prior_predictive"]["y"].values
seen = approximate["observed_data"]["y"].values
levels = [0.05, 0.25, 0.5, 0.75, 0.95]
pd.DataFrame(
    {"prior": np.quantile(prior, levels), "data": np.quantile(seen, levels)}, index=levels
).round(0)

# %% [markdown]
# What the model expects before it has seen a flow: quantiles of data drawn from the priors, beside
# those of the data. The priors are wider than the data, and of the same order: they rule out
# little, and do not waste themselves on impossible rivers.
#
# ## 2. An approximation
#
# `mean_field` fits independent normal distributions of the weights by stochastic steps. It takes
# seconds. Whether it is near the posterior, Pareto's k of the importance ratios says: from 0.7 on
# it is not.

# %%
normal

# %% [markdown]
# ## 3. Draws from the posterior
#
# `nuts` draws the weights by the No-U-Turn sampler, with z summed out, in four chains that begin at
# the mode. R-hat compares the chains: it should be 1.01 or less, and what is above needs more
# draws. Divergences should be 0.

# %%
sampled = fitted("nuts", settings="restarts: 8")
exact = to_arviz(sampled)
sampled

# %%
NAMES = ["expert_slope", "expert_intercept", "gate_slope", "scale"]
az.summary(exact, var_names=NAMES, round_to=2)

# %% [markdown]
# Slopes and intercepts are for standardised columns, the scale is in the unit of the flow. Expert
# by expert, R-hat and effective sample size can be worse than for the density that was reported
# above; few effective draws mean that the second digit of a mean is not to be trusted.
#
# ## 4. What the approximation got wrong
#
# The same coefficients in both posteriors, experts in the order of time.


# %%
def in_time(posterior):
    """Return the experts in the order in which the gate chooses them."""
    slope = posterior["posterior"]["gate_slope"].mean(("chain", "draw"))
    return np.argsort(slope.values[:, 0])


def moments(posterior):
    """Return mean and standard deviation of coefficients, by name."""
    draws, order = posterior["posterior"], in_time(posterior)
    found = {}
    for name in ("expert_slope", "expert_intercept"):
        values = draws[name].stack(draws_=("chain", "draw")).values.reshape(2, -1)[order]
        for label, own in zip(("before", "after"), values, strict=True):
            found[f"{name}, {label}"] = {"mean": own.mean(), "sd": own.std()}
    return pd.DataFrame(found).T


both = pd.concat({"mean_field": moments(approximate), "nuts": moments(exact)}, axis=1)
both.round(2)

# %% [markdown]
# Independent normals are too narrow wherever weights depend on each other: the level and the slope
# of a line that has few years, far from the mean of all, can only move together. For the line
# before the change, the approximation claims to know several times more than the draws do, and it
# has put its centre elsewhere.

# %% tags=["hide-cell"]
sd = both.xs("sd", axis=1, level=1)
assert normal.metrics["pareto_k"] > 0.7
assert (sd["mean_field"] < sd["nuts"]).all()
assert sd.loc["expert_slope, before", "nuts"] > 2 * sd.loc["expert_slope, before", "mean_field"]
assert sampled.metrics["nuts"]["r_hat"] < 1.1

# %% [markdown]
# ## 5. When did the flow fall?
#
# Whatever can be computed from weights has a posterior. The change is where the gate gives both
# lines the same probability; each draw of the gate has such a year.

# %%
draws, order = exact["posterior"], in_time(exact)
gate = {
    name: draws[f"gate_{name}"].stack(draws_=("chain", "draw")).values
    for name in ("slope", "intercept")
}
slope = gate["slope"][order[1], 0] - gate["slope"][order[0], 0]
intercept = gate["intercept"][order[1]] - gate["intercept"][order[0]]
year = table["year"]
change = -intercept / slope * year.std(ddof=0) + year.mean()
print("quantiles of the year:", np.quantile(change, [0.05, 0.5, 0.95]).round(1))
figure = new_figure(height=2.6)
axes = figure.subplots()
axes.hist(change, np.arange(1871, 1971, 1))
axes.set(xlabel="year in which the gate is even", ylabel="draws a year", xlim=(1871, 1970))
figure

# %% [markdown]
# Most draws are near the years in which the first dam at Aswan was built, 1898 to 1902, with a tail
# towards later ones; Cobb (1978) looked for the change in the same data. How sudden it was is known
# less well:

# %%
years = np.log(9) * 2 / np.abs(slope) * year.std(ddof=0)
print("quantiles of the years from 10% to 90%:", np.quantile(years, [0.05, 0.5, 0.95]).round(1))
middle = np.quantile(change, [0.05, 0.5, 0.95])
assert 1890 < middle[0] < 1898 < middle[1] < 1904 < middle[2] < 1930

# %% [markdown]
# ## 6. The lines
#
# A dark band is what the draws leave open of a line; a pale one holds 90% of what the line
# predicts. In each year a draw counts by how probable it makes the line there. So the mean of many
# lines bends where only some draws still choose theirs.

# %%
rows = rows_of(sampled, exact)
time = values_of(sampled, "year", rows.x)
colours = palette(2, rows.responsibilities.mean(0))
figure = new_figure(height=3.8)
curves = curves_of(sampled, "year", rows.x)
axes = figure.subplots()
plot_curves(axes, curves, time, rows.y[:, 0], rows.responsibilities, colours)
axes.set_ylabel("volume, 10⁸ cubic metres")
figure

# %% [markdown]
# ## 7. Labels
#
# Priors and likelihood are the same when the experts change places, so that draws may number them
# differently. Once drawn, they are numbered in every draw as at the mode, by the rows that they
# share, and all that was shown above depends on it. A check that needs no numbers: the probability
# that two years have the same expert.

# %%
z = exact["posterior"]["z"].values.reshape(-1, len(table))
together = coassignment(list(np.eye(2)[z]))
when = np.argsort(time)
figure = new_figure(height=3.6)
axes = figure.subplots()
image = axes.imshow(together[when][:, when], extent=(1871, 1971, 1971, 1871), cmap="cividis")
axes.set(xlabel="year", ylabel="year")
figure.colorbar(image, label="probability of the same expert")
figure

# %% [markdown]
# Two blocks, one before the change and one after it, and they are the same under any numbering.

# %% tags=["hide-cell"]
early, late = time < 1890, time > 1905
assert together[np.ix_(early, early)].mean() > 0.8
assert together[np.ix_(early, late)].mean() < 0.2

# %% [markdown]
# ## 8. Two lines or one?
#
# `log_likelihood` has the density of each year in each draw, with z summed out, which is what
# leave-one-out needs: given z it would flatter the mixture. For one line there is no z, and its
# posterior is so close to a normal that `laplace` will do.

# %%
line = fitted("laplace", experts=1)
compared = az.compare({"two lines": exact, "one line": to_arviz(line)})
compared.select_dtypes("number").round(2)

# %% [markdown]
# `elpd` is in nats, summed over the years; higher is better. `elpd_diff` is how far a model is
# behind the first, and `dse` the standard error of that difference. Pareto's k of each year tells
# whether leave-one-out can be trusted there:

# %%
loo = az.loo(exact, pointwise=True)
k = np.asarray(loo.pareto_k)
print(f"largest Pareto k {k.max():.2f}; above 0.7: {(k > 0.7).sum()} of {len(k)} years")

# %% tags=["hide-cell"]
assert compared.index[0] == "two lines"
assert (k > 0.7).sum() <= 2

# %% [markdown]
# ## 9. Predictions
#
# Now the variance of a prediction has three parts: the noise *within* an expert, the difference
# *between* experts, and not knowing the *weights*.

# %%
at = {"year": np.arange(1871.0, 1991.0)}
told = predict(sampled, at).to_pandas()
parts = ["variance_within", "variance_between", "variance_weights"]
figure = new_figure(height=3.2)
axes = figure.subplots()
axes.stackplot(at["year"], told[parts].T.to_numpy(), labels=["within", "between", "weights"])
axes.axvline(1970, color="0.3", linewidth=0.8)
axes.set(xlabel="year", ylabel="variance of the volume, 10¹⁶ m⁶", xlim=(1871, 1990))
axes.legend(frameon=False, loc="upper right")
figure

# %% [markdown]
# Noise is most of it. At the change the difference between the lines comes on top, and beyond the
# last year, right of the thin line, what is not known of the weights grows: nobody has seen how a
# line goes on. A fit by a point has no such part and would be too sure there.

# %% tags=["hide-cell"]
weights = told["variance_weights"].to_numpy()
assert weights[-1] > weights[at["year"] == 1940]
assert np.allclose(told[parts].sum(axis=1), told["variance"], rtol=1e-4)
