"""Small rewrites that several passes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Array,
    Edge,
    Embed,
    Mix,
    Node,
    Output,
    Place,
    Projected,
    sources_of,
)
from mtl_tf.compiler.ir.plan import Plan


def with_edges(node: Affine, edges: Iterable[Edge], more_bias: Array | float = 0.0) -> Affine:
    """`node` with other edges, and with `more_bias` added to its bias."""
    return replace(node, edges=tuple(edges), bias=as_kept(node.bias + more_bias, node.bias))


def constant(name: str, value: Array) -> Affine:
    """A node that is `value` in every row."""
    return Affine(name, (), value)


def is_constant(node: Node) -> bool:
    return isinstance(node, Affine) and not node.edges


def as_kept(result: Array, like: Array) -> Array:
    """`result` in the precision that weights were given in: folding adds no memory."""
    return np.asarray(result).astype(like.dtype, copy=False)


def through(edge: Edge, value: Array) -> Array:
    """What the constant `value` of the edge's source adds to its reader."""
    weight = edge.folded.astype(np.float64)
    return value[edge.start : edge.stop] @ weight if weight.ndim == 2 else value * weight


def reads_by_matrices(reader: Node, source: str) -> bool:
    """Whether `reader` reads `source` through matrices only, from its first unit on."""
    return isinstance(reader, Affine) and all(
        edge.weight.ndim == 2 and edge.start == 0 for edge in reader.edges if edge.source == source
    )


def is_movable(plan: Plan, node: Affine) -> bool:
    """Whether the node's units may go anywhere: plain matrices before and behind.

    What a `Mix` reads has to stay in one piece.
    """
    edges = [*node.edges]
    for reader in plan.readers[node.name]:
        if isinstance(reader, Affine):
            edges += [edge for edge in reader.edges if edge.source == node.name]
        elif not isinstance(reader, (Mix, Output)):
            return False
    return all(edge.is_plain for edge in edges)


def at_places(node: Mix | Output, place: Callable[[str, int], Place]) -> Mix | Output:
    """`node` reading each source and unit where `place` says that it is now."""
    if isinstance(node, Mix):
        experts, gates = (tuple(place(*p) for p in each) for each in (node.experts, node.gates))
        return replace(node, experts=experts, gates=gates)
    (source, unit), *times = (place(*factor) for factor in node.factors)
    return replace(node, source=source, unit=unit, times=tuple(times))


def reading(node: Node, place: Callable[[str, int], Place]) -> Node:
    """`node` reading what moved where `place` says that it is now; what a diagonal reads stays."""
    if isinstance(node, (Mix, Output)):
        return at_places(node, place)
    if isinstance(node, Affine):
        return replace(node, edges=tuple(_moved(edge, place) for edge in node.edges))
    return node


def _moved(edge: Edge, place: Callable[[str, int], Place]) -> Edge:
    if edge.weight.ndim != 2:
        return edge
    source, start = place(edge.source, edge.start)
    return replace(edge, source=source, start=start)


def levels(plan: Plan) -> list[list[Node]]:
    """The nodes by their depth: each reads nodes of lower levels only."""
    depths: dict[str, int] = {}
    found: dict[int, list[Node]] = {}
    for node in plan.nodes:
        depth = 1 + max((depths[source] for source in sources_of(node)), default=0)
        depths[node.name] = depth
        found.setdefault(depth, []).append(node)
    return [found[depth] for depth in sorted(found)]


def without_dead(plan: Plan) -> Plan:
    """The plan without nodes that no output depends on."""
    needed = plan.needed(output.name for output in plan.outputs)
    return plan.with_nodes(node for node in plan.nodes if node.name in needed)


def with_lookups(plan: Plan, change: Callable[[Embed], Embed]) -> Plan:
    """The plan with every lookup changed, those of projected rows too."""
    nodes: list[Node] = []
    for node in plan.nodes:
        if isinstance(node, Projected):
            blocks = (replace(block, embed=change(block.embed)) for block in node.blocks)
            node = replace(node, blocks=tuple(blocks))
        nodes.append(change(node) if isinstance(node, Embed) else node)
    return plan.with_nodes(nodes)


def substituted(nodes: Iterable[Node], new: Mapping[str, Node]) -> list[Node]:
    """`nodes`, those that `new` names replaced."""
    return [new.get(node.name, node) for node in nodes]


def joined_name(names: Sequence[str]) -> str:
    """`Level_1/0+1+2` for three nodes of one level."""
    first, *others = names
    prefix = first.rpartition("/")[0] + "/"
    return "+".join([first, *(name.removeprefix(prefix) for name in others)])


def packed(plan: Plan) -> Plan:
    """Each affine's matrices as rows of one array, which the graph keeps once.

    A plan made of parts of this one (`split_context`) then shares the array.
    """
    packed = (_packed(node) if isinstance(node, Affine) else node for node in plan.nodes)
    return plan.with_nodes(packed)


def _packed(node: Affine) -> Affine:
    matrices = [edge for edge in node.edges if edge.is_plain]
    if len(matrices) < 2:
        return node
    whole = np.concatenate([edge.weight for edge in matrices])
    stops = np.cumsum([len(edge.weight) for edge in matrices])
    views = {
        id(edge): replace(edge, weight=whole[stop - len(edge.weight) : stop])
        for edge, stop in zip(matrices, stops, strict=True)
    }
    return replace(node, edges=tuple(views.get(id(edge), edge) for edge in node.edges))
