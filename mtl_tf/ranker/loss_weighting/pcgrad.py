"""`PCGrad`: conflicting components are projected out of each task's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.replicas import num_replicas, replica_variable
from mtl_tf.ranker.loss_weighting.products import inner_products, loss_gradients
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting


@keras.saving.register_keras_serializable("mtl_tf")
class PCGrad(Weighting):
    """Gradient surgery on shared variables: for each task i, in a random order of the other
    tasks j,

        g_i ← g_i − min(0, ⟨g_i, h_j⟩) / ‖h_j‖² · h_j        h_j = w_j ∇L_j, unchanged

    and then ∇ = Σ_i g_i. The g start at h_i. Since every g_i is a combination of the h, only
    their inner products are needed, and the order of the sums does not matter. Variables
    that a single task reaches get its plain gradient. A task without labels in a batch has
    h = 0, and nothing conflicts with it.

    Variables: `steps`, which determines the random orders.

    Args:
        seed: of the random orders.

    Reference: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
    """

    persistent = True

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed

    def _create(self) -> None:
        self.steps = replica_variable(tf.constant(0, tf.int64), "steps")

    def gradients(self, batch: Batch, variables: Sequence[Any]) -> list[Any]:
        by_task = [
            loss_gradients(batch.tape, loss, variables, weight * batch.scale)
            for loss, weight in zip(batch.losses, self.task_weights, strict=True)
        ]
        penalty = batch.tape.gradient(
            batch.penalty, variables, output_gradients=tf.ones_like(batch.penalty) * batch.scale
        )
        reach = [self.reach.of(variable) for variable in variables]
        by_variable = list(zip(*by_task, strict=True))
        products = tf.add_n(
            [inner_products(each, slices) for each, slices in zip(by_variable, reach, strict=True)]
        )
        order = self._order(tf.identity(self.steps))
        self.steps.assign_add(1)
        shares = tf.unstack(tf.reduce_sum(surgery(products, order), axis=0) / num_replicas())
        return [
            _sum(_combined(each, shares, slices), extra)
            for each, slices, extra in zip(by_variable, reach, penalty, strict=True)
        ]

    def _order(self, step: Any) -> Any:
        """A random order of all tasks for each task, `(tasks, tasks)`."""
        count = len(self.tasks)
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        return tf.argsort(tf.random.stateless_uniform((count, count), seed), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


def surgery(products: Any, order: Any) -> Any:
    """The projected gradients as combinations of the plain ones.

    Args:
        products: ⟨h_i, h_j⟩, `(tasks, tasks)`.
        order: row i is the order of the tasks that g_i is projected against, i skipped.

    Returns:
        `(tasks, tasks)`: row i holds the factors of the h in g_i.

    Example: two gradients (1, 0) and (−1, 1), each without its conflict with the other.
    >>> products = tf.constant([[1.0, -1.0], [-1.0, 2.0]])
    >>> surgery(products, tf.constant([[0, 1], [0, 1]])).numpy().tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """
    count = products.shape[0]
    squares = tf.linalg.diag_part(products)
    factors = tf.eye(count)
    for position in range(count):
        others = order[:, position]
        dots = tf.gather(factors @ products, others, batch_dims=1)
        dots = tf.where(others == tf.range(count), 0.0, tf.minimum(dots, 0.0))
        loss = tf.math.divide_no_nan(dots, tf.gather(squares, others))
        factors -= loss[:, None] * tf.one_hot(others, count)
    return factors


def _combined(gradients: Sequence[Any], shares: Sequence[Any], slices: Any) -> Any:
    """Σ share · gradient over the tasks on shared slices, the plain sum on the others."""
    plain = [1.0 / num_replicas()] * len(gradients)
    if not slices.is_shared.any():
        return _weighted(gradients, plain)
    found = _weighted(gradients, shares)
    if slices.is_shared.all() or found is None:
        return found
    marks = slices.broadcast(tf.constant(slices.is_shared), len(found.shape))
    return tf.where(marks, found, _weighted(gradients, plain))


def _weighted(gradients: Sequence[Any], factors: Sequence[Any]) -> Any:
    scaled = None
    for gradient, factor in zip(gradients, factors, strict=True):
        if gradient is not None:
            if isinstance(gradient, tf.IndexedSlices):
                values = gradient.values * tf.cast(factor, gradient.values.dtype)
                part = tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
            else:
                part = gradient * tf.cast(factor, gradient.dtype)
            scaled = _sum(scaled, part)
    return scaled


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices) and isinstance(b, tf.IndexedSlices):
        values = tf.concat([a.values, b.values], axis=0)
        return tf.IndexedSlices(values, tf.concat([a.indices, b.indices], axis=0), a.dense_shape)
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)
