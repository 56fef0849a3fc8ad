"""After fusing: masked tables that are smaller stored than computed when a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Embed, MaskedTable, Weight, lookups_in
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import cast_like, with_lookups

_GRAPH = 6 << 10  # bytes of a graph that computes one table


def materialize_masks(plan: Plan) -> Plan:
    """Replaces masked tables by their rows where these take no more bytes on disk.

    That is so where each field has one open reader or two, or few ids. A table that some
    node reads without a mask is stored anyway: a table computed from it then saves all its
    rows.
    """
    embeds = [embed for node in plan.nodes for embed in lookups_in(node)]
    masked = dict.fromkeys(e.table for e in embeds if isinstance(e.table, MaskedTable))
    needed = {embed.table for embed in embeds}
    by_source: dict[Weight, list[MaskedTable]] = {}
    for table in masked:
        by_source.setdefault(table.source, []).append(table)
    stored = {
        table: _rows_of(table, f"{source}/masked#{index}")
        for source, tables in by_source.items()
        if _smaller_stored(tables, source in needed)
        for index, table in enumerate(tables, start=1)
    }
    return with_lookups(plan, lambda embed: _replaced(embed, stored)) if stored else plan


def _rows_of(table: MaskedTable, name: str) -> Weight:
    return cast_like(table.rows(np.arange(len(table))), table.source).named(name)


def _smaller_stored(tables: list[MaskedTable], source_is_needed: bool) -> bool:
    source = 0 if source_is_needed else tables[0].source.size
    rows = sum(len(table) * table.shape[1] for table in tables)
    return 4 * rows <= 4 * source + _GRAPH * len(tables)


def _replaced(embed: Embed, stored: Mapping[MaskedTable, Weight]) -> Embed:
    if not isinstance(embed.table, MaskedTable) or embed.table not in stored:
        return embed
    return replace(embed, table=stored[embed.table])
