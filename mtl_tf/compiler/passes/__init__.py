"""Rewrites of a plan: each returns a plan with the same scores.

First what gates, masks and unrequested tasks close is removed, then the rest is fused. Each
pass is a function in a file of its own, usable and testable alone; `pipeline.py` has them in
one ordered table. On request follow `split_context`, for requests of one user and many
candidates, and `quantize_tables`, the only one that changes scores: it rounds.
"""

from mtl_tf.compiler.passes.eliminate_dead import eliminate_dead
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_dimension_gates import fold_dimension_gates
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_linear import fold_linear, fold_narrowing
from mtl_tf.compiler.passes.fold_masks import fold_masks
from mtl_tf.compiler.passes.fold_numeric import fold_numeric
from mtl_tf.compiler.passes.fuse import fuse
from mtl_tf.compiler.passes.fuse_mixtures import fuse_mixtures
from mtl_tf.compiler.passes.materialize_masks import materialize_masks
from mtl_tf.compiler.passes.narrow_tables import narrow_tables
from mtl_tf.compiler.passes.project_tables import project_tables
from mtl_tf.compiler.passes.quantize_tables import quantize_tables
from mtl_tf.compiler.passes.select_tasks import select_tasks
from mtl_tf.compiler.passes.split_context import split_context

__all__ = [
    "eliminate_dead",
    "fold_constants",
    "fold_dimension_gates",
    "fold_gates",
    "fold_linear",
    "fold_masks",
    "fold_narrowing",
    "fold_numeric",
    "fuse",
    "fuse_mixtures",
    "materialize_masks",
    "narrow_tables",
    "project_tables",
    "quantize_tables",
    "select_tasks",
    "split_context",
]
