"""Columns of tables that nothing reads are removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Embed, Mask, MaskedTable, Node, Numeric, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import substituted, without_units

Field = Embed | Numeric


def narrow_tables(plan: Plan) -> Plan:
    """Removes the dimensions of fields that no matrix and no mask has a weight on.

    Fields that share a table keep the columns that one of them needs. A closed gate of a
    dimension is one reason (see `fold_gates`), matrices with rows of zeros are another. Fields
    that anything but matrices, and masks that only matrices read, uses are not changed.
    """
    new: dict[str, Node] = {}
    for members in _by_table(plan):
        keep = np.any([_needed(plan, member) for member in members], axis=0)
        if keep.all() or not keep.any():  # where none is, `eliminate_dead` removes the field
            continue
        first = members[0]
        table = _narrowed_table(first, keep) if isinstance(first, Embed) else None
        for member in members:
            new[member.name] = _narrowed(member, table, keep)
            _narrow_users(plan, new, member, keep)
    return plan.with_nodes(substituted(plan.nodes, new)) if new else plan


def _by_table(plan: Plan) -> Iterable[Sequence[Field]]:
    """Single fields, those of one table together."""
    found: dict[Weight | str, list[Field]] = {}
    whole: set[Weight] = set()  # tables that a node with several fields, or masks, reads
    for node in plan.nodes:
        if isinstance(node, Embed):
            if len(node.fields) > 1 or isinstance(node.table, MaskedTable):
                whole.add(node.base_table)
            else:
                found.setdefault(node.table, []).append(node)
        elif isinstance(node, Numeric) and len(node.fields) == 1:
            found[node.name] = [node]
    return [members for key, members in found.items() if key not in whole]


def _needed(plan: Plan, node: Node) -> Array:
    """True for each unit of a field, or of one mask, that a user has a weight on."""
    needed = np.zeros(node.width, bool)
    for user in plan.users[node.name]:
        if isinstance(user, Affine) and all(e.is_matrix for e in user.edges_from(node.name)):
            for edge in user.edges_from(node.name):
                rows = edge.weight.nonzero_rows if edge.gate is None else edge.folded.any(axis=1)
                needed[edge.start : edge.stop] |= rows
        elif isinstance(user, Mask) and user.dim == node.width and len(user.g) == 1:
            if all(isinstance(each, Affine) for each in plan.users[user.name]):
                needed |= (user.g.array[0] != 0) | _needed(plan, user)
            else:
                needed[:] = True
        else:
            needed[:] = True
        if needed.all():
            break
    return needed


def _narrowed_table(embed: Embed, keep: Array) -> Weight:
    table = embed.table
    assert isinstance(table, Weight)
    return Weight(table.array[:, keep], f"{table}/columns")


def _narrowed(member: Field, table: Weight | None, keep: Array) -> Node:
    if isinstance(member, Numeric):
        vectors, biases = member.vectors.array[:, keep], member.biases.array[:, keep]
        return replace(member, vectors=Weight(vectors), biases=Weight(biases))
    assert table is not None
    return replace(member, table=table)


def _narrow_users(plan: Plan, new: dict[str, Node], node: Node, keep: Array) -> None:
    """Makes the users of a narrowed node read what is left of it."""
    for user in plan.users[node.name]:
        current = new.get(user.name, user)
        if isinstance(current, Affine):
            new[user.name] = without_units(current, node.name, np.zeros(len(keep)), keep)
        elif isinstance(current, Mask):
            new[user.name] = replace(current, g=Weight(current.g.array[:, keep]))
            _narrow_users(plan, new, user, keep)
