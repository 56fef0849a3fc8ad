"""Part of pass 7: two linear maps in a row are one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Node, sources_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import as_kept, through, with_edges


def fold_linear(plan: Plan) -> Plan:
    """Takes sums without an activation into the matrices that read them.

        v = Σ_j a_j u_j + b  and  y = act(v M + c)   become   y = act(Σ_j u_j (a_j M) + b M + c)

    So the stitches of Cross-Stitch and Sluice networks and the routed sums of SNR leave.
    There are fewer operations and no fewer multiplications, often more: whether it pays
    is for the caller to find out (`optimize` compares costs).

    A node that an output, a mask, a mixture or an opaque layer reads stays, and so does
    one with a gate (see `fold_gates`) or without edges (see `fold_constants`).
    """
    nodes: dict[str, Node] = {node.name: node for node in plan.nodes}
    names = {name: {reader.name for reader in readers} for name, readers in plan.readers.items()}
    for node in reversed(plan.nodes):  # a sum that a sum reads is folded once that one is
        readers = [nodes[name] for name in names[node.name]]
        if not isinstance(node, Affine) or not _foldable(node, readers):
            continue
        for reader in readers:
            assert isinstance(reader, Affine)
            nodes[reader.name] = _without(reader, node)
        for source in sources_of(node):  # is read by the node's readers in its place
            names[source] = (names[source] | names[node.name]) - {node.name}
        del nodes[node.name]
    return plan if len(nodes) == len(plan.nodes) else plan.with_nodes(nodes.values())


def _foldable(node: Affine, readers: Iterable[Node]) -> bool:
    if node.activation != "linear" or not node.edges or any(e.gate is not None for e in node.edges):
        return False
    readers = list(readers)
    return bool(readers) and all(
        isinstance(reader, Affine)
        and all(edge.is_plain for edge in reader.edges if edge.source == node.name)
        for reader in readers
    )


def _without(reader: Affine, node: Affine) -> Affine:
    edges: list[Edge] = []
    more = np.zeros(reader.width)
    for edge in reader.edges:
        if edge.source != node.name:
            edges.append(edge)
            continue
        more += through(edge, node.bias.astype(np.float64))
        edges += [_composed(first, edge) for first in node.edges]
    return with_edges(reader, _merged(edges), more)


def _composed(first: Edge, then: Edge) -> Edge:
    """`first` into a node, and a matrix `then` out of it, as one edge."""
    weight, matrix = first.weight.astype(np.float64), then.weight.astype(np.float64)
    if weight.ndim == 2:
        whole = as_kept(weight[:, then.start : then.stop] @ matrix, then.weight)
        return Edge(first.source, whole, start=first.start)
    rows = weight[then.start : then.stop, None] if weight.ndim else weight
    return Edge(first.source, as_kept(rows * matrix, then.weight), start=then.start)


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """Matrices on the same units of one source, added up."""
    found: dict[object, Edge] = {}
    for edge in edges:
        same: object = (edge.source, edge.start, edge.weight.shape)
        key = same if edge.is_plain else id(edge)
        known = found.get(key)
        found[key] = (
            edge if known is None else Edge(edge.source, _sum(known, edge), None, edge.start)
        )
    return list(found.values())


def _sum(one: Edge, other: Edge) -> Array:
    return as_kept(one.weight.astype(np.float64) + other.weight, one.weight)
