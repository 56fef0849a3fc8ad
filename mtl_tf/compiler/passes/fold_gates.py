"""Gates become part of the weights; what they close is removed."""

from __future__ import annotations

from mtl_tf.compiler.ir.nodes import Affine, Edge
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.fold_dimension_gates import fold_dimension_gates
from mtl_tf.compiler.passes.rewrite import cast_like, with_edges


def fold_gates(plan: Plan) -> Plan:
    """Multiplies every gate into its edge's weight, and removes the edges that are zero.

    z ⊙ (u·W) = u·(W diag(z)). A unit whose gate is closed becomes a zero column of W,
    which `fuse` omits from the products and `eliminate_dead` from the sources. A gate on a
    dimension of a field becomes part of the rows of its users (see `fold_dimension_gates`).
    """
    plan = fold_dimension_gates(plan)
    return plan.with_nodes(
        with_edges(node, [folded for edge in node.edges if (folded := _folded(edge)).is_open])
        if isinstance(node, Affine)
        else node
        for node in plan.nodes
    )


def _folded(edge: Edge) -> Edge:
    if edge.gate is None:
        return edge
    return Edge(edge.source, cast_like(edge.folded, edge.weight), start=edge.start)
