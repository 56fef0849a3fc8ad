"""Removes nodes and units that nothing reads, and units that read nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.nodes import Affine, Array, Node, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import remove_dead_nodes, with_edges, without_units


def eliminate_dead(plan: Plan) -> Plan:
    """Removes dead nodes and units, to the fixpoint.

    A unit of an `Affine` is removed when no user has a weight on it; so is a unit that has
    no weight on any source: it is a constant, which becomes part of its users' bias. Both
    need users that read through matrices; a unit that a diagonal, a mask, a mixture or an
    opaque layer reads is kept.
    """
    while True:
        plan, changed = _drop_units(_drop_nodes(plan))
        if not changed:
            return plan


def _drop_nodes(plan: Plan) -> Plan:
    # An edge without weight reads nothing.
    nodes = [
        with_edges(node, [edge for edge in node.edges if edge.is_open])
        if isinstance(node, Affine)
        else node
        for node in plan.nodes
    ]
    return remove_dead_nodes(plan.with_nodes(nodes))


def _drop_units(plan: Plan) -> tuple[Plan, bool]:
    # From the outputs down: a removed unit may have been a source's only user.
    nodes = {node.name: node for node in plan.nodes}
    changed = False
    for name in reversed(list(nodes)):
        node = nodes[name]
        readers = [nodes[reader.name] for reader in plan.users[name]]
        if not isinstance(node, Affine) or not _free(node, readers):
            continue
        fixed, keep = _fixed_units(node), _read_units(node, readers)
        keep &= ~fixed
        if keep.all():
            continue
        changed = True
        value = np.where(fixed, ACTIVATIONS[node.activation](node.bias.float64()), 0.0)
        for reader in readers:
            assert isinstance(reader, Affine)
            nodes[reader.name] = without_units(reader, name, value, keep)
        nodes[name] = _narrowed(node, keep)
    return plan.with_nodes(nodes.values()), changed


def _free(node: Affine, readers: Iterable[Node]) -> bool:
    """True if units may be removed: matrices on every side, no output among the users."""
    edges = list(node.edges)
    for reader in readers:
        if not isinstance(reader, Affine):
            return False
        edges += reader.edges_from(node.name)
    return all(edge.is_matrix for edge in edges)


def _fixed_units(node: Affine) -> Array:
    """Units that no source changes."""
    fixed = np.ones(node.width, bool)
    for edge in node.edges:
        fixed &= ~edge.folded.any(axis=0)
    return fixed


def _read_units(node: Affine, readers: Iterable[Node]) -> Array:
    read = np.zeros(node.width, bool)
    for reader in readers:
        assert isinstance(reader, Affine)
        for edge in reader.edges_from(node.name):
            read[edge.start : edge.stop] |= edge.folded.any(axis=1)
    return read


def _narrowed(node: Affine, keep: Array) -> Affine:
    edges = tuple(
        replace(
            edge,
            weight=Weight(edge.weight.array[:, keep]),
            gate=Weight(edge.gate.array[keep]) if edge.gate and edge.gate.ndim else edge.gate,
        )
        for edge in node.edges
    )
    return replace(node, edges=edges, bias=Weight(node.bias.array[keep]))
