"""Functions of tensors as graphs: captured once, run for many members at a time, compiled.

A captured function is the tensor operations that it made, without Python's part; it may change its
arguments in place. Nothing here knows what is computed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyromoe.inference.steps.recording import recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor
    from torch.fx import GraphModule

    Function = Callable[..., list[Tensor]]

PLACE = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that tells inductor where to keep what it compiled."""


def capture(function: Function, arguments: Sequence[Tensor]) -> GraphModule:
    """Return what a function does to tensors like the arguments; they are left alone.

    Raises:
        RuntimeError: or another error, where the function looks at values in Python.
    """
    return _lean(recorded(function, [a.detach().clone() for a in arguments]))


def side_by_side(graph: Function, shared: Sequence[bool]) -> Function:
    """Return a function for R members at once, its arguments and results (R, ...).

    Args:
        graph: for one.
        shared: for each argument, whether it is the same for all members.
    """
    places = tuple(None if s else 0 for s in shared)
    batched = torch.func.vmap(lambda *given: tuple(graph(*given)), in_dims=places)
    return lambda *given: list(batched(*given))


def one_by_one(functions: Sequence[Function], shared: Sequence[bool]) -> Function:
    """Return the same for functions that are not graphs, one for each member; of one it is that."""
    if len(functions) == 1:
        return functions[0]

    def run(*given: Tensor) -> list[Tensor]:
        found = [
            function(*(g if s else g[r] for g, s in zip(given, shared, strict=True)))
            for r, function in enumerate(functions)
        ]
        return [torch.stack(each) for each in zip(*found, strict=True)]

    return run


def compiled(graph: GraphModule, arguments: Sequence[Tensor]) -> Function:
    """Return the graph as machine code, by torch's inductor; it keeps what it made for later runs.

    Inductor is called directly: the guards and wrappers of `torch.compile` take longer than a
    small model's step, and the engine knows already that shapes and types are the same.
    """
    with _cache_in_place(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own parts
        return _compiled(graph, arguments)


def _compiled(graph: GraphModule, arguments: Sequence[Tensor]) -> Function:
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    graph, constants = _lifted(graph)
    arguments = [*arguments, *constants]
    pure = torch.func.functionalize(graph, remove="mutations")
    traced = make_fx(pure, decomposition_table=select_decomp_table(), tracing_mode="fake")
    copies = [a.detach().clone() for a in arguments]
    with torch.no_grad():
        lowered = _lean(traced(*copies))
        with config.patch(size_asserts=False, alignment_asserts=False):
            # Under a tracing context, without which inductor keeps nothing for later runs.
            fake = FakeTensorMode(shape_env=ShapeEnv())
            with tracing(TracingContext(fake)):
                code: Any = compile_fx_inner(lowered, [fake.from_tensor(c) for c in copies])
        code(list(copies))  # what fails, fails here

    def run(*given: Tensor) -> list[Tensor]:
        found: list[Tensor] = code([*given, *constants])
        return found

    return run


def _lifted(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """Return a graph that is given its constants after its arguments, and the constants.

    Inductor takes no tensor that it is not given, those of a prior for instance.
    """
    lifted = torch.fx.Graph()
    lifted.output(lifted.graph_copy(graph.graph, {}))
    last = [n for n in lifted.nodes if n.op == "placeholder"][-1]
    constants = []
    for node in lifted.find_nodes(op="get_attr"):
        # A copy: what was expanded has strides that the code would not expect.
        constants.append(graph.get_buffer(str(node.target)).clone())
        with lifted.inserting_after(last):
            last = lifted.placeholder(f"{node.name}_given")
        node.replace_all_uses_with(last)
        lifted.erase_node(node)
    return torch.fx.GraphModule(graph, lifted), constants


def reason(error: Exception) -> str:
    """Return in a line why something was not captured or compiled."""
    return str(error).strip().split("\n", 1)[0][:200]


def fingerprint(graph: GraphModule, arguments: Sequence[Tensor]) -> str:
    """Return a name for a graph and what it is given, equal in every process."""
    shapes = [(tuple(a.shape), str(a.dtype), str(a.device)) for a in arguments]
    text = f"{torch.__version__} {torch.get_num_threads()} {shapes} {graph.code}"
    return hashlib.sha256(text.encode()).hexdigest()


def cache() -> Path:
    """Return the user's own folder for compiled graphs; $XDG_CACHE_HOME moves it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pyromoe"


def cache_of_torch() -> Path:
    """Return the folder of it that torch's compiler is given."""
    return cache() / "torch"


@contextmanager
def _cache_in_place() -> Iterator[None]:
    """Keep compiled graphs in the user's folder: torch's default lies where all users may write."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    before = os.environ.get(PLACE)
    if before in (None, default_cache_dir()):  # torch sets it to that when it is loaded
        os.environ[PLACE] = str(cache_of_torch())
    try:
        yield
    finally:
        if before is None:
            del os.environ[PLACE]
        else:
            os.environ[PLACE] = before


def _lean(graph: GraphModule) -> GraphModule:
    """Drop what only a gradient needs, and what nothing needs: the graph runs without gradients."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph
