"""How noisy the gate's gradient is under learned baselines, on the digits.

    python benchmarks/baselines_digits.py [--seed 0] [--passes 60]

A linear gate and K experts with 16 hidden units are trained for one epoch on the Jensen bound and
then held still, while each treatment goes over the data and learns its baseline. Figures are

    root of sum_n E |estimate_n - exact_n|^2 / sum_n |exact_n|^2

of the gradients in the gate's logits, (K,), of each of the 1797 digits, for one call. A value
baseline, b(x, y), can do no better than E[log p(y | z, x) | x, y], which takes all K experts and
is known here. With 8 experts q_baseline has to reach 0.6 of that, or the exit status is 1. In a fit
the model moves away from what a baseline has learned, and the gain is smaller.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from pyromoe.guides import PriorGuide, Seeded
from pyromoe.guides.categorical import expectation
from pyromoe.inference.elbo import Treatment_ELBO
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import LogJoint, MixtureOfExperts
from pyromoe.models.likelihoods import Categorical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pyromoe.guides import Noise

BATCH, CALLS, LIMIT = 64, 100, 0.6


class Held(LogJoint):
    """log p(y, z | x) of a model that is held still.

    Args:
        ell: log p(y | z = k, x), (K, N).
        log_p: log p(z = k | x), (N, K).
        inputs: each datum as the input of a network, (N, F).
    """

    def __init__(self, ell: Tensor, log_p: Tensor, inputs: Tensor) -> None:
        self.ell, self.log_p, self.inputs = ell, log_p, inputs
        self.features = lambda: inputs

    @property
    def log_prior(self) -> Tensor:
        """Log p(z = k | x), (N, K)."""
        return self.log_p

    def likelihood(self, z: Tensor) -> Tensor:
        """Return log p(y | z, x), (S, N), for integer z."""
        return self.ell.gather(0, z)

    def enumerate_likelihood(self) -> Tensor:
        """Return log p(y | z = k, x), (K, N)."""
        return self.ell

    def at(self, rows: Tensor) -> Held:
        """The same for some of the data."""
        return Held(self.ell[:, rows], self.log_p[rows], self.inputs[rows])

    def centred(self) -> Held:
        """The same with E[log p(y | z, x) | x, y] subtracted from every log-likelihood."""
        return Held(self.ell - expectation(self.log_p, self.ell), self.log_p, self.inputs)


@dataclass(frozen=True)
class Row:
    """A treatment with its options; with b = E[ell | x, y], where it is centred."""

    treatment: str
    options: dict[str, Any] = field(default_factory=dict)
    centred: bool = False


JUDGED = Row("q_baseline")
ROWS = (
    Row("reinforce", centred=True),  # the ideal, to which the others are compared
    Row("reinforce"),
    Row("reinforce_neural_baseline"),
    JUDGED,
    Row("leave_one_out", {"num_samples": 2}),
    Row("q_baseline", {"num_samples": 2}),
    Row("q_baseline", {"num_samples": 4}),
)


def batches(number: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One pass over the data, in places of rows."""
    yield from torch.randperm(number, generator=generator).split(BATCH)


def trained(num_experts: int, seed: int) -> Held:
    """A mixture of experts after one epoch, held still."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(StandardScaler().fit_transform(x), dtype=torch.float32)
    y = torch.tensor(y)
    generator = torch.Generator().manual_seed(seed)
    model = MixtureOfExperts(
        x.shape[-1], Categorical(10), num_experts, expert_hidden=[16], generator=generator
    )
    elbo, guide = Treatment_ELBO("jensen"), PriorGuide(model)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for rows in batches(len(x), generator):
        optimiser.zero_grad()
        elbo.differentiable_loss(model, guide, x[rows], y[rows]).backward()
        optimiser.step()
    with torch.no_grad():
        log_p, parameters = model.components(x)
        ell = model.likelihood.distribution(**parameters).log_prob(y)
        return Held(ell, log_p, model.features(x, y))


def estimate(row: Row, joint: Held, state: Any, noise: Noise) -> tuple[Tensor, Any]:
    """One gradient in the logits for each datum, (N, K), and the next state."""
    treatment = TREATMENTS[row.treatment]
    logits = joint.log_p.clone().requires_grad_()
    value, state = treatment.objective(
        joint, logits.log_softmax(-1), treatment.config(**row.options), state, noise
    )
    return torch.autograd.grad(value.sum(), logits)[0], state


def spread(row: Row, joint: Held, state: Any, noise: Noise) -> float:
    """How noisy the gradients are, with a state that is held still too."""
    p, ell = joint.log_p.exp(), joint.ell.T
    exact = p * (ell - (p * ell).sum(-1, keepdim=True))
    off = [(estimate(row, joint, state, noise)[0] - exact).square().sum() for _ in range(CALLS)]
    return math.sqrt(float(sum(off)) / CALLS / float(exact.square().sum()))


def course(row: Row, joint: Held, marks: list[int], seed: int) -> list[float]:
    """How noisy the gradients are after so many passes over the data."""
    if row.centred:
        joint = joint.centred()
    noise, generator = Seeded(seed), torch.Generator().manual_seed(seed)
    treatment = TREATMENTS[row.treatment]
    state = treatment.init(treatment.config(**row.options), joint, joint.log_p, noise)
    if state is None:
        return [spread(row, joint, state, noise)] * len(marks)
    found = []
    for passed in range(1, marks[-1] + 1):
        for rows in batches(len(joint.log_p), generator):
            _, state = estimate(row, joint.at(rows), state, noise)
        if passed in marks:
            found.append(spread(row, joint, state, noise))
    return found


def compare(num_experts: int, marks: list[int], seed: int) -> float:
    """Print the table of so many experts; return what is judged over what is ideal."""
    joint = trained(num_experts, seed)
    entropy = -float(expectation(joint.log_p, joint.log_p.T).mean())
    print(f"\nK = {num_experts}, the gate's entropy {entropy:.2f} nats")
    passes = "".join(f"{f'{mark} passes':>11}" for mark in marks)
    print(f"{'':36}  calls{passes}  of the ideal", flush=True)
    ratios: list[float] = []
    ideal = math.nan
    for row in ROWS:
        spreads = course(row, joint, marks, seed)
        ideal = ideal if ratios else spreads[-1]
        ratios.append(spreads[-1] / ideal)
        treatment = TREATMENTS[row.treatment]
        number = treatment.evaluations(treatment.config(**row.options), num_experts)
        label = " ".join([row.treatment, *map(str, row.options.values())])
        label += ", b = E[ell | x, y]" * row.centred
        figures = "".join(f"{figure:11.3f}" for figure in spreads)
        print(f"{label:36} {number:6d}{figures}  {ratios[-1]:12.3f}", flush=True)
    return ratios[ROWS.index(JUDGED)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=0, help="of the model, the data and the draws")
    parser.add_argument("--passes", type=int, default=60, help="over the data, to learn a baseline")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    marks = sorted({max(1, arguments.passes // part) for part in (12, 3, 1)})
    ratios = {k: compare(k, marks, arguments.seed) for k in (8, 64)}
    print()
    for num_experts, ratio in ratios.items():
        asked = f", at most {LIMIT}" if num_experts == 8 else ""
        print(f"K = {num_experts}: q_baseline / ideal value baseline {ratio:.3f}{asked}")
    sys.exit(ratios[8] > LIMIT)


if __name__ == "__main__":
    main()
