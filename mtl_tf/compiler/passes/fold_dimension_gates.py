"""Gates on the dimensions of a field become part of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Embed, Mask, Node, Numeric
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import cast_like


def fold_dimension_gates(plan: Plan) -> Plan:
    """Folds factors of the dimensions of a field, or of a masked one, into the users' weights.

        (z ⊙ e)·W = e·(diag(z) W)        g·(z ⊙ e) = (g ⊙ z)·e

    The users then read the field itself. A dimension whose gate is closed becomes a zero row
    of every matrix, and a zero of every mask's g, so that `narrow_tables` can remove its
    column. A gate is kept if anything but matrices reads it, or the mask behind it.
    """
    while True:  # a mask behind one gate may have another behind it
        nodes: dict[str, Node] = {node.name: node for node in plan.nodes}
        for node in plan.nodes:
            if isinstance(node, Affine) and _is_field_gate(plan, node) and _reads_rows(plan, node):
                _fold(plan, nodes, node)
        if len(nodes) == len(plan.nodes):
            return plan
        plan = plan.with_nodes(nodes.values())


def _is_field_gate(plan: Plan, node: Affine) -> bool:
    """True for z ⊙ e, e being the vector of a field, with or without masks and other gates."""
    if len(node.edges) != 1 or node.edges[0].is_matrix:
        return False
    if node.activation != "linear" or node.bias.any():
        return False
    source = plan.by_name[node.edges[0].source]
    if isinstance(source, Affine):
        return _is_field_gate(plan, source)
    return isinstance(source, (Embed, Numeric, Mask))


def _reads_rows(plan: Plan, node: Node) -> bool:
    """True if only matrices, and masks that only matrices read, use the node."""
    return all(
        all(edge.is_matrix for edge in user.edges_from(node.name))
        if isinstance(user, Affine)
        else isinstance(user, Mask) and _reads_rows(plan, user)
        for user in plan.users[node.name]
    )


def _fold(plan: Plan, nodes: dict[str, Node], gate: Affine) -> None:
    """Removes `gate` from `nodes`: its users read the gate's source, and have its factors."""
    source, factors = gate.edges[0].source, np.broadcast_to(gate.edges[0].folded, gate.width)
    for user in plan.users[gate.name]:
        if isinstance(user, Mask):
            g = factors.reshape(-1, user.dim)[list(user.pieces)]
            mask = nodes[user.name]
            assert isinstance(mask, Mask)
            nodes[user.name] = replace(mask, source=source, g=cast_like(mask.g.array * g, mask.g))
            _scale_rows(nodes, plan.users[user.name], user.name, user.name, g.reshape(-1))
    _scale_rows(nodes, plan.users[gate.name], gate.name, source, factors)
    del nodes[gate.name]


def _scale_rows(
    nodes: dict[str, Node], users: Iterable[Node], old: str, new: str, factors: Array
) -> None:
    """Makes the matrices on `old` read `new`, each row times the factor of its unit."""
    for user in users:
        node = nodes[user.name]
        if isinstance(node, Affine):
            edges = (
                _scaled(edge, new, factors) if edge.source == old else edge for edge in node.edges
            )
            nodes[user.name] = replace(node, edges=tuple(edges))


def _scaled(edge: Edge, source: str, factors: Array) -> Edge:
    rows = factors[edge.start : edge.stop, None]
    return replace(edge, source=source, weight=cast_like(edge.weight.array * rows, edge.weight))
