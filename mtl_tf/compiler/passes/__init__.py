"""Rewrites of a plan: each takes a plan and gives one with the same scores.

Gates, masks and tasks go first (1-5), then what is left is made fast (6, 7). Each pass
is a function of its own file, usable and testable alone. After them come `store_masked`,
which says what is stored and what is made at load, `split_sides`, for requests of one user
and many candidates, and `store_tables`, which alone changes scores: it rounds.
"""

from mtl_tf.compiler.passes.eliminate_dead import drop_unread
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_linear import fold_linear
from mtl_tf.compiler.passes.fold_masks import fold_masks
from mtl_tf.compiler.passes.fold_numeric import fold_numbers
from mtl_tf.compiler.passes.fuse import fuse
from mtl_tf.compiler.passes.fuse_mixtures import join_mixtures
from mtl_tf.compiler.passes.select_tasks import keep_tasks
from mtl_tf.compiler.passes.project_tables import project_tables
from mtl_tf.compiler.passes.split_context import split_sides
from mtl_tf.compiler.passes.materialize_masks import store_masked
from mtl_tf.compiler.passes.quantize_tables import store_tables

__all__ = [
    "drop_unread",
    "fold_constants",
    "fold_gates",
    "fold_linear",
    "fold_masks",
    "fold_numbers",
    "fuse",
    "join_mixtures",
    "keep_tasks",
    "project_tables",
    "split_sides",
    "store_masked",
    "store_tables",
]
