"""Many small products become few wide ones."""

from __future__ import annotations

from collections.abc import Collection

from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.fuse_affines import fuse_affines
from mtl_tf.compiler.passes.fuse_inputs import FusedTables, fuse_inputs


def fuse(
    plan: Plan,
    batch: int = 64,
    context: Collection[str] = (),
    fused_tables: FusedTables | None = None,
) -> Plan:
    """Fuses fields into one lookup per width, and units of one level into wide products.

    Units of one level and activation that read the same sources become one node,
    whichever sub-networks they came from; so a unit whose gate closed a connection is
    not multiplied by zeros. Groups with different sources are fused, zeros included,
    where that is cheaper than another operation for a batch of `batch` rows.

    Gates must be folded before (`fold_gates`); a node with a gate is not changed. The
    fields `context` come first in every lookup. Tables that were copied into one before are
    taken from `fused_tables`, which notes new ones.
    """
    return fuse_affines(fuse_inputs(plan, context, fused_tables), batch)
