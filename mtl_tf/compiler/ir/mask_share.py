"""How much of a field each mask lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mtl_tf.compiler.ir.nodes import Embed, Mask, Node, Numeric
from mtl_tf.compiler.ir.plan import Plan

MaskShares = Mapping[str, float | None]
"""Mask -> the share of its field's ids that it lets through; see `mask_shares`."""

_CHUNK = 1 << 16  # rows of a table that are in float64 at once


def mask_shares(plan: Plan) -> MaskShares:
    """Returns how much each mask of a plan lets through; every table is read once.

    That is the share of the field's ids, exactly 0 for a mask that is closed whatever the
    row holds. For a numeric field it is 1 or 0. None where it cannot be known (the mask of
    several fields).
    """
    by_source: dict[str, list[Mask]] = {}
    for node in plan.nodes:
        if isinstance(node, Mask):
            by_source.setdefault(node.source, []).append(node)
    return {
        mask.name: share
        for source, masks in by_source.items()
        for mask, share in zip(masks, _shares(plan.by_name[source], masks), strict=True)
    }


def _shares(source: Node, masks: Sequence[Mask]) -> list[float | None]:
    g = np.array([mask.g.array[0] for mask in masks], np.float64)
    if isinstance(source, Embed) and len(source.fields) == 1:
        open_rows = np.zeros(len(masks), int)
        for first in range(0, len(source.table), _CHUNK):
            rows = source.rows(np.arange(first, min(first + _CHUNK, len(source.table))))
            open_rows += (rows @ g.T > 0).sum(axis=0)
        shares = (open_rows / len(source.table)).tolist()
        # A pool of rows with g·e ≤ 0 is open too, unless a weight is negative.
        pool = float(source.base_table.any()) if source.weighted else 0.0
        return [share or pool for share in shares]
    if isinstance(source, Numeric) and len(source.fields) == 1:
        slope, start = source.vectors.float64() @ g.T, source.biases.float64() @ g.T
        return ((slope != 0) | (start > 0))[0].astype(float).tolist()
    return [None] * len(masks)
