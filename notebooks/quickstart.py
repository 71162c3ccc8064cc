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
# # A mixture of experts, and what is done with z
#
# This article is for readers who know Pyro. It fits one small mixture of experts in several ways
# and asks of each way: is its gradient biased, and how noisy is it?
#
# The model has a discrete latent $z_n$, which says which of $K$ experts makes the response $y_n$:
#
# $$\log p(y \mid x) = \sum_n \log \sum_{k=1}^{K} p(z_n = k \mid x_n)\, p(y_n \mid z_n = k, x_n)$$
#
# The first factor is the *gate*, the second an *expert*. A *treatment* of z is a way to get a
# gradient through it: sum it out, sample it and use the score function, or relax it.

# %%
import dataclasses
import math
import os
import shutil
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import torch
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from statsmodels.datasets import engel

from pyromoe.guides import AmortisedGuide, PriorGuide, Seeded
from pyromoe.inference import TREATMENTS, Schedule, Treatment_ELBO, fit, to_arviz
from pyromoe.models import MixtureOfExperts, log_joint, parse_spec
from pyromoe.models.likelihoods import Normal

with warnings.catch_warnings():  # ArviZ announces its next version at import
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

STEPS = 200 if os.environ.get("CI") else 600

torch.set_num_threads(1)  # small tensors are faster so
# Pyro keeps parameters by name in one global store. With this setting they stay in their modules,
# so that two models in one process do not share weights.
pyro.settings.set(module_local_params=True)

BLUE, RED, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
plt.rcParams.update(
    {
        "figure.figsize": (6.4, 4.2),
        "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)

# %% [markdown]
# ## 1. The data
#
# Engel's data come with statsmodels: the income of 235 Belgian working-class households and what
# they spent on food, in Belgian francs a year. The spread of the expenditure grows with income.

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


in_pyro = TraceEnum_ELBO(max_plate_nesting=1).loss(model, no_guide, x, y)
here = Treatment_ELBO("enumerate").loss(model, no_guide, x, y)
print(f"TraceEnum_ELBO               {in_pyro:.3f}")
print(f'Treatment_ELBO("enumerate")  {here:.3f}')
assert math.isclose(in_pyro, here, rel_tol=1e-5)

# %% [markdown]
# ## 4. Four treatments, one loop
#
# A treatment is a row of the table `TREATMENTS`. Its description has the formula, the claim, the
# cost and the source.

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
# The loop is the one that Pyro's users write: `elbo(model, guide)` is a `torch.nn.Module`, and
# `torch.optim.Adam` takes its parameters. Replacing `elbo.config` between two steps changes an
# option, here the temperature.
#
# A training loss cannot be compared between treatments: a relaxed loss is no bound on
# $\log p(y \mid x)$. With few experts the exact value costs little, so we follow that instead.


# %%
@torch.no_grad()
def exact(model):
    """Return log p(y | x) in nats and the effective number of experts.

    The latter is exp of the entropy of the mean responsibility: 1 if one expert has all the rows.
    """
    joint = log_joint(model, x, y).enumerate()  # (K, N)
    share = joint.softmax(0).mean(1)
    return float(joint.logsumexp(0).sum()), float(torch.special.entr(share).sum().exp())


def train(model, guide, elbo, steps=STEPS, temperature=None):
    """Train in place and return (step, exact log p(y | x)) pairs."""
    loss = elbo(model, guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    curve = [(0, exact(model)[0])]
    for step in range(1, steps + 1):
        if temperature is not None:
            now = temperature.at(step / steps)
            elbo.config = dataclasses.replace(elbo.config, temperature=now)
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
        if step % 5 == 0:
            curve.append((step, exact(model)[0]))
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
rows, curves = [], {}
start, _ = exact(make_model())
for name, temperature in runs.items():
    model = make_model()
    if name == "enumerate":
        guide = no_guide
    else:
        guide = AmortisedGuide(model, generator=torch.Generator().manual_seed(1))
    elbo = Treatment_ELBO(name, noise=Seeded(0))
    curves[name] = train(model, guide, elbo, temperature=temperature)
    log_likelihood, effective = exact(model)
    objective = getattr(guide, "objective", "marginal")
    evaluations = elbo.treatment.evaluations(elbo.config, model.num_experts)
    rows.append((name, objective, evaluations, log_likelihood, effective))
    if name == "enumerate":
        enumerated_model = model

columns = ["treatment", "objective", "evaluations", "log p(y | x), nats", "effective experts"]
results = pd.DataFrame(rows, columns=columns).set_index("treatment")
results.round(2)

# %% [markdown]
# *Evaluations* counts the likelihoods of experts that a step computes for each datum. Each run ends
# far above one expert, and the runs end within a few nats of each other. This is one start and one
# seed, so the order of the rows says nothing about which treatment is best.

# %%
final = results["log p(y | x), nats"]
assert (final > one_expert + 50).all()
assert final.max() - final.min() < 5
assert results["effective experts"].between(1.2, 2).all()

# %% [markdown]
# The picture shows how far each run is below the highest value that any of them reached; gaps under
# 0.02 nats are drawn as 0.02. Sampled gradients keep the last three runs moving, at this learning
# rate by tenths of a nat.

# %%
best = max(value for curve in curves.values() for _, value in curve)
fig, ax = plt.subplots()
styles = zip((BLUE, RED, GREEN, PURPLE), ("-", "--", "-.", ":"), strict=True)
for (name, curve), (colour, line) in zip(curves.items(), styles, strict=True):
    steps, values = np.array(curve).T
    ax.plot(steps, np.maximum(best - values, 0.02), line, color=colour, label=name, linewidth=1.8)
ax.axhline(best - one_expert, color="0.55", linewidth=1)
ax.annotate(
    "one expert",
    (STEPS, best - one_expert),
    (0, 4),
    textcoords="offset points",
    ha="right",
    color="0.4",
)
ax.set(xlabel="step", ylabel="exact log p(y | x) below the best, nats", yscale="log")
ax.set(xlim=(0, STEPS), ylim=(0.02, 1e3))
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# ## 5. How biased and how noisy is one gradient?
#
# Here the gate itself is the guide (`PriorGuide`), so that all gradients in the gate's parameters
# pass through z. The objective is then the Jensen bound. With two experts its exact gradient $g$ is
# a finite sum, which the treatment `jensen` computes.
#
# For each treatment draw $R = 200$ gradients $\hat g_r$ at fixed weights and report
#
# $$\text{bias} = \frac{\lVert \bar g - g \rVert}{\lVert g \rVert}, \qquad
# \text{sd} = \frac{\sqrt{\operatorname{tr} \operatorname{Cov} \hat g}}{\lVert g \rVert}, \qquad
# \text{floor} = \frac{\text{sd}}{\sqrt{R}}.$$
#
# The mean of 200 unbiased gradients is off by about the floor as well. Only a bias well above the
# floor is one.
#
# The weights are those after 20 steps with z enumerated: on the way, not at an optimum, where the
# exact gradient would be small.
#
# A relaxed z lies inside the simplex, where the model says nothing about the likelihood. The option
# `mix` of `MixtureOfExperts` says what is averaged over the experts there: their log-likelihoods
# (the default) or their parameters, here means and scales. All corners, and so the discrete model,
# are the same under both.

# %%
R = 200
model = make_model()
train(model, no_guide, Treatment_ELBO("enumerate"), steps=20)
model = model.double()
gate_is_guide = PriorGuide(model)


def gate_gradient(elbo, guide):
    """Return one gradient of the loss in the gate's parameters as a vector."""
    loss = elbo.differentiable_loss(model, guide, x.double(), y.double())
    parts = torch.autograd.grad(loss, list(model.gate.parameters()))
    return torch.cat([part.flatten() for part in parts])


def measure(name, mix="log_likelihoods", **options):
    """Return the row of the table for one treatment."""
    model.mix = mix
    elbo = Treatment_ELBO(name, noise=Seeded(1), **options)
    draws = torch.stack([gate_gradient(elbo, gate_is_guide) for _ in range(R)])
    bias = (draws.mean(0) - g).norm() / g.norm()
    sd = draws.var(0).sum().sqrt() / g.norm()
    treatment = elbo.treatment
    return {
        "treatment": name,
        "temperature": getattr(elbo.config, "temperature", None),
        "mix": mix if treatment.needs_relaxed_likelihood else "",
        "claims no bias": treatment.unbiased,
        "bias": float(bias),
        "floor": float(sd / math.sqrt(R)),
        "sd": float(sd),
    }


g = gate_gradient(Treatment_ELBO("jensen"), gate_is_guide)
rows = [
    measure(name)
    for name in (
        "reinforce",
        "reinforce_decaying_baseline",
        "reinforce_neural_baseline",
        "leave_one_out",
    )
]
for mix in ("log_likelihoods", "parameters"):
    for name in ("gumbel_softmax", "straight_through_gumbel_softmax"):
        rows += [measure(name, mix, temperature=t) for t in (1.0, 0.3)]
    rows.append(measure("straight_through", mix))

noise_table = pd.DataFrame(rows).set_index("treatment")
noise_table.round(3)

# %% [markdown]
# What the table shows, on this model and at these weights:
#
# - The score-function treatments claim no bias, and what is measured is within their floor. A
#   baseline lowers the standard deviation.
# - The relaxed treatments are biased at temperature 1. At 0.3 the bias is smaller and the standard
#   deviation larger.
# - Under `log_likelihoods` the likelihood is linear in z. The derivative is then the same at a hard
#   and at a soft z: `straight_through_gumbel_softmax` repeats `gumbel_softmax`, and
#   `straight_through` is exact. Neither holds under `parameters`, where all of them are biased.

# %%
relaxed = noise_table[noise_table["temperature"].notna()].set_index(
    ["mix", "temperature"], append=True
)
warm, cold = (relaxed.xs(t, level="temperature") for t in (1.0, 0.3))
unbiased = noise_table[noise_table["claims no bias"]]
straight = noise_table.loc["straight_through"].set_index("mix")
assert (unbiased["bias"] < 3 * unbiased["floor"]).all()
assert (unbiased["sd"].drop("reinforce") < unbiased["sd"]["reinforce"]).all()
assert (warm["bias"] > 5 * warm["floor"]).all()
assert (cold["bias"] < warm["bias"]).all()
assert (cold["sd"] > warm["sd"]).all()
assert straight["bias"]["log_likelihoods"] < 1e-9
assert straight["bias"]["parameters"] > 5 * straight["floor"]["parameters"]

# %%
shown = noise_table[noise_table["sd"] > 1e-9].reset_index()[::-1].reset_index(drop=True)
labels = [
    row.treatment
    + ("" if math.isnan(row.temperature) else f", t = {row.temperature}")
    + ("" if not row.mix else f"\nmix = {row.mix}")
    for row in shown.itertuples()
]
fig, ax = plt.subplots(figsize=(6.4, 6.0))
ax.hlines(shown.index, 1e-3, shown["floor"], color="0.85", linewidth=9)
ax.plot(shown["bias"], shown.index, "o", color=RED, label="bias")
ax.plot(shown["sd"], shown.index, "D", color=BLUE, label="standard deviation")
ax.plot([], [], color="0.85", linewidth=9, label="below the floor")
ax.set_yticks(shown.index, labels, fontsize=9)
ax.set(xscale="log", xlim=(3e-3, 1), xlabel="relative to the norm of the exact gradient")
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# So far each estimate was held against *its own* objective. That objective is another source of
# bias: at these weights the exact gradient of the Jensen bound differs from that of
# $\log p(y \mid x)$, and no number of draws removes the difference.

# %%
model.mix = "log_likelihoods"
marginal = gate_gradient(Treatment_ELBO("enumerate"), no_guide)
gap = float((g - marginal).norm() / marginal.norm())
print(f"Jensen bound against marginal: relative difference of the exact gradients {gap:.2f}")
assert gap > 0.1

# %% [markdown]
# ## 6. The short way
#
# `fit` does the above from a specification. It reads the table, standardises it, keeps a fifth of
# the rows back, fits from several starts and keeps the best.
# Experts and gate have normal priors unless the specification says otherwise.

# %%
text = f"""
data: {{dataset: engel}}
likelihood: {{family: normal}}
experts: {{number: 2}}
treatment: enumerate
fit: {{learning_rate: 0.05, batch_size: full, epochs: {STEPS}, restarts: 4}}
"""
fitted = fit(parse_spec(text, "quickstart.yaml"))
restarts = pd.DataFrame(fitted.metrics["restarts"]).set_index("seed")
restarts[["log_likelihood", "converged"]].round(2)

# %% [markdown]
# Starts may end at different optima; the one with the highest log-likelihood plus log prior is
# kept.
#
# The log-likelihoods are those of the training rows, with z summed out. They are on the original
# scale of the response, so they differ from the numbers of sections 3 and 4, which belong to
# standardised data. The held-out rows, and the error of the mean in francs a year:

# %%
metrics = fitted.metrics
per_row = {part: metrics["log_likelihood"][part] / metrics["n"][part] for part in ("train", "test")}
print(f"log p(y | x), nats a row:  train {per_row['train']:.2f}, test {per_row['test']:.2f}")
print(f"root mean squared error, test rows:  {metrics['rmse']:.0f} francs a year")
print(f"effective experts:  {metrics['effective_experts']:.2f}")
assert all(math.isfinite(value) for value in per_row.values())

# %% [markdown]
# ### The posterior in ArviZ
#
# `to_arviz` returns what ArviZ works with: `InferenceData` in version 0.x, an xarray `DataTree` in
# 1.x. The weights were fitted by maximum a posteriori, so each is one number and its posterior
# standard deviation in the table is 0. Slopes and intercepts belong to standardised columns, scales
# are in francs a year.

# %%
posterior = to_arviz(fitted)
coefficients = ["expert_slope", "expert_intercept", "gate_slope", "gate_intercept", "scale"]
az.summary(posterior, var_names=coefficients, kind="stats", round_to=2)

# %% [markdown]
# The latent z does vary between draws, and so does anything computed from it. For example, how many
# of the households belong to each expert:

# %%
draws = posterior["posterior"]
z, resp = draws["z"], draws["resp"].mean(("chain", "draw"))
households = (z == draws["expert"]).sum("obs").transpose("chain", "draw", "expert")
draws["households"] = households
az.summary(posterior, var_names="households", kind="stats", round_to=2)

# %% [markdown]
# ### Pictures of the assignments
#
# The *responsibility* of an expert for a household is $p(z_n = k \mid y_n, x_n)$. The bands show
# one noise scale on either side of each expert's line. Below is the gate, which sees the income
# alone.

# %%
two_experts = LinearSegmentedColormap.from_list("two experts", [BLUE, "0.9", RED])
constant = posterior["constant_data"]
predictor, target = fitted.encoding.predictors[0], fitted.encoding.target
income = constant["x"].values[:, 0] * predictor.sd + predictor.mean
food = posterior["observed_data"]["y"].values

grid = np.linspace(income.min(), income.max(), 200)
encoded = torch.tensor((grid - predictor.mean) / predictor.sd, dtype=torch.float32)[:, None]
gate, parameters = fitted.components(encoded)
lines = fitted.encoding.decode(parameters["loc"].numpy())  # (K, N)
scales = parameters["scale"].numpy() * target.sd

fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.0), sharex=True, height_ratios=(3, 1))
for k, (colour, style) in enumerate(((BLUE, "-"), (RED, "--"))):
    top.fill_between(
        grid, lines[k] - scales[k], lines[k] + scales[k], color=colour, alpha=0.12, linewidth=0
    )
    top.plot(grid, lines[k], style, color=colour, linewidth=2, label=f"expert {k}")
    bottom.plot(grid, gate[:, k], style, color=colour, linewidth=2)
points = top.scatter(
    income, food, c=resp[:, 1], cmap=two_experts, vmin=0, vmax=1, s=22, edgecolor="0.25",
    linewidth=0.5, zorder=3,
)  # fmt: skip
fig.colorbar(points, ax=top, label="responsibility of expert 1")
top.set(ylabel="food expenditure, francs a year", ylim=(0, 1.1 * food.max()))
top.legend(loc="upper left")
bottom.set(xlabel="income, francs a year", ylabel="gate p(z | x)", ylim=(-0.05, 1.05))
plt.show()

# %% [markdown]
# The assignment map has one column for each household, ordered by responsibility, and one row for
# each of 100 draws of z. A column of one colour is a household whose expert is known; a mixed
# column is one that both experts explain.

# %%
order = np.argsort(resp[:, 1].values)
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, height_ratios=(1, 2))
top.plot(np.arange(1, len(order) + 1), resp[:, 1].values[order], color="0.2", linewidth=2)
top.set(ylabel="responsibility\nof expert 1", ylim=(-0.05, 1.05))
image = bottom.imshow(
    z.values[0, :100][:, order],
    aspect="auto",
    interpolation="nearest",
    cmap=ListedColormap([BLUE, RED]),
    vmin=-0.5,
    vmax=1.5,
    extent=(0.5, len(order) + 0.5, 100.5, 0.5),
)
fig.colorbar(image, ax=bottom, ticks=[0, 1], label="expert z")
bottom.set(xlabel="household, ordered by responsibility", ylabel="draw")
plt.show()

# %% [markdown]
# ArviZ's own plots take the same object. The number of households that an expert has differs from
# draw to draw of z; the forest plot shows its interval.

# %%
az.plot_forest(posterior, var_names=["households"], combined=True)
plt.gcf().set_size_inches(6.4, 2.6)
plt.gca().set(xlabel="households, of those fitted", title="")
plt.show()

# %% [markdown]
# ## What to read next
#
# - `python -m pyromoe treatments` lists the treatments with their claims.
# - `python -m pyromoe compare SPEC` sets treatments side by side, with the exact held-out
#   $\log p(y \mid x)$ of each. The folder `examples` has specifications.
# - Jang, Gu and Poole (2017) and Maddison, Mnih and Teh (2017) introduce the relaxation; Kool, van
#   Hoof and Welling (2019) the leave-one-out baseline.
# - Pyro's tutorial *Inference with Discrete Latent Variables* explains enumeration in Pyro.
