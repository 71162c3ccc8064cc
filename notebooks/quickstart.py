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
# # Quick start in Pyro
#
# For readers who know Pyro. At the end of this article you will have written a mixture of experts
# as an ordinary Pyro program, run Pyro's own tools on it, trained it in your own loop with z summed
# out, sampled and relaxed, fitted the same model from a few lines of specification, and looked at
# who belongs to which expert with ArviZ.
#
# The model has a discrete latent $z_n$, which says which of $K$ experts makes the response $y_n$:
#
# $$\log p(y \mid x) = \sum_n \log \sum_{k=1}^{K} p(z_n = k \mid x_n)\, p(y_n \mid z_n = k, x_n)$$
#
# The first factor is the *gate*, the second an *expert*. A *treatment* of z is a way to get a
# gradient through it.

# %%
# %matplotlib inline
# %config InlineBackend.figure_format = "retina"
import dataclasses
import math
import shutil
import warnings

import numpy as np
import pandas as pd
import pyro
import torch
from IPython.display import display
from pyro import poutine
from pyro.infer import Predictive, TraceEnum_ELBO, infer_discrete
from statsmodels.datasets import engel

from pyromoe.guides import AmortisedGuide, Seeded
from pyromoe.inference import TREATMENTS, Schedule, Treatment_ELBO, fit, predict, to_arviz
from pyromoe.inference.pictures import (
    curves_of,
    new_figure,
    palette,
    plot_assignments,
    plot_curves,
    plot_gate,
    rows_of,
    values_of,
)
from pyromoe.models import MixtureOfExperts, log_joint, parse_spec
from pyromoe.models.likelihoods import Normal

with warnings.catch_warnings():  # ArviZ announces its next version at import
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

torch.set_num_threads(1)  # small tensors are faster so
# Pyro keeps parameters by name in one global store. With this setting they stay in their modules,
# so that two models in one process do not share weights.
pyro.settings.set(module_local_params=True)

# %% [markdown]
# ## 1. The data
#
# Engel's data come with statsmodels: the income of 235 Belgian working-class households and what
# they spent on food, in francs a year. The spread of the expenditure grows with income.

# %%
table = engel.load_pandas().data[["income", "foodexp"]]
values = table.to_numpy()
standardised = (values - values.mean(0)) / values.std(0)
x = torch.tensor(standardised[:, :1], dtype=torch.float32)  # (N, D) = (235, 1)
y = torch.tensor(standardised[:, 1], dtype=torch.float32)  # (N,)
table.describe().loc[["count", "mean", "std", "min", "max"]].round(0)

# %% [markdown]
# For comparison, the log-likelihood of one expert: a linear regression, fitted by least squares.

# %%
residuals = standardised[:, 1] - np.polyval(np.polyfit(*standardised.T, 1), standardised[:, 0])
one_expert = -0.5 * len(x) * (math.log(2 * math.pi * residuals.var()) + 1)
print(f"one expert: log p(y | x) = {one_expert:.1f} nats")

# %% [markdown]
# ## 2. The model is a Pyro program
#
# `MixtureOfExperts` is a `PyroModule`. Its `forward(x, y)` samples `z` and `y` in the plate `data`.
# Here there is one predictor, and two experts with a line and a noise scale each. The gate is
# linear too.


# %%
def make_model(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return MixtureOfExperts(1, Normal(2), 2, generator=generator)


model = make_model()
graph = pyro.render_model(model, model_args=(x, y))
if shutil.which("dot"):
    display(graph)
else:
    print(graph.source)

# %% [markdown]
# Its trace, with z enumerated as `TraceEnum_ELBO` does it: the two values of z take a new dimension
# on the left, and `y` has one log density for each.

# %%
enumerated = poutine.enum(model, first_available_dim=-2)
trace = poutine.trace(enumerated).get_trace(x, y)
trace.compute_log_prob()
print(trace.format_shapes())

# %% [markdown]
# ## 3. Pyro's ELBO and ours
#
# `Treatment_ELBO` is a subclass of Pyro's `ELBO`. A guide without z leaves z to be summed out, and
# the loss is then $-\log p(y \mid x)$, in Pyro and here.


# %%
def no_guide(x, y):
    """Leave z to be summed out; the weights are parameters, so nothing else is latent."""


pyros = TraceEnum_ELBO(max_plate_nesting=1)
ours = Treatment_ELBO("enumerate")
print(f"TraceEnum_ELBO               {pyros.loss(model, no_guide, x, y):.3f}")
print(f'Treatment_ELBO("enumerate")  {ours.loss(model, no_guide, x, y):.3f}')

# %% [markdown]
# So a loop that you have will do, with either. `elbo(model, guide)` is a `torch.nn.Module`, and
# `torch.optim.Adam` takes its parameters.

# %%
for name, elbo in {"TraceEnum_ELBO": pyros, 'Treatment_ELBO("enumerate")': ours}.items():
    model = make_model()
    loss = elbo(model, no_guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
    print(f"{name:28} {-loss(x, y).item():.3f} nats after 100 steps")

# %% tags=["hide-cell"]
assert math.isclose(
    pyros.loss(model, no_guide, x, y), ours.loss(model, no_guide, x, y), rel_tol=1e-5
)

# %% [markdown]
# And so will Pyro's other tools. `Predictive` draws z and then y for incomes of your own,
# `infer_discrete` finds the likeliest expert of each household.

# %%
incomes = torch.tensor([500.0, 1000.0, 3000.0])
new = ((incomes - values[:, 0].mean()) / values[:, 0].std())[:, None].float()
pyro.set_rng_seed(0)
drawn = Predictive(model, num_samples=500, parallel=True)(new)
food = drawn["y"].double() * values[:, 1].std() + values[:, 1].mean()
pd.DataFrame(
    {
        "share of expert 1": (drawn["z"] == 1).double().mean(0).numpy(),
        "food, mean": food.mean(0).numpy(),
        "food, sd": food.std(0).numpy(),
    },
    index=pd.Index(incomes.int().numpy(), name="income"),
).round(2)

# %%
decoded = infer_discrete(model, first_available_dim=-2, temperature=0)
z = poutine.trace(decoded).get_trace(x, y).nodes["z"]["value"]
print("households of expert 0 and expert 1:", torch.bincount(z, minlength=2).tolist())
assert torch.equal(z, log_joint(model, x, y).enumerate().argmax(0))

# %% [markdown]
# The last line is how this library looks at a trace: `log_joint(model, x, y)` is a function of z,
# and `enumerate()` gives $\log p(y, z = k \mid x)$ of all experts and rows, (K, N).
#
# ## 4. Four treatments, one loop
#
# Summing z out is one treatment. Others are rows of the table `TREATMENTS`; a description has the
# formula, the claim, the cost and the source.

# %%
print(TREATMENTS["leave_one_out"].description)

# %% [markdown]
# The guide decides the objective:
#
# | guide | objective |
# |---|---|
# | without z | `marginal`: $\log p(y \mid x)$ |
# | `PriorGuide(model)`: q is the gate | `jensen`: $\sum_k p(z = k \mid x) \log p(y \mid z = k, x)$ |
# | any other, such as `AmortisedGuide(model)` | `elbo`: $E_q[\log p(y, z \mid x) - \log q(z \mid x, y)]$ |
#
# Replacing `elbo.config` between two steps changes an option, here the temperature. A training loss
# cannot be compared between treatments, for a relaxed loss is no bound on $\log p(y \mid x)$. With
# few experts the exact value costs little, so we follow that instead.


# %%
STEPS = 300


@torch.no_grad()
def exact(model):
    """Return log p(y | x) in nats, with z summed out."""
    return float(log_joint(model, x, y).enumerate().logsumexp(0).sum())


def train(model, guide, elbo, temperature=None):
    """Train in place and return (step, exact log p(y | x)) pairs."""
    loss = elbo(model, guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    curve = [(0, exact(model))]
    for step in range(1, STEPS + 1):
        if temperature is not None:
            now = temperature.at(step / STEPS)
            elbo.config = dataclasses.replace(elbo.config, temperature=now)
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
        if step % 5 == 0:
            curve.append((step, exact(model)))
    return curve


# %% [markdown]
# All four start from the same weights. The two relaxed treatments anneal the temperature from
# 1 to 0.3.

# %%
annealed = Schedule(1.0, 0.3, "exponential")
runs = {
    "enumerate": None,
    "leave_one_out": None,
    "gumbel_softmax": annealed,
    "straight_through_gumbel_softmax": annealed,
}
results, curves = {}, {}
for name, temperature in runs.items():
    model, guide = make_model(), no_guide
    if name != "enumerate":
        guide = AmortisedGuide(model, generator=torch.Generator().manual_seed(1))
    elbo = Treatment_ELBO(name, noise=Seeded(0))
    curves[name] = train(model, guide, elbo, temperature)
    results[name] = {
        "objective": getattr(guide, "objective", "marginal"),
        "experts run": elbo.treatment.evaluations(elbo.config, model.num_experts),
        "log p(y | x), nats": curves[name][-1][1],
    }
pd.DataFrame(results.values(), index=list(results)).round(2)

# %% [markdown]
# *Experts run* counts the likelihoods that a step computes for each datum. Each run ends far above
# one expert, and they end within a few nats of each other. This is one start and one seed, so the
# order of the rows says nothing about which treatment is best; the notebook
# [choose_a_treatment](choose_a_treatment.ipynb) shows how to find out.
#
# The picture shows how far each run is below the highest value that any of them reached; gaps under
# 0.02 nats are drawn as 0.02.

# %%
best = max(value for curve in curves.values() for _, value in curve)
figure = new_figure(height=3.4)
axes = figure.subplots()
for (name, curve), colour in zip(curves.items(), palette(4), strict=True):
    steps, reached = np.array(curve).T
    axes.plot(steps, np.maximum(best - reached, 0.02), color=colour, label=name)
axes.axhline(best - one_expert, color="0.6", linewidth=1, label="one expert")
axes.set(xlabel="step", ylabel="log p(y | x), nats below the best", yscale="log")
figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
figure

# %% tags=["hide-cell"]
final = pd.Series({name: row["log p(y | x), nats"] for name, row in results.items()})
assert (final > one_expert + 50).all()
assert final.max() - final.min() < 8

# %% [markdown]
# ## 5. The short way
#
# `fit` does the above from a specification. It reads a table, standardises it, keeps a fifth of the
# rows back, fits from several starts and keeps the best. Experts and gate have normal priors unless
# the specification says otherwise. `pyromoe fit` does the same in a shell, from a file.

# %%
SPEC = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 2}
treatment: enumerate
fit: {learning_rate: 0.05, batch_size: full, epochs: 300, restarts: 4}
"""
fitted = fit(parse_spec(SPEC, "quickstart.yaml"))
fitted

# %% [markdown]
# These log-likelihoods are exact, and on the original scale of the response, francs; they differ
# from those of sections 3 and 4, which belong to standardised data. Starts may end at different
# optima, and the one with the highest log-likelihood plus log prior is kept.
#
# New rows go through `predict`, in the units of the table:

# %%
told = predict(fitted, {"income": [500.0, 1000.0, 3000.0]}, quantiles=[0.05, 0.95])
told.to_pandas().round(2)

# %% [markdown]
# ## 6. The posterior in ArviZ
#
# `to_arviz` returns what ArviZ works with: `InferenceData` in version 0.x, an xarray `DataTree` in
# 1.x. The weights were fitted as a point, so each is one number, and its posterior standard
# deviation is 0; [bayesian_weights](bayesian_weights.ipynb) is about when it is not. Slopes and
# intercepts belong to standardised columns, scales are in francs a year.

# %%
posterior = to_arviz(fitted)
coefficients = ["expert_slope", "expert_intercept", "gate_slope", "gate_intercept", "scale"]
az.summary(posterior, var_names=coefficients, kind="stats", round_to=2)

# %% [markdown]
# The latent z does vary between draws, and so does anything computed from it. For example, how many
# of the households belong to each expert:

# %%
draws = posterior["posterior"]
households = (draws["z"] == draws["expert"]).sum("obs").transpose("chain", "draw", "expert")
draws["households"] = households
az.summary(posterior, var_names="households", kind="stats", round_to=2)

# %% [markdown]
# ## 7. Who belongs to which expert
#
# The *responsibility* of an expert for a household is $p(z_n = k \mid y_n, x_n)$, and points have
# the colour of the expert that has it. A line is faint where the gate does not choose its expert,
# and a band holds 90% of what an expert predicts. Below is the gate, which sees the income alone.

# %%
rows = rows_of(fitted)
income, r = values_of(fitted, "income", rows.x), rows.responsibilities
curves = curves_of(fitted, "income", rows.x)
colours = palette(2, r.mean(0))
figure = new_figure(height=5.0)
top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
plot_curves(top, curves, income, rows.y[:, 0], r, colours)
plot_gate(bottom, "income", curves.values, curves.gate, colours)
top.set(xlabel="", ylabel="food, francs a year")
bottom.set_xlabel("income, francs a year")
bottom.get_legend().remove()
figure

# %% [markdown]
# The assignment map has a column for each household. Where a column has one strong colour, its
# expert is known; a pale or mixed column is a household that both experts explain.

# %%
figure = new_figure(height=1.8)
plot_assignments(figure.subplots(), r, colours)
figure

# %% [markdown]
# ## What to read next
#
# - [choose_a_treatment](choose_a_treatment.ipynb): which treatment of z, on a model of your own.
# - [digits](digits.ipynb): what each of six experts has learned.
# - [regimes](regimes.ipynb): a regression with regimes, and how many there are.
# - [bayesian_weights](bayesian_weights.ipynb): priors, posteriors and whether to trust them.
# - [from_flexmix](from_flexmix.ipynb): the models of R's flexmix, with the same numbers.
# - [did_i_understand_gumbel_softmax](did_i_understand_gumbel_softmax.ipynb): where it all began.
# - Pyro's tutorial *Inference with Discrete Latent Variables* explains enumeration in Pyro.
