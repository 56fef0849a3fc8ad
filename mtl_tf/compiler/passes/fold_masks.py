"""Masks become part of the tables; fields that nothing reads are removed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.mask_share import MaskShares, mask_shares
from mtl_tf.compiler.ir.nodes import Embed, Mask, MaskedTable, Node
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.rewrite import constant, remove_dead_nodes, substituted

_BUDGET = 16 << 20  # bytes that no server notices
_NEAR = 1 << 20  # bytes in a core's cache: finding rows farther away takes as long as masking


MaskedLookups = dict[tuple[Embed, Mask], Embed]
"""A lookup and its mask -> what replaces them, so that the plans of single tasks share it."""


def fold_masks(
    plan: Plan,
    table_budget: int | None = None,
    shares: MaskShares | None = None,
    masked_lookups: MaskedLookups | None = None,
) -> Plan:
    """Replaces masks of categorical fields by masked tables, one per reader.

    A mask relu(tanh(g·e)) depends on the row only through the id, so that

        masked_table[id] = relu(tanh(g · table[id])) · table[id]

    is computed once, when the model is loaded: the export is not larger for it. A mask
    that is zero whatever the row holds becomes the constant zero, for multivalued and
    numeric fields too; a field that is masked everywhere is removed from the plan's
    features. Open masks of multivalued and numeric fields are kept: they depend on more
    than an id.

    Args:
        plan: a plan from `capture`, one field per node.
        table_budget: bytes of memory that the masked tables may take together, smallest
            first. By default 16 MiB; if not all fit in, only fields of up to 1 MiB each: masks
            of larger ones are as fast per request, and the model loads sooner.
        shares: what `mask_shares` returns for these masks, where it is known already.
        masked_lookups: lookups made for other tasks of the same model; new ones are noted.
    """
    budget = _BUDGET if table_budget is None else table_budget
    shares = mask_shares(plan) if shares is None else shares
    known = {} if masked_lookups is None else masked_lookups
    new: dict[str, Node] = {}
    open_masks: dict[str, list[Mask]] = {}
    for node in plan.nodes:
        if not isinstance(node, Mask):
            continue
        if shares[node.name] == 0:
            new[node.name] = constant(node.name, np.zeros(node.width, node.g.dtype))
        else:
            open_masks.setdefault(node.source, []).append(node)
    single = {
        source: embed
        for source in sorted(open_masks, key=lambda source: _size(plan, source))
        if isinstance(embed := plan.by_name[source], Embed) and _is_single(embed)
        if not isinstance(embed.table, MaskedTable)
    }
    sizes = {source: e.table.nbytes * len(open_masks[source]) for source, e in single.items()}
    if table_budget is None and sum(sizes.values()) > budget:
        sizes = {source: size for source, size in sizes.items() if size <= _NEAR}
    for source, size in sizes.items():
        if size <= budget:
            budget -= size
            embed = single[source]
            for mask in open_masks[source]:
                if (embed, mask) not in known:
                    known[embed, mask] = _masked(embed, mask)
                new[mask.name] = known[embed, mask]
    return remove_dead_nodes(fold_constants(plan.with_nodes(substituted(plan.nodes, new))))


def _masked(embed: Embed, mask: Mask) -> Embed:
    table = embed.base_table
    masked = MaskedTable(table, mask.g, starts=(0,), sizes=(len(table),), scale=embed.scale)
    return replace(embed, name=mask.name, table=masked, scale=None)


def _is_single(embed: Embed) -> bool:
    return len(embed.fields) == 1 and embed.pooling is None


def _size(plan: Plan, source: str) -> int:
    node = plan.by_name[source]
    return node.base_table.nbytes if isinstance(node, Embed) else 0
