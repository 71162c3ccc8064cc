"""One process and several take the same steps, to the bit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from problems import asks_for, problem
from ranks import SPEC, asked, in_a_fresh_process
from torch import Tensor

from pyromoe.guides import Seeded
from pyromoe.inference import TREATMENTS, Processes, ShardedStep, Shards, Step, Treatment_ELBO, fit
from pyromoe.inference.distributed.shards import SMALL, key
from pyromoe.inference.fitting.evaluation import Evaluation
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.fitting.restarts import start
from pyromoe.models import InputError, parse_spec
from pyromoe.models.data.data import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyromoe.inference.treatments import Treatment

EAGER = ["fit.mode=eager", "fit.epochs=1", "fit.shards=2"]
NAMED = ["enumerate", "leave_one_out", "gumbel_softmax", "straight_through_gumbel_softmax"]


def totals(number: int, size: int, vectors: Sequence[Tensor]) -> list[Tensor]:
    """The totals of so many shards in each of so many processes, which are threads of this one."""
    board, wait = dict[int, Tensor](), threading.Barrier(size, timeout=30)
    found = dict[int, Tensor]()

    class Pretended(Processes):
        def gather(self, tensor: Tensor) -> list[Tensor]:
            board[self.rank] = tensor
            wait.wait()
            each = [board[r] for r in range(self.size)]
            wait.wait()
            return each

        def exchange(self, parts: Tensor) -> Tensor:
            return torch.stack([each[self.rank] for each in self.gather(parts)])

    def run(rank: int) -> None:
        shards = Shards(number, Pretended(rank, size))
        found[rank] = shards.total(vectors[shards.mine.start : shards.mine.stop])

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[rank] for rank in range(size)]


@pytest.mark.parametrize("length", [5, SMALL + 3])
@pytest.mark.parametrize(("number", "size"), [(8, 2), (8, 4), (8, 8), (8, 3), (6, 4), (7, 5)])
def test_a_total_has_the_same_bits_in_any_number_of_processes(
    length: int, number: int, size: int
) -> None:
    vectors = list(torch.randn(number, length, dtype=torch.float32))
    (alone,) = totals(number, 1, vectors)
    assert all(torch.equal(alone, found) for found in totals(number, size, vectors))
    torch.testing.assert_close(alone, torch.stack(vectors).sum(0), rtol=1e-5, atol=1e-5)


def test_what_each_process_adds_up_first_would_differ() -> None:
    """The control: summing what each of three processes has is another order."""
    vectors = torch.randn(8, 1000, dtype=torch.float32)
    parts = [vectors[:2].sum(0), vectors[2:5].sum(0), vectors[5:].sum(0)]
    (alone,) = totals(8, 1, list(vectors))
    assert not torch.equal(alone, sum(parts[1:], parts[0]))


def test_more_processes_than_shards_are_refused() -> None:
    with pytest.raises(InputError, match="2 shards for 3 processes"):
        Shards(2, Processes(0, 3))


def test_seeds_of_shards_differ() -> None:
    seeds = {key(base, step, s) for base in range(4) for step in range(50) for s in range(8)}
    assert len(seeds) == 1600


EXACT = [t for t in TREATMENTS.values() if not asks_for(t.name, t.objectives[0]) and t.unbiased]


@pytest.mark.parametrize("treatment", EXACT, ids=lambda treatment: treatment.name)
def test_shards_of_an_exact_gradient_make_the_step_of_the_whole_batch(
    treatment: Treatment[Any],
) -> None:
    """To rounding; a shard left out would show."""

    def end(number: int) -> Tensor:
        p = problem(num_data=21)
        given = Treatment_ELBO(treatment.name), p.model, p.guide(treatment.objectives[0])
        step = ShardedStep(*given, shards=Shards(number)) if number > 1 else Step(*given)
        for _ in range(4):
            step(p.x, p.y, 21, learning_rate=0.05)
        return step.values

    for number in (3, 8):
        torch.testing.assert_close(end(number), end(1), rtol=1e-10, atol=1e-10)


def test_one_process_and_several_end_in_the_same_bits() -> None:
    """Every treatment in Python, those named in the issue of a fit as graphs too.

    Of the 188 rows the last batch has four, so that some shards are empty.
    """
    ways = [[f"treatment={name}", *EAGER] for name in TREATMENTS]
    ways += [[f"treatment={name}", "fit.restarts=2", "fit.batch_size=184"] for name in NAMED]
    ways += [
        ["treatment=reinforce", "fit.batch_size=full", "guide.weights=mean_field"],
        ["treatment=leave_one_out", "fit.early_stopping={}", "fit.optimiser=sgd"],
        ["fit.shards=6", "experts.kind=mlp", "experts.dropout=0.2"],
        ["data.stream={buffer: 90}", "treatment=gumbel_softmax", "fit.batch_size=40"],
    ]
    found = asked([(size, way) for way in ways for size in (1, 2)])
    found += asked([(4, way) for way in ways[len(TREATMENTS) :]])
    for i, way in enumerate(ways):
        each = {f for prints in found[2 * i : 2 * i + 2] for f in prints}
        if i >= len(TREATMENTS):
            each |= {*found[2 * len(ways) + i - len(TREATMENTS)]}
        assert len(each) == 1, way


def test_shards_and_steps_have_noise_of_their_own() -> None:
    """The same rows in every shard: with the same noise they would make the step of one."""
    p, treatment = problem(num_data=2), "reinforce"
    repeated = p.x.repeat(8, 1), p.y.repeat(8)

    def step_over(x: Tensor, y: Tensor, number: int, rate: float) -> tuple[ShardedStep, Tensor]:
        copy = problem(num_data=2)
        elbo = Treatment_ELBO(treatment, noise=Seeded(3))
        guide = copy.guide("jensen")
        step = ShardedStep(elbo, copy.model, guide, shards=Shards(number), optimiser="sgd")
        return step, step(x, y, len(x), learning_rate=rate) / len(x)

    one, _ = step_over(p.x, p.y, 1, 0.1)
    eight, _ = step_over(*repeated, 8, 0.1 / 8)
    assert not torch.allclose(one.values, eight.values)
    still, first = step_over(*repeated, 8, 0.0)
    assert not torch.isclose(first, still(*repeated, 16, learning_rate=0.0) / 16)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("rows", [21, 2])
def test_what_shards_are_evaluated_to_is_that_of_all_rows(number: int, rows: int) -> None:
    """Of several members too; of two rows some shards have none."""
    spec = parse_spec(SPEC, "engel.yaml", ["fit.precision=float64"])
    plan, data = make_plan(spec), load(spec)
    made = [start(plan, data, r) for r in range(number)]
    members = [(elbo, restart.model, restart.guide) for restart, elbo, _ in made]
    step = Step(*members[0], beside=members[1:])
    x, y = (t[:rows] for t in to_tensors(data.train, plan.spec))
    expected, of_all = Evaluation(step.members)(step.values, x, y)
    totals, shares = Evaluation(step.members, Shards(5))(step.values, x, y)
    assert totals == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(shares, of_all, rtol=1e-12, atol=1e-12)


def test_more_shards_than_rows_of_a_batch_are_refused() -> None:
    spec = parse_spec(SPEC, "engel.yaml", ["fit.batch_size=4"])
    with pytest.raises(
        InputError, match="8 shards of a batch that has 4 rows; set it to 4 or fewer"
    ):
        fit(spec)


def test_what_is_maximised_exactly_is_found_by_each_process_alone() -> None:
    way = ["fit.optimiser=lbfgs", "fit.restarts=2"]
    alone, together = asked([(1, way), (2, way)])
    assert {*alone} == {*together}


def test_the_number_of_shards_is_part_of_the_result() -> None:
    """The control: what could differ does."""
    found = asked([(1, [f"fit.shards={number}"]) for number in (1, 2, 8)])
    assert len({one for (one,) in found}) == 3


def test_a_fit_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    way = ["treatment=leave_one_out", "fit.restarts=2", "fit.epochs=5"]
    calls = [["stopped", 2, way, str(tmp_path), 3], ["stopped", 1, way, str(tmp_path), 2]]
    calls += [["fingerprints", 4, way, str(tmp_path)], ["fingerprints", 1, way]]
    first, second, *ends = in_a_fresh_process(calls)
    assert first == ["stopped"] * 2  # all of them, though one was asked
    assert second == ["stopped"]
    assert {*ends[0]} == {*ends[1]}


def test_a_budget_of_time_ends_in_all_at_once() -> None:
    (found,) = in_a_fresh_process([["timed", 2, 1.0]])
    assert found[0] == found[1]


def test_a_process_with_other_data_is_named() -> None:
    (found,) = in_a_fresh_process([["with_other_data", 3]])
    assert all("process 2 has other data than process 0" in each for each in found)


def test_a_process_without_its_data_is_named() -> None:
    (found,) = in_a_fresh_process([["without_data", 3]])
    assert all("absent.csv" in each for each in found)
    assert all("process 1" in found[rank] for rank in (0, 2))
