"""Two linear maps in a row become one: always into a narrower one, else where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Edge, Node, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import cast_like, contribution, with_edges


def fold_linear(plan: Plan) -> Plan:
    """Folds sums without an activation into the matrices that read them.

        v = Σ_j a_j u_j + b  and  y = act(v M + c)   become   y = act(Σ_j u_j (a_j M) + b M + c)

    That removes the stitches of Cross-Stitch and Sluice networks and the routed sums of SNR.
    There are fewer operations and no fewer multiplications, often more: the caller finds
    out if it pays (`optimize` compares costs).

    A node that an output, a mask, a mixture or an opaque layer reads is kept, and so is
    one with a gate (see `fold_gates`) or without edges (see `fold_constants`).
    """
    return _fold(plan, _foldable)


def fold_narrowing(plan: Plan) -> Plan:
    """Folds sums without an activation into the only sum that reads them, if it is not wider.

    That removes the scale of a regression task's value, and never adds a multiplication.
    """
    return _fold(plan, lambda node, readers: _foldable(node, readers) and _narrows(node, readers))


def _fold(plan: Plan, foldable: Callable[[Affine, Sequence[Node]], bool]) -> Plan:
    nodes: dict[str, Node] = {node.name: node for node in plan.nodes}
    users = {name: dict.fromkeys(u.name for u in found) for name, found in plan.users.items()}
    for node in reversed(plan.nodes):  # a sum that a sum reads is folded once that one is
        readers = [nodes[name] for name in users[node.name]]
        if not isinstance(node, Affine) or not foldable(node, readers):
            continue
        for reader in readers:
            assert isinstance(reader, Affine)
            nodes[reader.name] = _without(reader, node)
        for source in node.inputs:
            del users[source][node.name]
            users[source] |= users[node.name]
        del nodes[node.name]
    return plan if len(nodes) == len(plan.nodes) else plan.with_nodes(nodes.values())


def _foldable(node: Affine, readers: Sequence[Node]) -> bool:
    if node.activation != "linear" or not node.edges or any(e.gate is not None for e in node.edges):
        return False
    return bool(readers) and all(
        isinstance(reader, Affine) and all(edge.is_plain for edge in reader.edges_from(node.name))
        for reader in readers
    )


def _narrows(node: Affine, readers: Sequence[Node]) -> bool:
    plain = all(edge.is_plain for edge in node.edges)
    return plain and len(readers) == 1 and readers[0].width <= node.width


def _without(reader: Affine, node: Affine) -> Affine:
    edges: list[Edge] = []
    more = np.zeros(reader.width)
    for edge in reader.edges:
        if edge.source != node.name:
            edges.append(edge)
            continue
        more += contribution(edge, node.bias.float64())
        edges += [_composed(first, edge) for first in node.edges]
    return with_edges(reader, _merged(edges), more)


def _composed(first: Edge, then: Edge) -> Edge:
    """`first` into a node, and a matrix `then` out of it, as one edge."""
    weight, matrix = first.weight.float64(), then.weight.float64()
    if weight.ndim == 2:
        whole = cast_like(weight[:, then.start : then.stop] @ matrix, then.weight)
        return Edge(first.source, whole, start=first.start)
    rows = weight[then.start : then.stop, None] if weight.ndim else weight
    return Edge(first.source, cast_like(rows * matrix, then.weight), start=then.start)


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """Matrices on the same units of one source, added up."""
    found: dict[object, Edge] = {}
    for index, edge in enumerate(edges):
        same: object = (edge.source, edge.start, edge.weight.shape)
        key = same if edge.is_plain else index
        known = found.get(key)
        found[key] = (
            edge if known is None else Edge(edge.source, _sum(known, edge), None, edge.start)
        )
    return list(found.values())


def _sum(one: Edge, other: Edge) -> Weight:
    return cast_like(one.weight.float64() + other.weight.array, one.weight)
