"""After all others, where asked for: tables in fewer bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Array, Embed, MaskedTable, tables_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import with_lookups

TYPES = ("float32", "float16", "int8")
_LARGEST_HALF = float(np.finfo(np.float16).max)
_STEPS = 127  # of int8 on each side of zero

Stored = tuple[Array, Array | None]


def quantize_tables(plan: Plan, dtype: str) -> Plan:
    """The plan with its tables rounded to `dtype`. The only pass that changes scores.

    `float16` halves a table. `int8` takes a quarter and 4 bytes a row:

        row ≈ scale · q    with  scale = max |row| / 127,  q = round(row / scale)

    so that no number is off by more than half a scale. A table that several nodes share
    stays shared. Of a masked table what it is made of is rounded.
    """
    if dtype not in TYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(TYPES)}. Received: {dtype}")
    if dtype == "float32":
        return plan
    store = _halved if dtype == "float16" else _rounded
    embeds = [embed for node in plan.nodes for embed in tables_of(node)]
    arrays = {id(embed.stored): embed.stored for embed in embeds}
    stored = {key: store(array) for key, array in arrays.items()}
    masked = {
        id(table): _masked(table, stored)
        for table in (embed.table for embed in embeds)
        if isinstance(table, MaskedTable)
    }

    def rounded(embed: Embed) -> Embed:
        if isinstance(embed.table, MaskedTable):
            return replace(embed, table=masked[id(embed.table)])
        table, scale = stored[id(embed.table)]
        return replace(embed, table=table, scale=scale)

    return with_lookups(plan, rounded)


def _masked(table: MaskedTable, stored: Mapping[int, Stored]) -> MaskedTable:
    source, scale = stored[id(table.source)]
    return replace(table, source=source, scale=scale)


def _halved(table: Array) -> Stored:
    return np.clip(table, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16), None


def _rounded(table: Array) -> Stored:
    scale = (np.abs(table).max(axis=1, keepdims=True, initial=0.0) / _STEPS).astype(np.float32)
    scale[scale == 0] = 1.0  # of a row of zeros, or of nothing that a float32 can tell from it
    steps = np.rint(table.astype(np.float64) / scale)
    return np.clip(steps, -_STEPS, _STEPS).astype(np.int8), scale
