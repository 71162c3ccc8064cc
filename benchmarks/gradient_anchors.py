"""Bias and spread of the treatments' gradients on one small gate, beside figures known before.

    python benchmarks/gradient_anchors.py [--draws 20000] [--rows rebar,vimco]

One datum, y = 0, and K experts of means mu ~ N(0, 1.5^2), Normal or Student's t with 3 degrees of
freedom; inside the simplex the means are mixed. The gate's logits are N(0, 1). Figures are in units
of the exact gradient's norm, for one call, medians over the instances:

    bias    norm of the mean gradient less the exact one
    floor   what the bias of an unbiased gradient would seem to be, from so many draws
    spread  root of the gradient's total variance

"b = E f" subtracts the mean log-likelihood, the best that a value baseline learns. "calls" counts
the experts' likelihoods. vimco and the posterior score are beside the gradient of log p(y), all
others beside that of E log p(y | z). Where the ratio of a spread to its anchor is outside 0.9..1.1,
or a bias is further off than a tenth of its anchor and two floors, the row is marked and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from pyromoe.guides import Seeded
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import LogJoint

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal["normal", "student_t"]
RANGE = (0.9, 1.1)


class Gate(LogJoint):
    """log p(y, z) of a gate, log p, (N, K), whose rows are copies of one datum.

    Args:
        means: of the experts, (K,).
        family: of the experts.
        log_p: log p(z = k), (N, K).
        shift: subtracted from every log-likelihood.
    """

    def __init__(self, means: Tensor, family: Family, log_p: Tensor, shift: float) -> None:
        self.means, self.family, self.log_p, self.shift = means, family, log_p, shift

    @property
    def log_prior(self) -> Tensor:
        """Log p(z = k), (N, K)."""
        return self.log_p

    def likelihood(self, z: Tensor) -> Tensor:
        """Return log p(y | z), (S, N)."""
        mean = z @ self.means if z.is_floating_point() else self.means[z]
        return log_density(mean, self.family) - self.shift

    def enumerate_likelihood(self) -> Tensor:
        """Return log p(y | z = k), (K, N)."""
        ell = log_density(self.means, self.family) - self.shift
        return ell[:, None].expand(-1, len(self.log_p))


def log_density(mean: Tensor, family: Family) -> Tensor:
    """Log p(y = 0) of the mean, of its shape."""
    if family == "normal":
        return -0.5 * mean.square() - 0.5 * math.log(2 * math.pi)
    constant = math.lgamma(2) - math.lgamma(1.5) - 0.5 * math.log(3 * math.pi)
    return constant - 2 * (mean.square() / 3).log1p()


@dataclass(frozen=True)
class Setting:
    """Instances with seeds 0, 1, ...: their experts, and how many."""

    title: str
    family: Family
    num_experts: int
    num_instances: int


SETTINGS = (
    Setting("K = 8, normal", "normal", 8, 9),
    Setting("K = 8, Student's t(3)", "student_t", 8, 9),
    Setting("K = 64, normal", "normal", 64, 7),
    Setting("K = 64, Student's t(3)", "student_t", 64, 7),
)
Anchor = tuple[float | None, float | None]
"""Bias and spread, None where not known."""


@dataclass(frozen=True)
class Row:
    """A treatment with its options and what is known of it.

    Attributes:
        anchors: for the settings in their order, as far as known.
        centred: whether E f is subtracted from the log-likelihoods first.
        max_draws: how many gradients at most, where one takes much memory.
    """

    treatment: str
    anchors: tuple[Anchor, ...]
    options: dict[str, Any]
    centred: bool
    max_draws: int

    @property
    def label(self) -> str:
        """The treatment with its options, by value."""
        label = " ".join([self.treatment, *map(str, self.options.values())])
        return label + ", b = E f" * self.centred


def row(
    treatment: str,
    *anchors: float | Anchor,
    centred: bool = False,
    max_draws: int = sys.maxsize,
    **options: Any,
) -> Row:
    """A row; an anchor without a bias is the spread of an unbiased gradient."""
    pairs = tuple(a if isinstance(a, tuple) else (0.0, a) for a in anchors)
    return Row(treatment, pairs, options, centred, max_draws)


SUM, NONE = "sum_and_sample", "none"
GUMBEL, HARD_GUMBEL = "gumbel_softmax", "straight_through_gumbel_softmax"
GAPPED, POSTERIOR = "gapped_straight_through", "self_normalised_posterior_score"
RAO: dict[str, Any] = {"num_perturbations": 50, "max_draws": 4000}
ROWS = (
    row("reinforce", 5.45, 6.45, 11.4),
    row("reinforce", 2.00, 2.10, 6.38, centred=True),
    row("muprop", 2.89, 2.94, 8.40),
    row("leave_one_out", 2.22, 2.23, 6.40, num_samples=2),
    row("leave_one_out", 1.21, 1.25, 3.65, num_samples=4),
    row("leave_one_out", 0.77, 0.81, 2.41, num_samples=8),
    row("stratified", 0.75, 0.76, 3.06, num_samples=4, centred=True),
    row(SUM, 3.52, 4.25, 9.82, num_exact=1, baseline=NONE),
    row(SUM, 1.44, 1.50, 5.85, num_exact=1, baseline=NONE, centred=True),
    row(SUM, 2.01, 2.35, 8.33, num_exact=3, baseline=NONE),
    row(SUM, 0.72, 0.72, 5.00, num_exact=3, baseline=NONE, centred=True),
    row("unordered_set", 1.99, 2.00, 6.19, num_samples=2),
    row("unordered_set", 0.80, 0.76, 3.44, num_samples=4),
    row("rebar", 2.84, 2.86, 8.23, temperature=0.5),
    row("rebar", 2.65, 2.69, 8.18, temperature=1.0),
    row("arsm", 1.32, 1.38, max_draws=2000),
    row("straight_through", (0.85, 1.42), (0.79, 0.99), (1.00, 1.89)),
    row(HARD_GUMBEL, (0.29, 3.33), (0.43, 2.61), (0.33, 8.44), temperature=0.5),
    row(HARD_GUMBEL, (0.56, 1.91), (0.65, 1.46), (0.66, 3.98), temperature=1.0),
    row(GUMBEL, (0.41, 1.78), (0.41, 1.96), (0.48, 4.38), temperature=0.5),
    row(GUMBEL, (0.67, 0.84), (0.68, 0.96), (0.82, 1.62), temperature=1.0),
    row("gumbel_rao", (0.27, 2.28), (0.45, 1.68), (0.34, 5.94), temperature=0.5, **RAO),
    row("gumbel_rao", (0.065, 3.13), (0.32, 2.29), (0.135, 8.58), temperature=0.1, **RAO),
    row(GAPPED, (0.62, 1.84), (0.77, 1.33), (0.85, 1.79), temperature=1.0),
    row(GAPPED, (0.57, 3.41), (0.48, 2.49), (0.53, 6.88), temperature=0.5),
    row("reinmax", 3.07, (0.275, 2.22), 8.35),
    row("vimco", (0.27, 3.4), (0.16, 3.1), (0.42, 12.6), num_samples=2, mean="arithmetic"),
    row("vimco", (0.12, 1.7), (0.08, 1.5), (0.15, 4.2), num_samples=4, mean="arithmetic"),
    row("vimco", (0.05, 0.87), (0.036, 0.82), (0.065, 2.3), num_samples=8, mean="arithmetic"),
    row("vimco", (0.025, 0.55), (0.02, 0.52), (0.03, 1.45), num_samples=16, mean="arithmetic"),
    row(POSTERIOR, (0.55, None), (0.57, None), (0.49, None), num_samples=2),
    row(POSTERIOR, (0.28, None), (0.30, None), (0.23, None), num_samples=4),
    row(POSTERIOR, (0.13, None), (0.14, None), (0.10, None), num_samples=8),
    row(POSTERIOR, (0.065, 1.1), (0.07, None), (0.05, 2.5), num_samples=16),
)


def instance(setting: Setting, seed: int) -> tuple[Tensor, Tensor]:
    """The gate's logits and the experts' means, (K,) each."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(setting.num_experts, generator=generator)
    return logits, 1.5 * torch.randn(setting.num_experts, generator=generator)


def exact(logits: Tensor, ell: Tensor, objective: str) -> Tensor:
    """The gradient of E log p(y | z), or of log p(y), in the logits, (K,)."""
    p = logits.softmax(0)
    if objective == "jensen":
        return p * (ell - p @ ell)
    return (logits + ell).softmax(0) - p


def gradients(r: Row, setting: Setting, seed: int, num_draws: int) -> tuple[Tensor, Tensor]:
    """Estimates of the gradient in the logits, (N, K), and the exact one, (K,)."""
    treatment = TREATMENTS[r.treatment]
    objective = treatment.objectives[0]  # the Jensen bound, or one that tends to log p(y)
    logits, means = instance(setting, seed)
    ell = log_density(means, setting.family)
    shift = float(logits.softmax(0) @ ell) if r.centred else 0.0
    copies = logits.expand(num_draws, -1).clone().requires_grad_()
    log_q = copies.log_softmax(-1)
    gate = Gate(means, setting.family, log_q.detach() if objective == "jensen" else log_q, shift)
    config, noise = treatment.config(**r.options), Seeded(seed)
    given = None if objective == "marginal" else log_q
    state = treatment.init(config, gate, log_q, noise)
    value, _ = treatment.objective(gate, given, config, state, noise)  # type: ignore[arg-type]
    (found,) = torch.autograd.grad(value.sum(), copies)
    return found, exact(logits, ell, objective)


def measure(r: Row, setting: Setting, num_draws: int) -> tuple[float, float, float]:
    """Bias, its floor, and spread: medians over the instances."""
    num_draws = min(num_draws, r.max_draws)
    figures = []
    for seed in range(setting.num_instances):
        found, target = gradients(r, setting, seed, num_draws)
        norm = float(target.norm())
        spread = math.sqrt(float(found.var(0).sum())) / norm
        bias = float((found.mean(0) - target).norm()) / norm
        figures.append((bias, spread / math.sqrt(num_draws), spread))
    bias, floor, spread = torch.tensor(figures).median(0).values.tolist()
    return bias, floor, spread


def deviation(known: Anchor, bias: float, floor: float, spread: float) -> tuple[str, bool]:
    """What to say of figures beside their anchor, and whether they deviate from it."""
    ratio = 1.0 if known[1] is None else spread / known[1]
    if not RANGE[0] <= ratio <= RANGE[1]:
        return "<-- spread", True
    if known[0] is None:
        return "", False
    off = abs(bias - known[0])
    if off > 0.1 * known[0] + 2 * floor:
        return "<-- bias", True
    return ("bias: within two floors" if 0 < 0.1 * known[0] < off else ""), False


def compare(setting: Setting, rows: list[Row], num_draws: int) -> int:
    """Print the table of a setting; return how many rows deviate from their anchors."""
    print(f"\n{setting.title}, {setting.num_instances} instances")
    print(f"{'':40}  calls    bias  anchor  ratio   floor  spread  anchor  ratio", flush=True)
    place, wrong = SETTINGS.index(setting), 0
    for r in rows:
        known = r.anchors[place] if place < len(r.anchors) else (None, None)
        bias, floor, spread = measure(r, setting, num_draws)
        remark, deviates = deviation(known, bias, floor, spread)
        wrong += deviates
        treatment = TREATMENTS[r.treatment]
        number = treatment.evaluations(treatment.config(**r.options), setting.num_experts)
        print(
            f"{r.label:40} {number:6d} {beside(bias, known[0])} {floor:7.3f} "
            f"{beside(spread, known[1])}  {remark}".rstrip(),
            flush=True,
        )
    return wrong


def beside(figure: float, anchor: float | None) -> str:
    """A figure, its anchor and their ratio, where there are these."""
    known = "-" if anchor is None else f"{anchor:.3g}"
    ratio = f"{figure / anchor:.3f}" if anchor else "-"
    return f"{figure:7.3f} {known:>7} {ratio:>6}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=20_000, help="gradients for each figure")
    parser.add_argument("--rows", default="", help="treatments to measure, divided by commas")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    only = [name for name in arguments.rows.split(",") if name]
    if unknown := set(only) - {r.treatment for r in ROWS}:
        parser.error(f"no row of {', '.join(sorted(unknown))}")
    rows = [r for r in ROWS if not only or r.treatment in only]
    wrong = sum(compare(setting, rows, arguments.draws) for setting in SETTINGS)
    print(f"\n{wrong} rows deviate from their anchors")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
