"""What a function does to tensors, written down as a graph while it runs.

Torch's own `make_fx` does the same and more; loading it takes longer than many a fit.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

aten = torch.ops.aten


def recorded(function: Callable[..., list[Tensor]], arguments: Sequence[Tensor]) -> GraphModule:
    """Return the operations that a function calls on these arguments; it may change them.

    Every node's `meta["form"]` has shape, type and device of the tensor it gives.

    Raises:
        RuntimeError: where the function looks at a value in Python.
        TypeError: where it draws from a generator of its own.
    """
    recorder = _Recorder()
    for i, argument in enumerate(arguments):
        recorder.bind(argument, recorder.graph.placeholder(f"given_{i}"))
    with recorder:
        results = function(*arguments)
    recorder.graph.output([recorder.node(result) for result in results])
    return GraphModule(recorder.root, recorder.graph)


class _Recorder(TorchDispatchMode):
    """Writes down every operation that reaches torch's dispatcher, below gradients and vmap."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.graph, self.root = Graph(), nn.Module()
        self.nodes: Any = WeakTensorKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's own switch: not to load its compiler in order to keep it away from here."""
        return False

    def bind(self, value: Any, node: Node) -> None:
        """Take note of what gave a tensor, or several."""
        if isinstance(value, Tensor):
            node.meta["form"] = tuple(value.shape), value.dtype, value.device
            self.nodes[value] = node
        elif isinstance(value, tuple | list):
            for i, part in enumerate(value):
                self.bind(part, self.graph.call_function(operator.getitem, (node, i)))

    def node(self, value: Any) -> Any:
        """Return the node that gave a tensor, one for a constant where none did."""
        if isinstance(value, torch.Generator):
            raise TypeError("it draws from a generator of its own")
        if not isinstance(value, Tensor):
            return value
        if value not in self.nodes:
            name = f"constant_{len(list(self.root.buffers()))}"
            self.root.register_buffer(name, value.detach())
            self.bind(value, self.graph.create_node("get_attr", name))
        return self.nodes[value]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        # What Python made of numbers is a constant: what changes it must change a copy.
        if func is aten.lift_fresh.default:
            func = aten.lift_fresh_copy.default
        result = func(*args, **kwargs)
        given, named = pytree.tree_map(self.node, (args, kwargs))
        if torch.Tag.data_dependent_output in func.tags:
            if not all(_fixed(n) for n in pytree.tree_leaves((given, named))):
                raise RuntimeError(f"it looks at a value in Python, by {func}")
            return result
        self.bind(result, self.graph.call_function(func, given, named))
        return result


def _fixed(node: Any) -> bool:
    """Whether a node depends on constants alone."""
    if not isinstance(node, Node):
        return True
    return node.op != "placeholder" and all(_fixed(n) for n in node.all_input_nodes)
