"""Fits by several processes on one machine: torch is imported once, then each process is a fork.

Run as a program, it makes the fits that a JSON list on its standard input asks for, and prints what
came out of them. It is a process of its own, so that nothing is forked that has threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parent.parent
BOUND = timedelta(seconds=60)
SPEC = """
data: {dataset: engel}
likelihood: {family: normal}
experts: {number: 3, mix: parameters}
fit: {epochs: 2, restarts: 1, batch_size: 90, shards: 8}
"""

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.inference import Processes


def together(size: int, function: Callable[[Processes], Any]) -> list[Any]:
    """Return what a function gave in each of W processes, as JSON holds it."""
    with tempfile.TemporaryDirectory() as folder:
        children = [_forked(rank, size, Path(folder), function) for rank in range(size)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0] * size, codes
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(size)]


def _forked(rank: int, size: int, folder: Path, function: Callable[[Processes], Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        from torch import distributed as dist

        from pyromoe.inference import Processes

        if size > 1:
            url = f"file://{folder}/store"
            dist.init_process_group("gloo", url, rank=rank, world_size=size, timeout=BOUND)
        found = function(Processes(rank, size, launched=True))
        (folder / f"{rank}.json").write_text(json.dumps(found))
        if size > 1:
            dist.destroy_process_group()
        code = 0
    except BaseException as error:  # a fork must not go on with the tests
        print(f"process {rank}: {error!r}", file=sys.stderr, flush=True)
    finally:
        with suppress(BrokenPipeError):
            sys.stderr.flush()
        os._exit(code)


def fingerprints(size: int, settings: Sequence[str], folder: str | None = None) -> list[str]:
    """Return the SHA-256 of the parameters that each process ends with."""
    from pyromoe.inference import fit
    from pyromoe.inference.distributed.shared_checkpoints import SharedCheckpoints
    from pyromoe.models import parse_spec

    spec = parse_spec(SPEC, "engel.yaml", settings)

    def run(processes: Processes) -> str:
        kept = None if folder is None else SharedCheckpoints(Path(folder), processes)
        return fit(spec, processes=processes, checkpoints=kept).fingerprint()

    return together(size, run)


def stopped(size: int, settings: Sequence[str], folder: str, after: int) -> list[str]:
    """Stop a fit after so many steps by a signal to the last process alone; say who stopped."""
    from pyromoe.inference import fit
    from pyromoe.inference.distributed.shared_checkpoints import SharedCheckpoints
    from pyromoe.inference.files.signals import Stopped
    from pyromoe.models import parse_spec

    spec = parse_spec(SPEC, "engel.yaml", settings)

    def run(processes: Processes) -> str:
        kept = SharedCheckpoints(Path(folder), processes)
        if processes.rank == size - 1:
            _signal_after(kept, after)
        try:
            fit(spec, processes=processes, checkpoints=kept)
        except Stopped:
            return "stopped"
        return "ended"

    return together(size, run)


def timed(size: int, seconds: float) -> list[str]:
    """Return the fingerprints of a fit that ends by time."""
    from pyromoe.inference import Budget, fit
    from pyromoe.models import parse_spec

    spec, budget = parse_spec(SPEC, "engel.yaml"), Budget("seconds", seconds)
    return together(size, lambda p: fit(spec, processes=p, budget=budget).fingerprint())


def streamed(size: int, text: str, settings: Sequence[str], apart: bool = False) -> list[Any]:
    """Return what each process learns, ends with and reads of a stream, or the error that it says.

    Args:
        size: how many processes.
        text: the spec, in which RANK stands for the number of the process.
        settings: of it.
        apart: whether each reads all rows first, as if it were alone.
    """
    from unittest.mock import patch

    from pyromoe.inference import fit
    from pyromoe.inference.distributed.readers import ReadingProcesses
    from pyromoe.inference.fitting.recognised import digest
    from pyromoe.models import InputError, parse_spec
    from pyromoe.models.data.data import load
    from pyromoe.models.tables.parquet_blocks import ParquetBlocks
    from pyromoe.models.tables.readers import ALONE
    from pyromoe.models.tables.sample import Sample

    rows, before = [0], ParquetBlocks.read

    def counted(self: Any, block: int, start: int, stop: int, names: Any) -> Any:
        for found in before(self, block, start, stop, names):
            rows[0] += found.table.num_rows
            yield found

    def run(processes: Processes) -> Any:
        patch("pyromoe.models.tables.parquet_blocks.PIECE", 40).start()
        patch.object(ParquetBlocks, "read", counted).start()
        patch.object(Sample.__init__, "__defaults__", (60,)).start()
        file = parse_spec(text.replace("RANK", str(processes.rank)), "s.yaml", settings)
        try:
            data = load(file, readers=ALONE if apart else ReadingProcesses(processes))
            first, rows[0] = rows[0], 0
            found = fit(file, data=data, processes=processes)
        except InputError as error:
            return str(error)
        names = ("log_likelihood", "n", "rmse", "accuracy", "bic", "icl", "effective_experts")
        metrics = {name: found.metrics[name] for name in names if name in found.metrics}
        same = [digest(data), repr(data.encoding), found.fingerprint(), metrics]
        return {"same": same, "rows": [first, rows[0]]}

    return together(size, run)


def divided_stream(size: int, text: str, settings: Sequence[str]) -> list[Any]:
    """Return the tensors and metrics of a fit, in process 0; of others the metrics.

    Process 0 lets the others wait on after every piece of the rows.
    """
    from unittest.mock import patch

    import torch

    from pyromoe.inference import fit
    from pyromoe.models import parse_spec

    file = parse_spec(text, "s.yaml", settings)

    def run(processes: Processes) -> Any:
        torch.set_default_dtype(torch.float64)
        patch("pyromoe.inference.distributed.readers.EVERY", 0.0).start()
        patch("pyromoe.models.tables.parquet_blocks.PIECE", 40).start()
        found = fit(file, processes=processes)
        tensors = found.tensors() if processes.first else {}
        names = ("log_likelihood", "n", "bic", "icl", "mode")
        return {
            "tensors": {name: value.flatten().tolist() for name, value in tensors.items()},
            "metrics": {name: found.metrics[name] for name in names},
        }

    return together(size, run)


def with_other_data(size: int) -> list[str]:
    """Return what processes say of which the last has other rows."""

    def rows(processes: Processes) -> dict[str, list[float]]:
        last = processes.rank == size - 1
        return {"x": [float(i) for i in range(30)], "y": [float(i + last) ** 2 for i in range(30)]}

    return _refused(size, rows, "{response: y}")


def without_data(size: int) -> list[str]:
    """Return what processes say of which process 1 does not see the file."""
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            rows = "\n".join(f"{i},{i * i}" for i in range(30))
            (Path(folder) / f"{rank}.csv").write_text(f"x,y\n{rows}\n")
        names = ["0.csv", "absent.csv", "0.csv"]
        return _refused(size, lambda p: None, "{file: NAME, response: y}", Path(folder), names)


def _refused(
    size: int,
    table: Callable[[Processes], Any],
    data: str,
    folder: Path = ROOT,
    names: Sequence[str] = ("", "", ""),
) -> list[str]:
    from pyromoe.inference import fit
    from pyromoe.models import InputError, parse_spec

    def run(processes: Processes) -> str:
        text = f"{{data: {data}, likelihood: {{family: normal}}, experts: {{number: 2}}}}"
        name = str(folder / names[processes.rank])
        spec = parse_spec(text.replace("NAME", name), str(folder / "spec.yaml"))
        try:
            fit(spec, table(processes), processes=processes)
        except InputError as error:
            return str(error)
        return "taken"

    return together(size, run)


def _signal_after(checkpoints: Any, steps: int) -> None:
    """Let a signal come after so many steps."""
    signals, left = checkpoints.signals, [steps]

    class Coming(type(signals)):  # type: ignore[misc]
        @property
        def came(self) -> int | None:
            left[0] -= 1
            return None if left[0] >= 0 else 15

        @came.setter
        def came(self, value: int | None) -> None:
            pass

    signals.__class__ = Coming


def asked(work: Sequence[tuple[int, Sequence[str]]]) -> list[list[str]]:
    """Return the fingerprints of fits, each by its number of processes with its settings."""
    calls = [["fingerprints", size, list(given)] for size, given in work]
    return [[str(one) for one in each] for each in in_a_fresh_process(calls)]


def in_a_fresh_process(calls: Sequence[Sequence[Any]], seconds: float = 170) -> Any:
    """Return what functions of this module give, called in turn in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps([globals()[name](*given) for name, *given in json.load(sys.stdin)]))
