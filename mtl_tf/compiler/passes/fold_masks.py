"""Pass 5: masks into tables; the fields that nothing reads any more leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.activations import mask_weights
from mtl_tf.compiler.ir.nodes import Array, Embed, Mask, MaskedTable, Node, Numeric
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.rewrite import constant, substituted, without_dead

_SMALLEST_BUDGET = 16 << 20  # bytes: what no server notices


def fold_masks(plan: Plan, table_budget: int | None = None) -> Plan:
    """Replaces masks of categorical fields by masked tables, one per reader.

    A mask relu(tanh(g·e)) depends on the row only through the id, so that

        masked_table[id] = relu(tanh(g · table[id])) · table[id]

    is computed once, when the model is loaded: the export is not larger for it. A mask
    that is zero whatever the row holds becomes the constant zero, of bags and numbers too;
    a field that is masked everywhere leaves the plan's features. Masks of bags and numbers
    that are open stay: they depend on more than an id.

    Args:
        plan: a plan as `capture` makes it, one field per node.
        table_budget: bytes of memory that the masked tables may take together, smallest
            first; by default as much as the plan's own tables, and at least 16 MiB.
    """
    budget = max(_SMALLEST_BUDGET, _table_bytes(plan)) if table_budget is None else table_budget
    new: dict[str, Node] = {}
    open_masks: dict[str, list[Mask]] = {}
    for node in plan.nodes:
        if not isinstance(node, Mask):
            continue
        if open_share(node, plan.by_name[node.source]) == 0:
            new[node.name] = constant(node.name, np.zeros(node.width, node.g.dtype))
        else:
            open_masks.setdefault(node.source, []).append(node)
    for source, masks in sorted(open_masks.items(), key=lambda item: _size(plan, item[0])):
        embed = plan.by_name[source]
        if not isinstance(embed, Embed) or not _is_single(embed):
            continue
        table = embed.table
        if isinstance(table, MaskedTable) or table.nbytes * len(masks) > budget:
            continue
        budget -= table.nbytes * len(masks)
        new |= {mask.name: _masked(embed, table, mask) for mask in masks}
    return without_dead(fold_constants(plan.with_nodes(substituted(plan.nodes, new))))


def open_share(mask: Mask, source: Node) -> float | None:
    """Share of a field's ids that the mask lets through, exactly 0 for a closed mask.

    For a number 1 or 0; None where it cannot be known (the mask of something else).
    """
    if isinstance(source, Embed) and len(source.fields) == 1:
        share = float((_weights(source, mask) > 0).mean())
        # A pool of rows with g·e ≤ 0 has it too, unless a weight is negative.
        return share if share or not source.weighted else float(source.stored.any())
    if isinstance(source, Numeric) and len(source.fields) == 1:
        slope, start = source.vectors @ mask.g[0], source.biases @ mask.g[0]
        return float(bool(slope.any() or (start > 0).any()))
    return None


def _weights(embed: Embed, mask: Mask) -> Array:
    return mask_weights(embed.rows(np.arange(len(embed.table))) @ mask.g[0].astype(np.float64))


def _masked(embed: Embed, table: Array, mask: Mask) -> Embed:
    masked = MaskedTable(table, mask.g, starts=(0,), sizes=(len(table),), scale=embed.scale)
    return replace(embed, name=mask.name, table=masked, scale=None)


def _is_single(embed: Embed) -> bool:
    return len(embed.fields) == 1 and embed.pooling is None


def _size(plan: Plan, source: str) -> int:
    node = plan.by_name[source]
    return node.stored.nbytes if isinstance(node, Embed) else 0


def _table_bytes(plan: Plan) -> int:
    tables = {id(node.stored): node.stored for node in plan.nodes if isinstance(node, Embed)}
    return sum(table.nbytes for table in tables.values())
