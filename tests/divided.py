"""One of several processes with a bank of experts divided over them, beside one with all of it.

    python divided.py RANK PROCESSES FOLDER

Writes FOLDER/RANK.json: how far the numbers of this process are from those of a model in one piece.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist

from pyromoe.guides import AmortisedGuide, PointGuide, PriorGuide, Seeded, WeightedGuide
from pyromoe.guides.noise import FromRaw
from pyromoe.inference import Processes, Treatment_ELBO, fit
from pyromoe.inference.distributed.shared_checkpoints import SharedCheckpoints
from pyromoe.inference.files.signals import Stopped
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import MixtureOfExperts, Networks, parse_spec
from pyromoe.models.divided_networks import DividedNetworks, divided_sites
from pyromoe.models.likelihoods import Normal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor

    from pyromoe.inference.fitting.events import Log
    from pyromoe.models.priors import Kind

ROWS = 37
STEPS = 6


@dataclass
class Case:
    """What is fitted: K experts with priors of a kind, or none, by a treatment."""

    treatment: str
    number: int
    hidden: tuple[int, ...] = ()
    prior: Kind | None = None
    shared: tuple[int, ...] = ()
    shared_intercept: bool = False
    samples: int | None = None


SPEC = """
data: {dataset: diabetes}
likelihood: {family: normal}
experts: {number: 6}
fit: {expert_parallel: true, optimiser: adam, precision: float64, epochs: 2, restarts: 1,
      batch_size: 90, checkpoint_seconds: 0}
"""
SHARED = ["experts.shared=[age, bmi]", "experts.intercept=shared"]
PAIRS = ("enumerate", "leave_one_out", "gumbel_softmax", "straight_through_gumbel_softmax")
CASES = {
    **{f"{name}, linear": Case(name, 8) for name in PAIRS},
    **{f"{name}, deep": Case(name, 6, (5,), "normal") for name in (*PAIRS, "rebar", "vimco")},
    "few chosen": Case("leave_one_out", 48, (5,), samples=2),
    "few chosen, linear": Case("leave_one_out", 30, prior="laplace", samples=2),
    "horseshoe": Case("enumerate", 7, prior="horseshoe"),
    "shared": Case("enumerate", 6, prior="normal", shared=(1,), shared_intercept=True),
}


class OfRows(FromRaw):
    """The noise of some rows, cut from that of all of them."""

    def __init__(self, seed: int, rows: slice) -> None:
        self.source, self.rows = Seeded(seed), rows

    def raw(self, kind: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
        place = 2 if kind == "uniform" and len(shape) == 3 else int(kind == "normal")
        whole = [ROWS if i == place else size for i, size in enumerate(shape)]
        return self.source.raw(kind, tuple(whole), like)[(*[slice(None)] * place, self.rows)]


class Fitted:
    """A model, its guide and Adam, over the rows of a process or over all."""

    def __init__(self, case: Case, rows: slice, bank: Any) -> None:
        generator = torch.Generator().manual_seed(1)
        self.model = MixtureOfExperts(
            3,
            Normal(case.number),
            case.number,
            expert_hidden=case.hidden,
            expert_shared=case.shared,
            shared_intercept=case.shared_intercept,
            bank=bank,
            generator=generator,
        )
        places = self.model.experts.place_prior
        starts = {} if case.prior is None else places(2.0, case.prior)
        points = PointGuide({f"experts.{n}": v for n, v in starts.items()})
        latent: PriorGuide | None = None
        if "marginal" not in TREATMENTS[case.treatment].objectives:
            latent = AmortisedGuide(self.model, [4], generator)
            # At first q is p, and gradients of the gate are 0 but for rounding, which Adam scales.
            for parameter in latent.parameters():
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        if "jensen" in TREATMENTS[case.treatment].objectives and case.number == 8:
            latent = PriorGuide(self.model)
        guide = WeightedGuide(points, latent)
        options: dict[str, Any] = {} if case.samples is None else {"num_samples": case.samples}
        self.elbo = Treatment_ELBO(case.treatment, noise=OfRows(2, rows), **options)
        self.module, self.rows = self.elbo(self.model, guide), rows
        by_name = dict(self.model.named_parameters()) | points.tensors()
        self.named = by_name | {f"z.{n}": p for n, p in guide.named_parameters() if "latent" in n}
        self.adam = torch.optim.Adam(self.named.values(), lr=0.01)
        self.divided = divided_sites(self.model)

    def gradient(self, x: Tensor, y: Tensor, *, forget: str = "") -> float:
        """Return the loss over all rows after one pass through the rows of this process."""
        self.adam.zero_grad(set_to_none=False)
        own = x[self.rows], y[self.rows]
        loss = self.module(*own, ROWS) * len(own[0]) / ROWS
        loss.backward()
        total = loss.detach()
        if self.divided:
            dist.all_reduce(total)
        for name, parameter in self.named.items():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if self.divided and name not in self.divided and not (forget and forget in name):
                dist.all_reduce(parameter.grad)
        return float(total)


def apart(one: Fitted, own: Fitted, what: str) -> float:
    """Return the largest difference of parameters or gradients from those of one process."""
    found, held = [], own.model.experts.held
    for name, parameter in own.named.items():
        ours, theirs = parameter, one.named[name]
        if what == "grad":
            assert ours.grad is not None
            assert theirs.grad is not None
            ours, theirs = ours.grad, theirs.grad
        if name in own.divided:
            theirs = theirs[held.start : held.stop]
        assert ours.shape == theirs.shape, name
        found.append(float((ours - theirs).detach().abs().max()))
    return max(found)


def largest(fitted: Fitted) -> float:
    """Return the largest of all gradients."""
    return max(float(p.grad.abs().max()) for p in fitted.named.values() if p.grad is not None)


def held(fitted: Fitted, divided: Collection[str], *, common: bool = False) -> int:
    """Return the bytes of parameters, gradients and moments of the experts.

    Args:
        fitted: what is fitted.
        divided: the names of what processes divide.
        common: whether only what all experts have in common counts.
    """
    total = 0
    for name, parameter in fitted.named.items():
        if name.startswith("experts.") and (not common or name not in divided):
            moments = [v for k, v in fitted.adam.state[parameter].items() if k.startswith("exp")]
            assert parameter.grad is not None
            total += sum(t.nbytes for t in (parameter, parameter.grad, *moments))
    return total


def compare(case: Case, rows: slice, forget: str = "") -> dict[str, Any]:
    """Return differences from one process, and the bytes of the bank of both."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(*shape, generator=generator) for shape in ((ROWS, 3), (ROWS,)))
    one, own = Fitted(case, slice(None), Networks), Fitted(case, rows, DividedNetworks)
    found: dict[str, Any] = {"start": apart(one, own, "value")}
    for step in range(STEPS):
        losses = [one.gradient(x, y), own.gradient(x, y, forget=forget)]
        if step == 0:
            found["loss"] = abs(losses[0] - losses[1]) / abs(losses[0])
            found["gradient"] = apart(one, own, "grad")
            found["largest"] = largest(one)
        one.adam.step()
        own.adam.step()
    found["end"] = apart(one, own, "value")
    found["moved"] = apart(Fitted(case, slice(None), Networks), own, "value")
    found["bytes"] = [held(fitted, own.divided) for fitted in (one, own)]
    found["common"] = held(own, own.divided, common=True)
    found["share"] = len(own.model.experts.held)
    if case.prior is None:
        whole = own.model.experts.whole()
        assert (whole is not None) == (dist.get_rank() == 0)
        reference = one.model.experts.state_dict()
        parts = [] if whole is None else [(whole[n] - reference[n]).abs().max() for n in reference]
        found["whole"] = max(map(float, parts), default=0.0)
    return found


def uneven(rank: int) -> dict[str, float]:
    """Return differences where process 0 alone has rows, and asks in another way than others."""
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    z = torch.tensor([[1, 7, 3, 3, 0]])
    seed = torch.Generator().manual_seed
    one = Networks(8, [3, 4, 2], generator=seed(0))
    own = DividedNetworks(8, [3, 4, 2], generator=seed(0))
    found, mine = dict[str, float](), slice(5 if rank == 0 else 0)
    for name in ("all", "chosen", "mixed", "waited for"):
        for bank in (one, own):
            bank.zero_grad()
        ours, part = x[mine].requires_grad_(), own.layers()
        whole = x.clone().requires_grad_()
        if name == "waited for":
            found[name] = waited(own, x, rank)
            continue
        of_all = name == "all" or (name == "mixed" and rank > 0)
        out = own(ours, part) if of_all else own.of_chosen(ours, z[:, mine], part)
        reference = one(whole) if name == "all" else one.of_chosen(whole, z, one.layers())
        out.square().sum().backward()
        reference.square().sum().backward()
        apart = [reference - out if rank == 0 else out.sum()]
        assert ours.grad is not None
        assert whole.grad is not None
        apart += [whole.grad[mine] - ours.grad] if rank == 0 else []
        for (_, p), (_, q) in zip(own.named_parameters(), one.named_parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            apart.append(p.grad - q.grad[own.held.start : own.held.stop])
        found[name] = max(float(t.detach().abs().max()) for t in apart if t.numel())
    return found


def waited(own: DividedNetworks, x: Tensor, rank: int) -> float:
    """Return the difference where a process asks twice more than the one before it."""
    with torch.no_grad():
        layers, z = own.layers(), torch.zeros(1, len(x)).long()
        found = [own(x, layers)[0] - own.of_chosen(x, z, layers)[0] for _ in range(rank)]
        own.wait(layers)
        return max((float(each.abs().max()) for each in found), default=0.0)


FITS = {
    "leave_one_out": ["fit.shards=8"],
    "straight_through_gumbel_softmax": ["experts.kind=mlp", "experts.hidden=[4]", "fit.shards=8"],
    # Fewer shards in some processes than in others, and none with rows in some steps.
    "gumbel_softmax": ["fit.batch_size=117", "fit.shards=5", "fit.restarts=2", *SHARED],
    "enumerate": [
        "fit.shards=5",
        "priors.experts.kind=horseshoe",
        "fit.early_stopping={patience: 9}",
    ],
}


def fits_of(processes: int) -> list[str]:
    """Return the treatments with which so many processes make a fit."""
    return [*FITS] if processes == 2 else ["leave_one_out", "gumbel_softmax"]


def fitted(name: str, folder: Path, processes: Processes) -> dict[str, Any]:
    """Return how far a fit by all processes is from one by this alone, in process 0."""
    settings = [f"treatment={name}", *FITS[name]]
    spec = parse_spec(SPEC, "diabetes.yaml", settings)
    checkpoints = SharedCheckpoints(folder / name, processes)
    if name == "leave_one_out":  # it ends in the middle, and goes on
        with suppress(Stopped):
            fit(spec, checkpoints=checkpoints, log=stop_at(5), processes=processes)
        checkpoints = SharedCheckpoints(folder / name, processes)
    found = fit(spec, checkpoints=checkpoints, processes=processes)
    said = {"log_likelihood": found.metrics["log_likelihood"], "mode": found.metrics["mode"]}
    if not processes.first:
        with pytest.raises(RuntimeError, match="process 0 has put these experts together"):
            found.gate(torch.zeros(1, 10))
        return said
    one = fit(spec)
    pairs = zip(found.tensors().items(), one.tensors().items(), strict=True)
    said["apart"] = max(float((p - q).abs().max()) for (_, p), (_, q) in pairs)
    return said | {"one": one.metrics["log_likelihood"], "names": list(found.tensors())}


def stop_at(step: int) -> Log:
    """Return a log that stops a fit where it has saved so many steps."""

    def log(event: str, /, **values: Any) -> None:
        if event == "checkpoint" and values["step"] == step:
            raise Stopped(15)

    return log


def refused() -> dict[str, str]:
    """Return what is said of banks that cannot be divided."""
    said = {}
    makes: dict[str, Callable[[], object]] = {
        "dropout": partial(DividedNetworks, 8, [3, 4, 2], dropout=0.5),
        "number": partial(DividedNetworks, 1, [3, 2]),
        "prior": lambda: DividedNetworks(8, [3, 2]).place_prior(1.0, "hierarchical"),
    }
    for name, make in makes.items():
        try:
            make()
        except ValueError as error:
            said[name] = str(error)
    return said


def main(rank: int, processes: int, folder: Path) -> None:
    """Run every case."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        f"file://{folder / 'store'}",
        timedelta(seconds=30),
        world_size=processes,
        rank=rank,
    )
    ends = [0, *[3 + r * ROWS // processes for r in range(1, processes)], ROWS]  # unequal
    rows = slice(ends[rank], ends[rank + 1])
    found: dict[str, Any] = {name: compare(case, rows) for name, case in sorted(CASES.items())}
    found["forgotten"] = compare(CASES["gumbel_softmax, linear"], rows, forget="gate")
    everyone = Processes(rank, processes, launched=True)
    found["fits"] = {name: fitted(name, folder, everyone) for name in fits_of(processes)}
    found["uneven"], found["refused"] = uneven(rank), refused()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
