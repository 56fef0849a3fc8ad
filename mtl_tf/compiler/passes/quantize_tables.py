"""After all other passes, where asked for: tables in fewer bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tf.compiler.ir.nodes import Embed, MaskedTable, Weight, lookups_in
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import with_lookups

TYPES = ("float32", "float16", "int8")
_LARGEST_HALF = float(np.finfo(np.float16).max)
_STEPS = 127  # of int8 on each side of zero

Quantized = tuple[Weight, Weight | None]  # a table and the scale of its rows


def quantize_tables(plan: Plan, dtype: str) -> Plan:
    """Returns the plan with its tables rounded to `dtype`. The only pass that changes scores.

    `float16` halves a table. `int8` takes a quarter and 4 bytes a row:

        row ≈ scale · q    with  scale = max |row| / 127,  q = round(row / scale)

    so that no number is off by more than half a scale. A table that several nodes share
    stays shared. Of a masked table, the table that it is computed from is rounded.
    """
    if dtype not in TYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(TYPES)}. Received: {dtype}")
    if dtype == "float32":
        return plan
    quantize = _float16 if dtype == "float16" else _int8
    tables = dict.fromkeys(e.base_table for node in plan.nodes for e in lookups_in(node))
    quantized = {table: quantize(table) for table in tables}

    def rounded(embed: Embed) -> Embed:
        table, scale = quantized[embed.base_table]
        if isinstance(embed.table, MaskedTable):
            return replace(embed, table=replace(embed.table, source=table, scale=scale))
        return replace(embed, table=table, scale=scale)

    return with_lookups(plan, rounded)


def _float16(table: Weight) -> Quantized:
    halves = np.clip(table.array, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    return Weight(halves, str(table)), None


def _int8(table: Weight) -> Quantized:
    array = table.array
    scale = (np.abs(array).max(axis=1, keepdims=True, initial=0.0) / _STEPS).astype(np.float32)
    scale[scale == 0] = 1.0  # of a row of zeros, or of nothing that a float32 can tell from it
    steps = np.clip(np.rint(array.astype(np.float64) / scale), -_STEPS, _STEPS).astype(np.int8)
    return Weight(steps, str(table)), Weight(scale, f"{table}/scale")
