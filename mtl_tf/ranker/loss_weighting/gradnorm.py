"""`GradNorm`: weights that let all tasks train at similar rates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.replicas import replica_variable
from mtl_tf.errors import UserError
from mtl_tf.ranker.loss_weighting.adam_state import AdamState
from mtl_tf.ranker.loss_weighting.products import inner_products, loss_gradients
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting

_LEAST = 1e-3


class NothingShared(UserError, ValueError):
    """A mistake in a configuration; in Python, a wrong argument of `compile`."""


@keras.saving.register_keras_serializable("mtl_tf")
class GradNorm(Weighting):
    """Balances the norms of the tasks' gradients on the last layer that they share.

        G_k = v_k ‖∇_W L_k‖,  r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0))
        minimise over v:  Σ_k |G_k − mean_j(G_j) · r_k^α|,  the second term held constant
        then Σ_k v_k = K;  c_k = w_k v_k

    W are the shared variables, gates excepted, of the last layer that has any; L_k(0) is the
    loss of the first batch with a label of the task. A task without labels in a batch is not
    among the j, and its v_k does not change; the others then sum to the rest of K, and a
    single one does not change either. v is kept above 1e-3, since a step could make it
    negative.

    The task's own w_k multiplies v_k; inside G_k, GradNorm would undo it.

    Args:
        alpha: α, how strongly slow tasks are favored; 0 makes all norms equal.
        learning_rate: Adam's learning rate for v.

    Variables: `balance`, v, `(tasks,)`, with its moments, and the first losses.

    Reference: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing
    in Deep Multitask Networks", ICML 2018.
    """

    persistent = True

    def __init__(self, alpha: float = 1.5, learning_rate: float = 0.025):
        super().__init__()
        if not alpha >= 0:
            raise ValueError(f"`alpha` must not be negative. Received: alpha={alpha}")
        if not learning_rate > 0:
            raise ValueError(
                f"`learning_rate` must be positive. Received: learning_rate={learning_rate}"
            )
        self.alpha = alpha
        self.learning_rate = learning_rate

    def _create(self) -> None:
        if not self.reach.last_shared():
            raise NothingShared(
                "`gradnorm` needs a layer that several tasks share, and this model has none. "
                "Use another strategy or another architecture"
            )
        self._v = AdamState(tf.ones(len(self.tasks)), self.learning_rate, "balance")
        self._first = replica_variable(tf.zeros(len(self.tasks)), "first_loss")

    @property
    def balance(self) -> tf.Variable:
        """v_k, `(tasks,)`."""
        return self._v.value

    def coefficients(self, batch: Batch) -> Any:
        now, balance = self.current(), tf.identity(self.balance)
        with tf.control_dependencies([now, balance]):
            gradient = self._gradient(batch, balance)
            labelled = tf.cast(batch.labelled, tf.float32)
            # A single task is its own mean: the sign would be that of a rounding error.
            several = tf.reduce_sum(labelled) > 1
            # Where a scaled loss overflows float16, the optimizer skips the step too.
            finite = tf.reduce_all(tf.math.is_finite(gradient))
            updated = batch.labelled & several & finite
            moved = tf.maximum(self._v.step(gradient, updated), _LEAST)
            rest = len(self.tasks) - tf.reduce_sum((1 - labelled) * balance)
            factor = tf.math.divide_no_nan(rest, tf.reduce_sum(labelled * moved))
            self.balance.assign(tf.where(batch.labelled, factor * moved, balance))
        return now

    def _gradient(self, batch: Batch, balance: Any) -> Any:
        """The gradient of Σ|G − target| by v: sign(G_k − target_k) · ‖∇_W L_k‖."""
        labelled = tf.cast(batch.labelled, tf.float32)
        unset = batch.labelled & (self._first <= 0)
        first = tf.where(unset, batch.values, self._first)
        self._first.assign(first)
        norms = self._norms(batch)
        mean_norm = _mean(balance * norms, labelled)
        ratio = tf.math.divide_no_nan(batch.values, first)
        rate = tf.math.divide_no_nan(ratio, _mean(ratio, labelled))
        return tf.sign(balance * norms - mean_norm * rate**self.alpha) * norms

    def _norms(self, batch: Batch) -> Any:
        """‖∇_W L_k‖ on the shared slices, `(tasks,)`."""
        variables = self.reach.last_shared()
        by_task = [
            loss_gradients(batch.tape, loss, variables, batch.scale) for loss in batch.losses
        ]
        squares = tf.add_n(
            [
                tf.linalg.diag_part(inner_products(gradients, self.reach.of(variable)))
                for variable, gradients in zip(variables, zip(*by_task, strict=True), strict=True)
            ]
        )
        return tf.sqrt(squares) / batch.scale

    def current(self) -> Any:
        return self.weights * self.balance

    def get_config(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "learning_rate": self.learning_rate}


def _mean(values: Any, labelled: Any) -> Any:
    return tf.math.divide_no_nan(tf.reduce_sum(values * labelled), tf.reduce_sum(labelled))
