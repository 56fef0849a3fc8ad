"""The vectors of numeric fields become part of the matrices that read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Mask, Node, Numeric, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import cast_like, contribution, reads_by_matrices, with_edges


def fold_numeric(plan: Plan) -> Plan:
    """Carries a numeric field as (x, 1), or as x alone, instead of as x·v + b.

    e = x·v + b spans two dimensions only, [v; b], whatever its width: with (x, 1) in
    place of e, a mask's g becomes [v; b]·g and a matrix W becomes [v; b]·W. Readers
    without a mask take b·W into their bias and read x alone.

    Fields that anything but masks and matrices reads stay as they are.
    """
    replacements: dict[str, tuple[Node, ...]] = {}
    edges: dict[str, tuple[str, Array, Array]] = {}  # source -> its new source, basis, constant
    for node in plan.nodes:
        if not isinstance(node, Numeric) or len(node.fields) > 1 or not _foldable(plan, node):
            continue
        readers = plan.users[node.name]
        new: list[Node] = []
        if any(isinstance(reader, Affine) for reader in readers):
            plain = Numeric(f"{node.name}/x", node.fields, _rows(node, [1]), _rows(node, [0]))
            edges[node.name] = (plain.name, node.vectors.array, node.biases.float64()[0])
            new.append(plain)
        masks = [reader for reader in readers if isinstance(reader, Mask)]
        if masks and node.dim > 2:
            new.append(replace(node, vectors=_rows(node, [1, 0]), biases=_rows(node, [0, 1])))
            basis = np.concatenate([node.vectors.array, node.biases.array])
            for mask in masks:
                g = cast_like(mask.g.float64() @ basis.T.astype(np.float64), mask.g)
                replacements[mask.name] = (replace(mask, g=g),)
                edges[mask.name] = (mask.name, basis, np.zeros(basis.shape[1]))
        elif masks:
            new.append(node)
        replacements[node.name] = tuple(new)
    nodes = [new for node in plan.nodes for new in replacements.get(node.name, (node,))]
    return plan.with_nodes(
        _rebased(node, edges) if isinstance(node, Affine) else node for node in nodes
    )


def _rows(node: Numeric, values: list[float]) -> Weight:
    return Weight(np.array([values], node.vectors.dtype))


def _foldable(plan: Plan, node: Numeric) -> bool:
    """True if only matrices read the field, or a mask of it."""
    names = {node.name}
    names |= {reader.name for reader in plan.users[node.name] if isinstance(reader, Mask)}
    for name in names:
        for reader in plan.users[name]:
            if reader.name not in names and not reads_by_matrices(reader, name):
                return False
    return node.dim > 1 or bool(node.biases.any()) or bool((node.vectors.array != 1).any())


def _rebased(node: Affine, bases: dict[str, tuple[str, Array, Array]]) -> Affine:
    edges, more = [], np.zeros(node.width)
    for edge in node.edges:
        if edge.source in bases:
            source, basis, start = bases[edge.source]
            more += contribution(edge, start)
            weight = basis.astype(np.float64) @ edge.weight.float64()
            edge = Edge(source, cast_like(weight, edge.weight), edge.gate)
        edges.append(edge)
    return with_edges(node, edges, more)
