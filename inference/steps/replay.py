"""A captured graph as straight code, without what need not be computed anew at every call.

The operations that stay are the same, in the same order, and give the same bits.
"""

from __future__ import annotations

import re
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph import CodeGen
from torch.fx.node import map_arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

aten = torch.ops.aten
SWAPS = (aten.transpose.int, aten.permute.default)
NEUTRAL = {aten.mul.Tensor: 1.0, aten.div.Tensor: 1.0, aten.add.Tensor: 0.0}
"""Operations that leave their first argument as it is where the second is this number."""
OPERATION = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)")


class _ByName(CodeGen):
    """Code in which every operation has a name: looking it up takes as long as a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, Any] = {}
        self._body_transformer = lambda body: [OPERATION.sub(self._name, line) for line in body]

    def _name(self, found: re.Match[str]) -> str:
        operation: Any = reduce(getattr, found.groups(), torch.ops)
        # In a partial: what is torch's own is given no name.
        self.names[name := "_".join(found.groups())] = partial(operation)
        return name

    def additional_globals(self) -> list[tuple[str, Any]]:
        return list(self.names.items())


def replayed(graph: GraphModule) -> Callable[..., list[Tensor]]:
    """Return a function that does what a captured graph does, in less time."""
    shorter = Graph()
    shorter.output(shorter.graph_copy(graph.graph, {}))
    constants = _simplify(shorter)
    shorter.set_codegen(_ByName())
    run = GraphModule(graph, shorter).forward  # without a module's hooks

    def replay(*given: Tensor) -> list[Tensor]:
        found: list[Tensor] = run(*given, *constants)
        return found

    return replay


def _simplify(graph: Graph) -> list[Tensor]:
    """Shorten a graph; return the values of the placeholders that were added to its own.

    It ends at the first operation that changes its argument, as those of the optimiser do.
    """
    written, known = _written(graph), dict[Node, "Tensor"]()
    seen: dict[object, Node] = {}
    for node in list(graph.nodes):
        if _writes(node):
            break
        if node.op != "call_function" or node in written or _by_chance(node):
            continue
        same = _same(node)
        value = _constant(node, known) if same is None else None
        if value is not None:
            known[node] = value
            continue
        same = same or seen.setdefault((node.target, str(node.args), str(node.kwargs)), node)
        if same is not node:
            node.replace_all_uses_with(same)
    constants = [n for n in known if any(u not in known for u in n.users)]
    with graph.inserting_after([n for n in graph.nodes if n.op == "placeholder"][-1]):
        for node in reversed(constants):
            node.replace_all_uses_with(graph.placeholder(f"{node.name}_known"))
    graph.eliminate_dead_code()
    return [known[n] for n in constants]


def _same(node: Node) -> Node | None:
    """Return the node that an operation gives back as it is."""
    before, *rest = node.args or (None,)
    if not isinstance(before, Node):
        return None
    if node.target in (aten.view.default, aten.expand.default):
        return before if _form(node) == _form(before) else None
    if node.target in NEUTRAL and rest == [NEUTRAL[node.target]]:
        return before if _form(node) == _form(before) else None
    if node.target in SWAPS and before.target in SWAPS:
        inner, outer = _order(before), _order(node)
        back = [inner[i] for i in outer] == [*range(len(inner))]
        return before.all_input_nodes[0] if back else None
    return None


def _constant(node: Node, known: dict[Node, Tensor]) -> Tensor | None:
    """Return what an operation gives at every call, where that is one tensor."""
    if any(user.op == "output" for user in node.users):
        return None
    form = _form(node)
    if node.target is aten.ones_like.default and form is not None and form[0] == ():
        return torch.ones((), dtype=form[1], device=form[2])
    if form is None or not all(n in known for n in node.all_input_nodes):
        return None
    args, kwargs = map_arg((list(node.args), dict(node.kwargs)), known.__getitem__)
    operation: Any = node.target
    with torch.no_grad():
        value: Tensor = operation(*args, **kwargs)
    return value


def _form(node: Node) -> tuple[tuple[int, ...], torch.dtype, torch.device] | None:
    """Return shape, type and device of what a node gives, where that is one tensor."""
    return node.meta.get("form")


def _order(node: Node) -> list[int]:
    """Return the dimensions of the argument in the order of a swap's result."""
    size = len(node.meta["form"][0])
    rest: Any = node.args[1:]
    if node.target is aten.permute.default:
        return [d % size for d in rest[0]]
    order, (a, b) = [*range(size)], rest
    order[a], order[b] = order[b], order[a]
    return order


def _by_chance(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _writes(node: Node) -> list[Node]:
    """Return the arguments that an operation changes."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    found: list[Node] = []
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs
    for argument in schema.arguments:
        if argument.is_write and argument.name in given:
            map_arg(given[argument.name], found.append)
    return found


def _written(graph: Graph) -> set[Node]:
    """Return what is changed after it was computed, and all that it may be a view of."""
    found: set[Node] = set()
    left = [n for node in graph.nodes for n in _writes(node)]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left.extend(node.all_input_nodes)
    return found
