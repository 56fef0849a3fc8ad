"""The tasks' gradients, and their inner products over the shared variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.replicas import sum_over_replicas
from mtl_tf.ranker.propagate import TaskSlices


def inner_products(gradients: Sequence[Any], slices: TaskSlices) -> Any:
    """⟨g_i, g_j⟩ of one variable, `(tasks, tasks)`, over its shared slices.

    Args:
        gradients: the variable's gradient from each task: dense, `IndexedSlices` or None.
        slices: the tasks that the variable reaches; slices of a single task are left out.
    """
    found = [gradient for gradient in gradients if gradient is not None]
    if not found or not slices.is_shared.any():
        return tf.zeros((len(gradients), len(gradients)))
    if all(isinstance(gradient, tf.IndexedSlices) for gradient in found):
        dense = _rows(gradients)
    else:
        like = tf.convert_to_tensor(found[0])
        dense = [
            tf.zeros_like(like) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient in gradients
        ]
        if not slices.is_shared.all():
            marks = slices.broadcast(tf.constant(slices.is_shared, like.dtype), len(like.shape))
            dense = [marks * gradient for gradient in dense]
    flat = tf.stack([tf.reshape(tf.cast(x, tf.float32), (-1,)) for x in dense])
    return tf.matmul(flat, flat, transpose_b=True)


def loss_gradients(tape: Any, loss: Any, variables: Sequence[Any], factor: Any) -> list[Any]:
    """`factor` · ∇loss by variable, summed over the replicas; None where there is none."""
    gradients = tape.gradient(loss, variables, output_gradients=tf.ones_like(loss) * factor)
    return [None if gradient is None else sum_over_replicas(gradient) for gradient in gradients]


def _rows(gradients: Sequence[tf.IndexedSlices | None]) -> list[Any]:
    """The gradients' rows, each once and at the same position for every task.

    A large table's gradient must not become as large as the table; and sorting, unlike
    `tf.unique`, has shapes that XLA knows.
    """
    found = [gradient for gradient in gradients if gradient is not None]
    indices = tf.concat([gradient.indices for gradient in found], axis=0)
    order = tf.argsort(indices)
    ordered = tf.gather(indices, order)
    starts = tf.concat([[0], tf.cast(ordered[1:] != ordered[:-1], tf.int32)], axis=0)
    count = tf.shape(indices)[0]
    places = tf.scatter_nd(order[:, None], tf.cumsum(starts), count[None])
    parts = iter(tf.split(places, [tf.shape(g.indices)[0] for g in found]))
    width = found[0].values.shape[1:]
    return [
        tf.zeros(tf.concat([count[None], width], axis=0), found[0].values.dtype)
        if gradient is None
        else tf.math.unsorted_segment_sum(gradient.values, next(parts), count)
        for gradient in gradients
    ]
