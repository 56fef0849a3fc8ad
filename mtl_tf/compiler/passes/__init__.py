"""Rewrites of a plan: each takes a plan and gives one with the same scores.

Gates, masks and tasks go first (1-5), then what is left is made fast (6, 7). Each pass
is a function of its own file, usable and testable alone. After them come `materialize_masks`,
which says what is stored and what is made at load, `split_context`, for requests of one user
and many candidates, and `quantize_tables`, which alone changes scores: it rounds.
"""

from mtl_tf.compiler.passes.eliminate_dead import eliminate_dead
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_linear import fold_linear
from mtl_tf.compiler.passes.fold_masks import fold_masks
from mtl_tf.compiler.passes.fold_numeric import fold_numeric
from mtl_tf.compiler.passes.fuse import fuse
from mtl_tf.compiler.passes.fuse_mixtures import fuse_mixtures
from mtl_tf.compiler.passes.materialize_masks import materialize_masks
from mtl_tf.compiler.passes.project_tables import project_tables
from mtl_tf.compiler.passes.quantize_tables import quantize_tables
from mtl_tf.compiler.passes.select_tasks import select_tasks
from mtl_tf.compiler.passes.split_context import split_context

__all__ = [
    "eliminate_dead",
    "fold_constants",
    "fold_gates",
    "fold_linear",
    "fold_masks",
    "fold_numeric",
    "fuse",
    "fuse_mixtures",
    "materialize_masks",
    "project_tables",
    "quantize_tables",
    "select_tasks",
    "split_context",
]
