"""Pass 5: masks into tables; the fields that nothing reads any more leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tf.inference.interpret import mask_weights
from mtl_tf.inference.nodes import Array, Embed, Mask, Node, Numeric
from mtl_tf.inference.passes._edges import as_kept, constant, substituted
from mtl_tf.inference.passes.fold_constants import fold_constants
from mtl_tf.inference.plan import Plan

_SMALLEST_BUDGET = 16 << 20  # bytes: what no server notices


def fold_masks(plan: Plan, table_budget: int | None = None) -> Plan:
    """Replaces masks of categorical fields by masked tables, one per reader.

    A mask relu(tanh(g·e)) depends on the row only through the id, so that

        masked_table[id] = relu(tanh(g · table[id])) · table[id]

    is computed here, once. A mask that is zero whatever the row holds becomes the
    constant zero, of bags and numbers too; a field that is masked everywhere leaves
    the plan's features. Masks of bags and numbers that are open stay: they depend on
    more than an id.

    Args:
        plan: a plan as `capture` makes it, one field per node.
        table_budget: bytes that the masked tables may take together, smallest tables
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
        needed_bytes = embed.table.nbytes * len(masks)
        if needed_bytes > budget:
            continue
        budget -= needed_bytes
        new |= {mask.name: _masked(embed, mask) for mask in masks}
    plan = plan.with_nodes(substituted(plan.nodes, new))
    plan = fold_constants(plan)
    needed = plan.needed(output.name for output in plan.outputs)
    return plan.with_nodes(node for node in plan.nodes if node.name in needed)


def open_share(mask: Mask, source: Node) -> float | None:
    """Share of a field's ids that the mask lets through, exactly 0 for a closed mask.

    For a number 1 or 0; None where it cannot be known (the mask of something else).
    """
    if isinstance(source, Embed) and len(source.fields) == 1:
        share = float((_weights(source, mask) > 0).mean())
        # A pool of rows with g·e ≤ 0 has it too, unless a weight is negative.
        return share if share or not source.weighted else float(source.table.any())
    if isinstance(source, Numeric) and len(source.fields) == 1:
        slope, start = source.vectors @ mask.g[0], source.biases @ mask.g[0]
        return float(bool(slope.any() or (start > 0).any()))
    return None


def _weights(embed: Embed, mask: Mask) -> Array:
    return mask_weights(embed.table.astype(np.float64) @ mask.g[0].astype(np.float64))


def _masked(embed: Embed, mask: Mask) -> Embed:
    table = as_kept(embed.table * _weights(embed, mask)[:, None], embed.table)
    return replace(embed, name=mask.name, table=table)


def _is_single(embed: Embed) -> bool:
    return len(embed.fields) == 1 and embed.pooling is None


def _size(plan: Plan, source: str) -> int:
    node = plan.by_name[source]
    return node.table.nbytes if isinstance(node, Embed) else 0


def _table_bytes(plan: Plan) -> int:
    tables = {id(node.table): node.table for node in plan.nodes if isinstance(node, Embed)}
    return sum(table.nbytes for table in tables.values())
