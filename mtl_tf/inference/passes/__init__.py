"""Rewrites of a plan: each takes a plan and gives one with the same scores.

Gates, masks and tasks go first (1-5), then what is left is made fast (6, 7). Each pass
is a function of its own file, usable and testable alone. After them come `store_masked`,
which says what is stored and what is made at load, `split_sides`, for requests of one user
and many candidates, and `store_tables`, which alone changes scores: it rounds.
"""

from mtl_tf.inference.passes.drop_unread import drop_unread
from mtl_tf.inference.passes.fold_constants import fold_constants
from mtl_tf.inference.passes.fold_gates import fold_gates
from mtl_tf.inference.passes.fold_linear import fold_linear
from mtl_tf.inference.passes.fold_masks import fold_masks
from mtl_tf.inference.passes.fold_numbers import fold_numbers
from mtl_tf.inference.passes.fuse import fuse
from mtl_tf.inference.passes.join_mixtures import join_mixtures
from mtl_tf.inference.passes.keep_tasks import keep_tasks
from mtl_tf.inference.passes.project_tables import project_tables
from mtl_tf.inference.passes.split_sides import split_sides
from mtl_tf.inference.passes.store_masked import store_masked
from mtl_tf.inference.passes.store_tables import store_tables

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
