"""What is the same for every row becomes part of its users' bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mtl_tf.compiler.ir.activations import ACTIVATIONS, mask_weights
from mtl_tf.compiler.ir.interpreter import evaluate
from mtl_tf.compiler.ir.nodes import (
    Affine,
    Array,
    Embed,
    Mask,
    Mixture,
    Node,
    Numeric,
    Output,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import constant, contribution, is_constant, with_edges
from mtl_tf.errors import UserError


def fold_constants(plan: Plan) -> Plan:
    """Adds constant nodes to their users' bias, as far as possible.

    Constant are: an `Affine` without edges; a field whose ids all have one row, or
    whose numbers have no slope; a `Mask` or `Mixture` of constants. A task whose
    score no feature reaches reads nothing, which is a `UserError` that names it.
    """
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in plan.nodes:
        if isinstance(node, Affine):
            node = _absorb(node, constants)
        value = _constant_value(node, constants)
        if value is not None:
            constants[node.name] = value
            if not is_constant(node):
                node = constant(node.name, value)
        nodes.append(node)
    _require_inputs(nodes)
    read = {source for node in nodes for source in node.inputs}
    return plan.with_nodes(
        node for node in nodes if node.name in read or node.name not in constants
    )


def _absorb(node: Affine, constants: Mapping[str, Array]) -> Affine:
    absorbed = [edge for edge in node.edges if edge.source in constants]
    if not absorbed:
        return node
    more = sum(contribution(edge, constants[edge.source]) for edge in absorbed)
    rest = [edge for edge in node.edges if edge.source not in constants]
    return with_edges(node, rest, more)


def _constant_value(node: Node, constants: Mapping[str, Array]) -> Array | None:
    if isinstance(node, Affine) and not node.edges:
        return ACTIVATIONS[node.activation](node.bias.float64())
    if isinstance(node, Embed):
        return _of_table(node)
    if isinstance(node, Numeric) and not node.vectors.any():
        return node.biases.float64().reshape(-1)
    if isinstance(node, Mask) and node.source in constants:
        pieces = constants[node.source].reshape(-1, node.dim)[list(node.pieces)]
        return (pieces * mask_weights((pieces * node.g.array).sum(axis=1))[:, None]).reshape(-1)
    if isinstance(node, Mixture) and constants.keys() >= {*node.inputs}:
        known = [constant(name, constants[name]) for name in node.inputs]
        return evaluate([*known, node], {})[node.name][0]
    return None


def _of_table(node: Embed) -> Array | None:
    if len(node.fields) > 1:
        return None
    if node.pooling is not None:
        return None if node.base_table.any() else np.zeros(node.dim)
    if not len(node.table) or node.table.has_different_rows:
        return None
    rows = node.rows(np.arange(1 if node.scale is None else len(node.table)))
    return rows[0] if (rows == rows[0]).all() else None


def _require_inputs(nodes: list[Node]) -> None:
    reached: set[str] = set()  # by a feature, maybe through a layer that nothing folds
    for node in nodes:
        sources = node.inputs
        if isinstance(node, Output) and not reached.issuperset(sources):
            raise UserError(
                f"task `{node.task}` reads nothing: every field or connection that leads to it "
                "is closed. Train with a lower penalty on gates or masks, or leave the task out."
            )
        if node.features or not reached.isdisjoint(sources):
            reached.add(node.name)
