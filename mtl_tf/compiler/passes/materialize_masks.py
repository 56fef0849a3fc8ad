"""After fusing: masked tables that are smaller stored than made when a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Array, Embed, MaskedTable, tables_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import as_kept, with_lookups

_GRAPH = 6 << 10  # bytes of a graph that make one table


def materialize_masks(plan: Plan) -> Plan:
    """Replaces masked tables by their rows where these take no more bytes on disk.

    That is so where each field has one open reader or two, or few ids. A table that some
    node reads without a mask is stored anyway: what is made of it then saves all its rows.
    """
    embeds = [embed for node in plan.nodes for embed in tables_of(node)]
    masked = {id(e.table): e.table for e in embeds if isinstance(e.table, MaskedTable)}
    needed = {id(e.table) for e in embeds}
    by_source: dict[int, list[MaskedTable]] = {}
    for table in masked.values():
        by_source.setdefault(id(table.source), []).append(table)
    stored = {
        id(table): as_kept(table.rows(np.arange(len(table))), table.source)
        for source, tables in by_source.items()
        if _smaller_stored(tables, source in needed)
        for table in tables
    }
    return with_lookups(plan, lambda embed: _stored(embed, stored)) if stored else plan


def _smaller_stored(tables: list[MaskedTable], source_is_needed: bool) -> bool:
    source = 0 if source_is_needed else tables[0].source.size
    rows = sum(len(table) * table.shape[1] for table in tables)
    return 4 * rows <= 4 * source + _GRAPH * len(tables)


def _stored(embed: Embed, stored: Mapping[int, Array]) -> Embed:
    table = stored.get(id(embed.table))
    return embed if table is None else replace(embed, table=table)
