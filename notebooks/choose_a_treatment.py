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
# # Choosing how the gradient gets through z
#
# A treatment of z that is best on one model may be worst on another. At the end of this article you
# will have measured, on a model and data that could be your own, how biased and how noisy the
# gradient of each treatment is, fitted with some of them at equal cost, and know what to conclude
# from either.

# %%
# %matplotlib inline
# %config InlineBackend.figure_format = "retina"
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from IPython.display import display

from pyromoe.guides import Seeded
from pyromoe.inference import TREATMENTS, Budget, Treatment_ELBO, compare, fit, gradients
from pyromoe.inference.pictures import comparison_figure, gradients_figure
from pyromoe.models import parse_spec

# %% [markdown]
# ## 1. A table and a spec
#
# Put yours here. The table below is made of eight planes. Where they lie, a row may belong to
# several of them: the gate is soft, and the noise of a plane is small, so that z is uncertain
# before y is seen and mostly certain afterwards.

# %%
rng = np.random.default_rng(0)
N, K = 3000, 8
x = rng.normal(size=(N, 2))
logits = x @ (1.5 * rng.normal(size=(2, K)))
z = (logits + rng.gumbel(size=(N, K))).argmax(1)
level, slopes = 2 * rng.normal(size=K), rng.normal(size=(K, 2))
y = level[z] + (x * slopes[z]).sum(1) + 0.3 * rng.normal(size=N)
table = {"a": x[:, 0], "b": x[:, 1], "y": y}

SPEC = """
data: {response: y}
likelihood: {family: normal}
experts: {number: 8}
gate: {kind: linear}
fit: {batch_size: 256, epochs: 60, learning_rate: 0.02, restarts: 1}
"""
file = parse_spec(SPEC, "planes.yaml")

# %% [markdown]
# ## 2. What there is to choose from
#
# A treatment says what it can estimate, whether its gradient is unbiased for that, and how many
# experts it runs for each datum. These are eight of those that `TREATMENTS` has;
# `TREATMENTS["vimco"].description` has formula, claim and source of one.

# %%
NAMES = [
    "enumerate",
    "jensen",
    "reinforce",
    "leave_one_out",
    "gumbel_softmax",
    "straight_through",
    "picked_component",
    "vimco",
]


def claims(name):
    """Return what a treatment says of itself."""
    t = TREATMENTS[name]
    return {
        "objectives": ", ".join(t.objectives),
        "unbiased": t.unbiased,
        "experts run": t.evaluations(t.config(), K),
        "what it does": t.summary,
    }


with pd.option_context("display.max_colwidth", None):
    display(pd.DataFrame({name: claims(name) for name in NAMES}).T)

# %% [markdown]
# `marginal` is $\log p(y \mid x)$ itself. `jensen` is the bound $\sum_k p(z = k \mid x) \log p(y
# \mid z = k, x)$, which a draw of z from the gate estimates, and `iwae` lies between the two. So
# there are two ways to be off: the objective can be another one than $\log p(y \mid x)$, and the
# estimator can miss its own objective.
#
# ## 3. The lab
#
# `gradients` draws every treatment's gradient many times on one batch and sets it against exact
# ones: with z summed out, they are known. It does so at the parameters where a fit begins and where
# it ends. Below is the end, and the part of the gradient that belongs to the gate, where treatments
# differ most.

# %%
lab = gradients(fit(file, table), table, treatments=NAMES, draws=100)
rows = pd.DataFrame(lab.rows)
rows = rows[rows["parameters"] == "gate"].set_index(["at", "treatment"])
measures = ["objective_bias", "estimator_bias", "estimator_bias_mc_floor", "relative_std"]
rows.loc["fitted", ["objective", *measures]].round(3)

# %% [markdown]
# Numbers are multiples of the length of the exact gradient.
#
# - *objective_bias*: how far the exact gradient of the treatment's objective is from that of
#   $\log p(y \mid x)$. More draws do not remove it.
# - *estimator_bias*: how far the mean of the draws is from the exact gradient of the treatment's own
#   objective. Beside it is its *floor*, which is to be expected of the mean of a hundred unbiased
#   draws: a bias about as large as its floor may be none.
# - *relative_std*: the noise of one draw. It averages out over steps, bias does not.
#
# What stands out is the column of the objective. These parameters are near a maximum of $\log p(y
# \mid x)$, and the Jensen bound pulls away from it with a force that is many times what is left of
# the exact gradient: its best gate is one that picks a single expert for each x.
#
# Against its own objective, `picked_component` is biased, and the score function is not. A baseline
# makes it less noisy: compare `leave_one_out` with `reinforce`.

# %% tags=["hide-cell"]
after = rows.loc["fitted"]
picked, score = after.loc["picked_component"], after.loc["leave_one_out"]
assert after.loc[after["objective"] == "jensen", "objective_bias"].min() > 10
assert picked["estimator_bias"] > 5 * picked["estimator_bias_mc_floor"]
assert score["relative_std"] < after.loc["reinforce", "relative_std"]
for at in ("initial", "fitted"):
    unbiased = rows.loc[at][rows.loc[at, "unbiased"]]
    assert (unbiased["estimator_bias"] < 3 * unbiased["estimator_bias_mc_floor"] + 1e-6).all()

# %% [markdown]
# Bias against noise, at the start and at the end. A hollow mark is a treatment whose bias these
# draws cannot tell from 0; lower and further left is better.

# %%
gradients_figure(lab.rows, "gate")

# %% [markdown]
# `straight_through` has neither bias nor noise here, and this is worth a second look. Inside the
# simplex the default takes the experts' log-likelihoods, averaged with weights z: a line in z,
# which has the same slope everywhere. Most published code averages what the experts say of mean and
# scale instead, `mix: parameters`, and then relaxed treatments are biased, the hard ones too:

# %%
mixed = parse_spec(SPEC.replace("number: 8", "number: 8, mix: parameters"), "planes.yaml")
relaxed = ["gumbel_softmax", "straight_through", "straight_through_gumbel_softmax"]
again = pd.DataFrame(gradients(mixed, table, treatments=relaxed, draws=100).rows)
again = again[(again["parameters"] == "gate") & (again["at"] == "fitted")].set_index("treatment")
again[measures[1:]].round(3)

# %% tags=["hide-cell"]
assert (again["estimator_bias"] > 2 * again["estimator_bias_mc_floor"]).all()

# %% [markdown]
# The recommendation takes both biases, noise, and the time of a call on this machine together:

# %%
lab

# %% [markdown]
# ## 4. Fits at equal cost
#
# A gradient is a means. Whether its bias matters, fits must say, and they should be compared at the
# same cost. Where experts are expensive, that is the number of times an expert is run: at the same
# number, a treatment that runs two experts takes four times as many steps as one that runs eight.

# %%
FITTED = ["enumerate", "leave_one_out", "gumbel_softmax", "picked_component", "vimco"]
work = Budget("evaluations", 200 * 256 * K)  # about 200 steps of all experts on 256 rows
by_work = compare(file, table, treatments=FITTED, seeds=[0, 1], budget=work)
shown = ["steps", "test_log_likelihood", "effective_experts", "rmse"]
fits = pd.DataFrame(by_work.rows).set_index(["treatment", "objective", "seed"])
fits[shown].sort_index(level="treatment", sort_remaining=False).round(3)

# %% [markdown]
# Whatever was trained, `test_log_likelihood` is the exact $\log p(y \mid x)$ of held-back rows, in
# nats a row. It is the one number in which all of them can be compared: a training loss belongs to
# its own objective, and a relaxed one is no bound on anything.
#
# What the lab has said comes true. All that maximise the Jensen bound end far below `enumerate`,
# the unbiased with the biased, although `leave_one_out` took four times as many steps. Errors of
# the mean, `rmse`, hardly show it: what suffers is the density, and with it every interval.
#
# The picture has the seconds that this same work took on this machine.

# %%
comparison_figure(by_work.rows, "seconds")

# %% tags=["hide-cell"]
held_out = fits["test_log_likelihood"].groupby(["treatment", "objective"]).mean()
bound = held_out.xs("jensen", level="objective")
assert bound.max() < held_out["enumerate"].max() - 0.3
assert bound.max() < held_out["vimco"].max() < held_out["enumerate"].max()

# %% [markdown]
# ## 5. Another objective, the same treatment
#
# An unbiased gradient of the wrong objective is no reason to sum z out. With a guide of its own for
# z, `objective: elbo`, the same `leave_one_out` approaches $\log p(y \mid x)$ as the guide
# approaches the posterior.

# %%
NARROW = ["enumerate", "leave_one_out", "gumbel_softmax"]
with_guide = parse_spec(SPEC + "objective: elbo", "planes.yaml")
by_guide = compare(with_guide, table, treatments=NARROW, seeds=[0, 1], budget=work)
guided = pd.DataFrame(by_guide.rows).set_index(["treatment", "objective", "seed"])
guided[shown].sort_index(level="treatment", sort_remaining=False).round(3)

# %% tags=["hide-cell"]
best = guided["test_log_likelihood"].groupby("treatment").mean()
assert best["leave_one_out"] > bound.max() + 0.3
assert best["leave_one_out"] > best["gumbel_softmax"]
assert best["leave_one_out"] > held_out["enumerate"].max() - 0.05

# %% [markdown]
# Running two experts a row instead of eight, and so taking four times as many steps, it is not
# behind what summing z out has reached at this cost.
#
# The other kind of cost is time. Experts as small as these take hardly longer when all eight are
# run, and at equal *seconds* the picture is another one; it is that of this machine, at this
# moment.

# %%
second = Budget("seconds", 1.0)
timed = [
    *compare(file, table, treatments=["enumerate"], seeds=[0], budget=second).rows,
    *compare(with_guide, table, treatments=NARROW, seeds=[0], budget=second).rows,
]
pd.DataFrame(timed).set_index(["treatment", "objective"])[shown].round(3)

# %% [markdown]
# ## 6. A Pyro program of your own
#
# `gradients` and `compare` need a spec. For any Pyro program with a local discrete site, the same
# measurement is a few lines, since `Treatment_ELBO` is one of Pyro's ELBOs. Here is a program with
# a gate and experts written by hand.


# %%
class Program(torch.nn.Module):
    """Four constant experts with a linear gate."""

    num_experts = 4

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.gate = torch.nn.Parameter(torch.randn(2, 4, generator=generator))
        self.means = torch.nn.Parameter(torch.tensor([-2.0, -0.5, 0.5, 2.0]))

    def forward(self, x, y):
        """Sample z and then y, a row each."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=x @ self.gate))
            pyro.sample("y", dist.Normal(self.means[z], 0.5), obs=y)


def gate_guide(program):
    """Return the guide that draws z from the gate; the ELBO is then the Jensen bound."""

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=x @ program.gate))

    guide.objective = "jensen"
    return guide


program = Program()
inputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
response = inputs[:, 0] + inputs[:, 1].sign()


def gradient(elbo):
    """Return one gradient of the loss in the gate's parameters."""
    loss = elbo.differentiable_loss(program, gate_guide(program), inputs, response)
    return torch.autograd.grad(loss, program.gate)[0].flatten()


R = 200
exact = gradient(Treatment_ELBO("jensen"))
own = {}
for name, options in {"reinforce": {}, "leave_one_out": {"num_samples": 4}}.items():
    elbo = Treatment_ELBO(name, noise=Seeded(0), **options)
    draws = torch.stack([gradient(elbo) for _ in range(R)])
    noise = draws.var(0).sum().sqrt()
    own[name] = {
        "bias": float((draws.mean(0) - exact).norm() / exact.norm()),
        "floor": float(noise / R**0.5 / exact.norm()),
        "noise": float(noise / exact.norm()),
    }
pd.DataFrame(own).T.round(3)

# %% tags=["hide-cell"]
assert all(row["bias"] < 3 * row["floor"] for row in own.values())
assert own["leave_one_out"]["noise"] < own["reinforce"]["noise"]

# %% [markdown]
# ## 7. What to conclude
#
# - If all K experts can be afforded, sum z out: no bias, no noise, nothing to tune.
# - If not, choose the objective first: its bias is often larger than any estimator's. A guide for z
#   costs a small network and can remove most of it.
# - Then take an unbiased estimator with a baseline, and look at its noise.
# - In a mixture of experts, relaxed and straight-through treatments run all K experts, and so cost
#   what the exact gradient costs. Their place is in models whose z cannot be summed out.
# - Believe the lab on what is wrong with a gradient, and held-out likelihood on whether it matters.
#
# [did_i_understand_gumbel_softmax](did_i_understand_gumbel_softmax.ipynb) derives where the biases
# come from.
