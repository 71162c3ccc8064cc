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
# # Did I understand Gumbel-softmax?
#
# *The question.* I have a mixture of deep experts and a deep gate,
# $\log p(y \mid x) = \log \sum_z p(z \mid x)\, p(y \mid z, x)$. That logarithm is awkward, so I
# maximise the bound $\sum_z p(z \mid x) \log p(y \mid z, x)$ instead. The gradient in the experts'
# parameters is easy. For the gate's parameters $\phi$, is
#
# $$\frac{1}{n} \sum_i \log p\big(y \mid z = \mathrm{onehot}(\beta(x, g_i)), x\big)\,
# \nabla_\phi\, \beta(x, g_i), \qquad
# \beta(x, g) = \mathrm{softmax}\Big(\frac{\log \alpha(x) + g}{\lambda}\Big),$$
#
# with Gumbel noise $g$ and an annealed temperature $\lambda$, the right Gumbel-softmax gradient?
#
# ## 1. The answer
#
# **No.** $\log p$ is one number and $\beta$ has K components. The product is K gradients where one
# is needed, and the formula does not say how to contract them. As $\lambda \to 0$ it estimates
#
# - **0**, summed over the components;
# - **1/2** of the bound's gradient with the component that was drawn, **ln 2** of it with the
#   logarithm of that component, plus an error that grows with the level of $\log p$;
# - the bound's gradient, with each component weighted by the log-likelihood of its own expert. But
#   then all K experts run, and the exact gradient costs no more.
#
# And the bound is not $\log p(y \mid x)$: its best gate picks one expert for each $x$. Instead, sum
# z out while K experts can be afforded. Otherwise take `leave_one_out` or `q_baseline` for the
# bound, or `vimco` towards $\log p(y \mid x)$.
#
# The rest of this article derives this, measures it and tries it on data.

# %%
import math
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from matplotlib.lines import Line2D

from pyromoe.guides import Seeded
from pyromoe.guides.concrete import concrete, log_density
from pyromoe.inference import TREATMENTS, Treatment_ELBO, compare
from pyromoe.inference.treatments import Treatment, picked_component
from pyromoe.models import parse_spec

SEEDS = (0,) if os.environ.get("CI") else (0, 1)

torch.set_num_threads(1)  # small tensors are faster so

BLUE, RED, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
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
# ## 2. What each reading estimates
#
# Gumbel-softmax multiplies $\nabla_\phi \beta$ by the *derivative* of $\log p$ in its argument z.
# REINFORCE multiplies the *value* of $\log p$ by the gradient of a log probability. The proposal
# takes the value from one and the gradient from the other.
#
# One datum is enough, and the gradient in the gate's logits: the chain rule does the rest. Write
# $a = \log \alpha$ for the logits, $p = \mathrm{softmax}(a)$ for the gate,
# $\ell_k = \log p(y \mid z = k, x)$ and $z = \arg\max_k \beta_k = \arg\max_k (a_k + g_k)$. This z
# has the law p, and $\lambda$ does not enter it.
#
# **The target** is the gradient of the bound, $J = \sum_k p_k \ell_k$. From
# $\partial p_i / \partial a_j = -p_i p_j$ for $i \ne j$,
#
# $$\nabla J = \sum_{i<j} p_i p_j\, (\ell_i - \ell_j)(e_i - e_j),$$
#
# with unit vectors $e_i$. Each pair of experts trades probability, at the rate $p_i p_j$.
#
# | reading | one draw | name in the library |
# |---|---|---|
# | sum of the components | $\ell_z \nabla \sum_k \beta_k$ | `sum_of_components` |
# | the component drawn | $\ell_z \nabla \beta_z$ | `picked_component` |
# | its logarithm | $\ell_z \nabla \log \beta_z$ | `picked_log_component` |
# | each with its own expert | $\sum_k \ell_k \nabla \beta_k$ | `linear_straight_through` |
#
# **Sum of the components.** The components of $\beta$ sum to 1, and $\nabla 1 = 0$. The gate is
# never trained. This is what an automatic derivative of `(log_p.detach() * beta).sum()` returns.
#
# **The component drawn.** Take $\ell_z \nabla h(\beta_z)$, with $h(b) = b$ or $h(b) = \log b$. For
# small $\lambda$, $\beta$ is nearly one-hot and its gradient nearly 0, except where the two largest
# of $a + g$, of experts i and j say, are within a few $\lambda$ of each other. With i ahead by
# $w$, $\beta_z = \sigma(w / \lambda)$ there, and $\nabla w = e_i - e_j$. A lead between 0 and
# $dw$ has the probability $p_i p_j\, dw$, because raising $a_j$ by $dw$ hands exactly these draws
# from i to j. So the pair contributes
#
# $$p_i p_j\, \big[\ell_i (e_i - e_j) + \ell_j (e_j - e_i)\big]
# \int_0^\infty \frac{d}{dw}\, h\big(\sigma(w / \lambda)\big)\, dw, \qquad
# \text{and the integral is } h(1) - h(1/2).$$
#
# Summed over the pairs this is $[h(1) - h(1/2)]\, \nabla J$: a factor of **1/2** for $h(b) = b$,
# and of **ln 2** for $h(b) = \log b$. The rest is lost, since the picked component only changes
# from 1 to 1/2 on the way to the boundary, and not to 0.
#
# **The next order, for K = 2.** Let $u = (a_1 + g_1) - (a_2 + g_2)$. Its density is
# $f(u) = \sigma'(u - a_1 + a_2)$, with $f(0) = p_1 p_2$ and $f'(0) = p_1 p_2 (2 p_1 - 1)$.
# Expanding f around 0 on both sides of it, the component of the mean along $a_1$ is
#
# $$[h(1) - h(\tfrac12)]\, p_1 p_2 (\ell_1 - \ell_2)
# + \lambda\, C\, p_1 p_2 (2 p_1 - 1)(\ell_1 + \ell_2) + O(\lambda^2),$$
#
# $$C = \int_0^\infty \big[h(1) - h(\sigma(v))\big]\, dv,$$
#
# which gives $C = \ln 2$ for the component and $C = \pi^2 / 12$ for its logarithm. The second term
# has the *sum* of the log-likelihoods: add a constant to all of them and the estimate changes,
# though the bound's gradient does not. As log-likelihoods are mostly negative, this term pushes the
# gate towards equal probabilities.
#
# **Each with its own expert.** The mean is the gradient of $\sum_k \ell_k E[\beta_k]$. Given g,
# $\beta_k$ is the probability that $a + g + \lambda g'$ is largest at k, where $g'$ is fresh
# Gumbel noise. Hence $E[\beta_k] = E[p_k(a + \lambda g')]$. All $g'_j$ have the same mean, and p
# does not change when all logits move together, so there is no term of the first order:
#
# $$E[\beta_k] = p_k + \frac{\pi^2 \lambda^2}{12} \sum_j \frac{\partial^2 p_k}{\partial a_j^2}
# + O(\lambda^3).$$
#
# For K = 2 the mean along $a_1$ is $p_1 p_2 (\ell_1 - \ell_2)\,
# [1 + \frac{\pi^2 \lambda^2}{6} (1 - 6 p_1 p_2)]$ and smaller terms. A constant added to all
# log-likelihoods cancels.
#
# **Gumbel-softmax** itself is $\nabla_z \log p(y \mid z, x)\big|_{z = \beta} \nabla \beta$ (Jang,
# Gu and Poole, 2017; Maddison, Mnih and Teh, 2017). It needs a likelihood for z inside the simplex,
# and there is more than one. If that is $\sum_k z_k \ell_k$, it is the fourth reading. If the
# experts' outputs are averaged with weights z, its bias differs; both are measured below.
#
# **The repair.** Put the gradient of the log *density* of $\beta$ in the place of
# $\nabla \beta$, and write $q_\lambda$ for this density:
#
# $$E\big[\ell_z \nabla \log q_\lambda(\beta)\big] = \nabla E[\ell_z] = \nabla J
# \quad \text{exactly, at every } \lambda, \qquad
# \frac{\partial \log q_\lambda(\beta)}{\partial a_k} = 1 - K \frac{e^{-g_k}}{\sum_j e^{-g_j}}.$$
#
# The temperature is gone: what remains is the augment-REINFORCE estimator of Yin, Yue and Zhou
# (2019). Its mean given z is $\ell_z \nabla \log p_z$, which is REINFORCE (Williams, 1992), with
# the same mean and less variance. So there is nothing left for $\beta$ to do.

# %% [markdown]
# ### The formulas, checked
#
# In this library a reading is a *treatment* of z: a function that estimates the objective and whose
# derivative is the estimate of the gradient. `Treatment_ELBO` applies it to a Pyro program. Ours
# has no networks: each row brings the logits a of its gate and the means $\mu$ of its experts,
# which are normal with unit variance, and y is 0. For z inside the simplex it averages the means.


# %%
def program(a, mu, level=0.0):
    """Make y, all 0, from a gate with logits a and experts with means mu, (N, K) each.

    Every log-likelihood is raised by `level`.
    """
    rows = torch.arange(len(a))
    with pyro.plate("data", len(a)):
        z = pyro.sample("z", dist.Categorical(logits=a))
        mean = (z * mu).sum(-1) if z.is_floating_point() else mu[rows, z]
        pyro.sample("y", dist.Normal(mean, 1.0), obs=a.new_zeros(len(a)))
        pyro.factor("level", torch.as_tensor(level))


def gate(a, mu, level=0.0):
    """Draw z from the gate: with this guide, the ELBO is the bound."""
    with pyro.plate("data", len(a)):
        pyro.sample("z", dist.Categorical(logits=a))


gate.objective = "jensen"  # the library's name of the bound


def no_guide(a, mu, level=0.0):
    """Leave z to be summed out: the ELBO is then log p(y | x)."""


def gradient(elbo, a, mu, level=0.0, guide=gate):
    """Return one estimate of the gradient in the logits for each row, (N, K)."""
    a = a.clone().requires_grad_()
    with pyro.validation_enabled(False):  # the checks would take a fifth of the time here
        loss = elbo.differentiable_loss(program, guide, a, mu, level)
    return -torch.autograd.grad(loss, a)[0]


# %% [markdown]
# Chance is an argument, too. For K = 2 only $g_1 - g_2$ matters, so a fine grid of its quantiles
# can replace the draws. The mean over the grid is the expectation, without Monte Carlo error.


# %%
class Quantiles:
    """Noise whose difference g_1 - g_2 runs through its quantiles, one for each row."""

    def gumbel(self, logits, num_samples):
        u = (torch.arange(len(logits), dtype=logits.dtype) + 0.5) / len(logits)
        return torch.stack([u.logit(), torch.zeros_like(u)], -1)[None]


M = 100_000
a = torch.tensor([[0.8, 0.0]], dtype=torch.float64)
mu = torch.tensor([[0.4, 2.0]], dtype=torch.float64)
p1, p2 = a.softmax(-1)[0].tolist()
l1, l2 = dist.Normal(mu[0], 1.0).log_prob(torch.zeros(2)).tolist()
difference, total = p1 * p2 * (l1 - l2), p1 * p2 * (2 * p1 - 1) * (l1 + l2)
FORMULAS = {
    "sum_of_components": lambda t: 0.0,
    "picked_component": lambda t: difference / 2 + t * math.log(2) * total,
    "picked_log_component": lambda t: math.log(2) * difference + t * math.pi**2 / 12 * total,
    "linear_straight_through": lambda t: (
        difference * (1 + (math.pi * t) ** 2 / 6 * (1 - 6 * p1 * p2))
    ),
}
rows = {}
for name, formula in FORMULAS.items():
    for t in (0.2, 0.1, 0.05):
        elbo = Treatment_ELBO(name, noise=Quantiles(), temperature=t)
        mean = float(gradient(elbo, a.expand(M, 2), mu.expand(M, 2)).mean(0)[0])
        rows[name, t] = {"mean": mean, "formula": formula(t), "mean / exact": mean / difference}
checked = pd.DataFrame(rows).T.rename_axis(["reading", "temperature"])
print(f"exact: {difference:.4f}")
checked.round(4)

# %% [markdown]
# The formulas hold, and what they leave out falls with $\lambda$. The last column tends to 0, 1/2,
# ln 2 = 0.693 and 1; the second and third are still on their way there at $\lambda = 0.05$.

# %% tags=["hide-cell"]
missing = (checked["mean"] - checked["formula"]).abs().unstack() / difference
assert missing[0.05].max() < 0.005
assert (missing[0.05] <= missing[0.2] + 1e-9).all()
for name, limit in zip(FORMULAS, (0, 1 / 2, math.log(2), 1), strict=True):
    ratio = checked["mean / exact"][name]
    error = (ratio - limit).abs()
    assert error[0.05] <= error[0.1] + 1e-9 <= error[0.2] + 2e-9

# %% [markdown]
# ## 3. The bias, measured
#
# Now K = 2, 8 and 64 experts. A random instance has logits from N(0, 1) and means from N(0, 1.5²),
# and its gradient is estimated at least 16 000 times, one row of the program for each draw. We
# report medians over several instances of
#
# - the *bias*, the length of (mean of the draws - exact gradient), relative to the length of the
#   exact gradient;
# - the *standard deviation* of one draw, $\sqrt{\text{trace of the covariance}}$, relative to the
#   same length;
# - the *floor*, that standard deviation divided by the root of the number of draws. The square of
#   the bias is reported less the square of the floor, which is what the noise of the mean adds to
#   it, and a bias below the floor may be 0.


# %%
INSTANCES = {2: 15, 8: 9, 64: 3}
DRAWS = {2: 20_000, 8: 25_000, 64: 16_000}  # of each instance
TEMPERATURES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
READINGS = [*FORMULAS, "gumbel_softmax"]


def instances(K):
    """Return logits and means, (I, K) each."""
    generator = torch.Generator().manual_seed(K)
    a = torch.randn(INSTANCES[K], K, generator=generator)
    return a, 1.5 * torch.randn(INSTANCES[K], K, generator=generator)


def exact_gradients(K):
    """Return the gradients of the bound and of log p(y | x), (I, K) each."""
    a, mu = instances(K)
    of_bound = gradient(Treatment_ELBO("jensen"), a, mu)
    return of_bound, gradient(Treatment_ELBO("enumerate"), a, mu, guide=no_guide)


def length(g):
    """Return the length of each row."""
    return torch.linalg.vector_norm(g, dim=-1)


def measure(treatment, K, level=0.0, practice=0, **options):
    """Return medians over the instances; `practice` steps let a baseline learn beforehand."""
    a, mu = instances(K)
    elbo = Treatment_ELBO(treatment, noise=Seeded(1), **options)
    for _ in range(practice):
        gradient(elbo, a.repeat(8, 1), mu.repeat(8, 1), level)
    R = DRAWS[K]
    guide = no_guide if "marginal" in elbo.treatment.objectives else gate
    draws = gradient(elbo, a.repeat(R, 1), mu.repeat(R, 1), level, guide).view(R, *a.shape)
    mean, sd = draws.mean(0), draws.var(0).sum(-1).sqrt()
    bound, marginal = exact_gradients(K)
    measured = {"cosine": torch.cosine_similarity(mean, bound)}
    for of, exact in (("bound", bound), ("marginal", marginal)):
        measured[f"sd, {of}"] = sd / length(exact)
        measured[f"floor, {of}"] = floor = sd / length(exact) / math.sqrt(R)
        squared = (length(mean - exact) / length(exact)).square() - floor.square()
        measured[f"bias, {of}"] = squared.clamp_min(0).sqrt()
    return {name: float(value.median()) for name, value in measured.items()}


def shown(bias, floor):
    """Return a bias as text, or that it is below the floor."""
    return f"{bias:.2f}" if bias > floor else f"< {max(floor, 0.01):.2f}"


lab = pd.DataFrame(
    {
        (name, K, t): measure(name, K, temperature=t)
        for name in READINGS
        for K in DRAWS
        for t in TEMPERATURES
    }
).T.rename_axis(["reading", "K", "temperature"])
for of in ("bound", "marginal"):
    lab[f"text, {of}"] = list(map(shown, lab[f"bias, {of}"], lab[f"floor, {of}"]))
lab = lab.sort_index()
print("relative bias for the bound, K = 8, by temperature")
lab["text, bound"].xs(8, level="K").unstack().loc[READINGS]

# %%
STYLES = {
    "sum_of_components": ("0.35", "s", "sum of the components"),
    "picked_component": (RED, "o", "the component drawn"),
    "picked_log_component": (ORANGE, "D", "its logarithm"),
    "linear_straight_through": (BLUE, "^", "each with its own expert"),
    "gumbel_softmax": (GREEN, "v", "Gumbel-softmax, means averaged"),
}


def draw_reading(ax, name, K, column="bias, bound", temperatures=TEMPERATURES):
    """Draw one curve; a bias below the floor is a hollow mark at the floor."""
    colour, marker, label = STYLES[name]
    part = lab.loc[name, K].loc[list(temperatures)]
    below = (part["bias, bound"] < part["floor, bound"]) & (column == "bias, bound")
    heights = part[column].where(~below, part["floor, bound"])
    ax.plot(heights.index, heights, color=colour, linewidth=1.6)
    for rows, face in ((heights[~below], colour), (heights[below], "white")):
        ax.plot(rows.index, rows, marker, color=colour, markerfacecolor=face, markersize=6)
    return Line2D([], [], color=colour, marker=marker, label=label)


fig, axes = plt.subplots(1, 3, figsize=(6.4, 4.6), sharey=True)
fig.get_layout_engine().set(wspace=0.06)
for ax, K in zip(axes, DRAWS, strict=True):
    for limit in (1 / 2, 1 - math.log(2)):
        ax.axhline(limit, color="0.8", linewidth=1, zorder=0)
    lines = [draw_reading(ax, name, K) for name in READINGS]
    ax.set(xscale="log", yscale="log", title=f"K = {K}", ylim=(8e-3, 1.5))
    ax.set_xticks([0.05, 0.5, 5], ["0.05", "0.5", "5"])
    ax.minorticks_off()
axes[0].set_yticks([0.01, 0.1, 1], ["1%", "10%", "100%"])
axes[0].set_ylabel("bias, share of the bound's gradient")
axes[1].set_xlabel("temperature λ")
for limit, text in ((1 / 2, "1/2"), (1 - math.log(2), "1 - ln 2")):
    place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9}
    axes[2].annotate(text, (1.03, limit), annotation_clip=False, **place)
hollow = Line2D([], [], color="0.35", marker="o", markerfacecolor="white", linestyle="",
                label="hollow: floor, may be 0")  # fmt: skip
fig.legend(handles=[*lines, hollow], loc="outside upper center", ncols=2, fontsize=10)
plt.show()

# %% [markdown]
# The number of experts changes little. Cooling brings the two picked readings to a bias of 1/2 and
# of 1 - ln 2 = 0.307, and no further. The reading that runs all experts has almost no bias at
# $\lambda = 0.1$ and a visible one at 1. Averaging means instead of log-likelihoods is no
# better, and needs all experts too.
#
# That is the bias against the bound. Against the gradient of $\log p(y \mid x)$, which is
# $r - p$ with the responsibilities $r_k = p(z = k \mid y, x)$, there is a gap that no treatment of
# the bound can close.

# %%
against = lab["text, marginal"].unstack(["K", "temperature"]).loc[READINGS]
against = against[[(K, t) for K in DRAWS for t in (0.1, 1.0)]]
gap = {}
for K in DRAWS:
    bound, marginal = exact_gradients(K)
    gap[K] = float((length(bound - marginal) / length(marginal)).median())
against.loc["the bound's exact gradient"] = [f"{gap[K]:.2f}" for K, _ in against.columns]
print("relative bias for log p(y | x), by K and temperature")
against

# %% [markdown]
# With 2 experts the two gradients are close. With 8 they differ by half the length, and with 64 by
# more than the length: the bound's exact gradient is then further from that of
# $\log p(y \mid x)$ than 0 is. A reading that shrinks the gradient looks *better* by this measure,
# which is an accident: it follows the wrong objective more slowly.

# %% tags=["hide-cell"]
bias, floor = (lab[f"{what}, bound"].unstack() for what in ("bias", "floor"))
for K in DRAWS:
    limits = {"picked_component": 1 / 2, "picked_log_component": 1 - math.log(2)}
    for name, limit in limits.items():
        assert abs(bias.loc[name, K][0.1] - limit) < 0.1 + floor.loc[name, K][0.1]
    assert (bias.loc["sum_of_components", K] - 1).abs().max() < 1e-4
    linear, averaged = bias.loc["linear_straight_through", K], bias.loc["gumbel_softmax", K]
    assert linear[0.1] < 0.05 + floor.loc["linear_straight_through", K][0.1]
    assert linear[1.0] > 0.2
    assert (averaged > linear - 0.01 - floor.loc["gumbel_softmax", K])[[0.25, 0.5, 1.0]].all()
assert gap[2] < 0.2 < 0.4 < gap[8] < 0.6 < 1.2 < gap[64]

# %% [markdown]
# ## 4. What annealing does
#
# Annealing starts warm, where the noise is small, and cools, so that the bias becomes small. For
# the picked readings the second half fails. The next figure follows an exponential schedule from
# $\lambda = 1$ to 0.05, for K = 8. `leave_one_out`, the score function with the mean of the other
# draws as baseline (Kool, van Hoof and Welling, 2019), has no temperature; its two draws run two
# experts.

# %%
leave_one_out = measure("leave_one_out", 8)
COOLING = [t for t in TEMPERATURES if t <= 1]

fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4.4))
for ax, column in ((left, "bias, bound"), (right, "sd, bound")):
    lines = [draw_reading(ax, name, 8, column, COOLING) for name in READINGS[1:]]
    ax.set(xscale="log", yscale="log", xlim=(1.2, 0.042), xlabel="temperature λ, cooling")
    ax.set_xticks([1, 0.5, 0.25, 0.1, 0.05], ["1", "0.5", "0.25", "0.1", "0.05"])
    ax.minorticks_off()
right.axhline(leave_one_out["sd, bound"], color="0.35", linestyle="--", linewidth=1.6)
right.plot(COOLING, 0.35 * np.array(COOLING) ** -0.5, ":", color="0.35", linewidth=1.6)
left.set_yticks([0.01, 0.1, 1], ["1%", "10%", "100%"])
left.set(ylim=(8e-3, 1.5), title="bias")
right.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
right.set(title="standard deviation")
references = [
    Line2D([], [], color="0.35", linestyle="--", label="leave_one_out, two draws"),
    Line2D([], [], color="0.35", linestyle=":", label="slope of 1 / √λ"),
]
fig.legend(handles=[*lines, *references], loc="outside upper center", ncols=2, fontsize=10)
left.set_ylabel("share of the bound's gradient")
right.set_ylabel("multiples of the bound's gradient")
plt.show()

# %%
TENTH = 0.1  # the noise that we are ready to accept, as a share of the gradient
cold = lab.xs((8, 0.05), level=("K", "temperature"))["sd, bound"]
draws_needed = (cold.drop("sum_of_components") / TENTH) ** 2
draws_needed["leave_one_out, pairs"] = (leave_one_out["sd, bound"] / TENTH) ** 2
print("draws for a standard deviation of a tenth of the gradient, λ = 0.05, K = 8")
draws_needed.round(-2).astype(int).to_frame("draws")

# %% [markdown]
# The variance grows as $1 / \lambda$: the gradient is of the size $1 / \lambda$ in a share
# $\lambda$ of the draws, and about 0 in all others. So cooling buys a smaller bias with more noise
# where all experts run. For the picked readings, from $\lambda = 0.25$ on, it buys noise alone.
#
# Annealing does not make the draw more discrete either. In this estimator z is always hard, and its
# law is that of the gate at every $\lambda$.

# %% tags=["hide-cell"]
sd = lab["sd, bound"].unstack()
for name in READINGS[1:]:
    growth = (sd.loc[name, 8][0.05] / sd.loc[name, 8][0.25]) ** 2
    assert 2.5 < growth < 10, growth  # 0.25 / 0.05 = 5
assert leave_one_out["bias, bound"] < 2 * leave_one_out["floor, bound"]
assert (cold.drop("sum_of_components") > 2 * leave_one_out["sd, bound"]).all()

# %% [markdown]
# ## 5. The level of log p
#
# The bound's gradient does not change when a constant c is added to all log-likelihoods. Changing
# the units of y does just that, and images have log-likelihoods of minus hundreds. Here c is 0, -10
# and -100, for K = 8 and $\lambda = 0.5$.

# %%
LEVELS = (0.0, -10.0, -100.0)
warm = {name: {"temperature": 0.5} for name in READINGS[1:]}
rows = {}
for name, options in {**warm, "reinforce": {}, "leave_one_out": {}}.items():
    for c in LEVELS:
        row = measure(name, 8, c, **options)
        rows[name, c] = row | {
            "bias": shown(row["bias, bound"], row["floor, bound"]),
            "cosine": f"{row['cosine']:.2f}",
            "standard deviation": f"{row['sd, bound']:.1f}",
        }
at_level = pd.DataFrame(rows).T.rename_axis(["treatment", "c"])
columns = [(what, c) for what in ("bias", "cosine", "standard deviation") for c in LEVELS]
at_level.unstack()[columns].loc[[*warm, "reinforce", "leave_one_out"]]

# %% [markdown]
# At c = -100 the picked readings err by several times the length of the gradient, and the cosine
# says that they point elsewhere. This matters more than the factors 1/2 and ln 2, which alone would
# be harmless: an optimiser such as Adam does not react to the scale of a gradient. No step size
# repairs a direction.
#
# The other readings do not react to c, nor does `leave_one_out`. Plain REINFORCE keeps its mean but
# drowns it in noise, and the cosine of 25 000 averaged draws shows that. This is what baselines are
# for. A baseline in the picked readings would remove the dependence on c, and leave the factors.

# %% tags=["hide-cell"]
error, level_sd = (at_level[f"{what}, bound"].unstack() for what in ("bias", "sd"))
for name in ("picked_component", "picked_log_component"):
    assert error.loc[name, -100] > 2 > 1.5 > error.loc[name, -10] > error.loc[name, 0]
    assert float(at_level.loc[(name, -100.0), "cosine"]) < 0.7
for name in ("linear_straight_through", "gumbel_softmax"):
    assert abs(error.loc[name, -100] - error.loc[name, 0]) < 0.01
assert error.loc["leave_one_out", -100] < 0.03
assert abs(level_sd.loc["leave_one_out", -100] / level_sd.loc["leave_one_out", 0] - 1) < 0.01
assert level_sd.loc["reinforce", -100] > 20 * level_sd.loc["reinforce", 0]

# %% [markdown]
# ## 6. What to use instead
#
# The table adds the repair of section 2, `density_score`. Writing a treatment of one's own takes an
# objective and what it claims.


# %%
def density_objective(log_joint, logits, config, state, noise):
    """Return an estimate of the bound; its gradient is log p times the score of beta's density."""
    gumbel = noise.gumbel(logits, config.num_samples)
    log_beta = concrete(logits, gumbel, config.temperature).detach()
    ell = log_joint.likelihood(log_beta.argmax(-1))
    log_q = log_density(logits, log_beta, config.temperature)
    return (ell + ell.detach() * (log_q - log_q.detach())).mean(0).sum(), state


density_score = Treatment(
    "density_score",
    picked_component.Config,
    density_objective,
    objectives=("jensen",),
    unbiased=True,
    evaluations=lambda config, k: config.num_samples,
)

CHOICES = (
    (TREATMENTS["enumerate"], {}),
    (TREATMENTS["jensen"], {}),
    (TREATMENTS["reinforce"], {}),
    (density_score, {"temperature": 0.5}),
    (TREATMENTS["leave_one_out"], {"num_samples": 2}),
    (TREATMENTS["leave_one_out"], {"num_samples": 4}),
    (TREATMENTS["q_baseline"], {"practice": 300}),
    (TREATMENTS["vimco"], {"num_samples": 8}),
    (TREATMENTS["gumbel_softmax"], {"temperature": 0.5}),
)
AIMS = {"marginal": "log p(y | x)", "iwae": "between", "jensen": "the bound"}
rows = []
for treatment, options in CHOICES:
    row = measure(treatment, 8, **options)
    config = treatment.config(**{n: v for n, v in options.items() if n != "practice"})
    own = "bound" if treatment.objectives[0] == "jensen" else "marginal"
    rows.append(
        {
            "treatment": treatment.name,
            "draws": getattr(config, "num_samples", ""),
            "aims at": AIMS[treatment.objectives[0]],
            "experts run, of 64": treatment.evaluations(config, 64),
            "bias for the bound": shown(row["bias, bound"], row["floor, bound"]),
            "bias for log p(y | x)": shown(row["bias, marginal"], row["floor, marginal"]),
            "standard deviation": round(row[f"sd, {own}"], 2),
        }
    )
choices = pd.DataFrame(rows).set_index("treatment")
choices

# %% [markdown]
# - **K that can be afforded:** `enumerate` has the exact gradient of $\log p(y \mid x)$, without
#   noise. Relaxing z in a bank of experts runs all K of them too, for a gradient with bias and
#   noise.
# - **Too many experts to run:** `leave_one_out` and `q_baseline` are unbiased for the bound and run
#   the experts that were drawn. `q_baseline` learns a network that predicts $\log p(y \mid z, x)$
#   for each z and uses it as control variate. Here it saw nine data, learned them by heart and left
#   no noise; section 7 has a fairer test.
# - **The same, towards $\log p(y \mid x)$:** `vimco` (Mnih and Rezende, 2016) estimates a bound
#   that approaches it with the number of draws.
# - **If you must relax:** `gumbel_softmax`, with its bias. Measure it on your own model, as here.
# - The repair, `density_score`, is unbiased and noisier than REINFORCE: section 2 said so.

# %% tags=["hide-cell"]
by_name = choices.reset_index().drop_duplicates("treatment").set_index("treatment")
noise = by_name["standard deviation"]
assert noise["density_score"] > 2 * noise["reinforce"] > 3 * noise["leave_one_out"]
assert noise["q_baseline"] < 0.1
assert float(by_name["bias for log p(y | x)"]["vimco"]) < 0.2
assert (by_name["bias for the bound"].drop(["enumerate", "vimco", "gumbel_softmax"])
        .map(lambda text: text.startswith("<") or float(text) < 0.05).all())  # fmt: skip

# %% [markdown]
# ## 7. On data
#
# Two data sets, few steps each. Scikit-learn's 1797 handwritten digits get eight linear experts
# and 180 steps. The counts of visits to a doctor by 20 190 people, from statsmodels and the RAND
# health insurance experiment, get four Poisson experts and 64 steps. The gates have a hidden layer.
# A fifth of the rows is held out. The relaxed treatments cool from 1 to 0.1.
#
# `compare` fits one specification with each treatment, from the same starts and on the same rows,
# and reports the exact $\log p(y \mid x)$ in nats a datum, whatever was trained.

# %%
DATA = {
    "digits": """
data: {dataset: digits}
likelihood: {family: categorical}
experts: {number: 8}
fit: {epochs: 15, batch_size: 128, learning_rate: 0.01, restarts: 1}
""",
    "doctor visits": """
data: {dataset: randhie, response: mdvis}
likelihood: {family: poisson}
experts: {number: 4}
fit: {epochs: 1, batch_size: 256, learning_rate: 0.02, restarts: 1}
""",
}
FITTED = [*READINGS, "leave_one_out", "q_baseline", "vimco", "jensen", "enumerate"]


def specification(data, treatment):
    """Return a specification; objective and guide of z follow from the treatment."""
    cooled = ", temperature: {start: 1.0, end: 0.1}" if treatment in READINGS else ""
    return f"""
{DATA[data]}
gate: {{kind: mlp, hidden: [32]}}
priors: {{experts: {{kind: none}}, gate: {{kind: none}}}}
treatment: {{name: {treatment}{cooled}}}
"""


fits, row_by_row = [], {}
for data in DATA:
    for name in FITTED:
        spec = parse_spec(specification(data, name), f"{data}.yaml")
        compared = compare(spec, treatments=[name], seeds=SEEDS)
        fits += [row | {"data": data} for row in compared.rows]
        row_by_row[data, name] = np.mean(compared.held_out, axis=0)  # (N,), mean over the seeds
fits = pd.DataFrame(fits).rename(
    columns={"train_log_likelihood": "training", "test_log_likelihood": "held out"}
)
log_p = fits.groupby(["treatment", "data"])[["training", "held out"]].mean().unstack()
print("exact log p(y | x), nats a datum, mean of the seeds")
log_p.swaplevel(axis=1)[[(d, part) for d in DATA for part in ("training", "held out")]].loc[
    FITTED
].round(3)

# %% [markdown]
# The held-out differences from `enumerate`, with two standard errors over the same rows:

# %%
behind = {}
for (data, name), values in row_by_row.items():
    difference = values - row_by_row[data, "enumerate"]
    error = difference.std() / math.sqrt(len(difference))
    behind[data, name] = {"mean": difference.mean(), "error": error}
behind = pd.DataFrame(behind).T

fig, axes = plt.subplots(1, 2, figsize=(6.4, 4.4), sharey=True)
heights = pd.Series(range(len(FITTED))[::-1], FITTED)
for ax, data in zip(axes, DATA, strict=True):
    ax.axvline(0, color="0.8", linewidth=1, zorder=0)
    for name in FITTED[:-1]:
        colour = RED if name in FORMULAS else BLUE
        here = behind.loc[data, name]
        ax.errorbar(here["mean"], heights[name], xerr=2 * here["error"], fmt="o", color=colour)
    ax.plot(0, heights["enumerate"], "o", color=BLUE)
    ax.set(title=data)
axes[0].set_yticks(heights, FITTED, fontsize=10)
fig.supxlabel("held-out log p(y | x) less that of enumerate, nats a datum", fontsize=11)
marks = [
    Line2D([], [], color=colour, marker="o", linestyle="", label=label)
    for colour, label in ((RED, "readings of the proposal"), (BLUE, "alternatives"))
]
fig.legend(handles=marks, loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# On the digits the bound is as good an objective as $\log p(y \mid x)$: `jensen` and `enumerate`
# agree within the error. What is left is the estimator, and the log-likelihood of the training
# rows shows it best. An untrained gate is last, the picked readings follow, and `leave_one_out` is
# ahead of all readings. `q_baseline` has its network to learn first, and 180 steps are few for it.
# A wide bar is mostly a held-out image or two with a very low probability.
#
# (`gumbel_softmax` has the default of the library here, $\sum_k z_k \ell_k$. Its gate then gets the
# gradient of the fourth reading, but its experts learn from soft z.)
#
# On the visits it is the objective that matters: everything that follows the bound ends far behind,
# its exact gradient as well. The picked readings lose less than the exact bound, because they
# follow it badly: their level term holds the gate back from picking one expert. Only `vimco` and
# `enumerate`, which aim at $\log p(y \mid x)$, do well.

# %% tags=["hide-cell"]
training = log_p["training"]
on_digits, on_visits = training["digits"], training["doctor visits"]
picked = ["picked_component", "picked_log_component"]
assert fits.groupby("data")["steps"].max().to_dict() == {"digits": 180, "doctor visits": 64}
assert on_digits.idxmin() == "sum_of_components"
assert on_digits[picked].max() < on_digits.drop([*picked, "sum_of_components"]).min()
assert on_digits[list(FORMULAS)].max() < on_digits["leave_one_out"]
last = behind.loc["digits", "sum_of_components"]
assert last["mean"] < -2 * last["error"]
exact_bound = behind.loc["digits", "jensen"]
assert abs(exact_bound["mean"]) < 2 * exact_bound["error"]
visits = behind["mean"]["doctor visits"]
assert visits.drop(["vimco", "enumerate"]).max() < -0.3 < -0.15 < visits["vimco"]
assert (visits[picked] > visits["jensen"] + 0.03).all()

# %% [markdown]
# ## Conclusion
#
# `log p · ∇β` is neither Gumbel-softmax nor REINFORCE: depending on how it is contracted it
# estimates nothing, a fraction of the bound's gradient that moves with the level of $\log p$, or
# that gradient at a price for which it can be had exactly. Sum z out if you can, take a score
# function with a baseline if you cannot, and check the exact $\log p(y \mid x)$ on held-out rows,
# since the bound may be what is wrong.
