"""`TrainStep`: one step of a compiled `Ranker`, from the batch's losses to the update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.replicas import num_replicas, sum_over_replicas
from mtl_tf.ranker.loss_weighting import Batch, Weighting
from mtl_tf.ranker.masked_update import MaskedUpdate
from mtl_tf.ranker.task_reach import TaskReach


class TrainStep:
    """The losses of a batch, weighted, differentiated and applied once.

    Args:
        model: its outputs are a dict by task.
        losses: by task, as given to `compile`; None for a task that is not trained.
        loss_weights: by task, w_k; 1 by default.
        weighting: the strategy; it is built here.

    Raises:
        ValueError: a loss names no output of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: Mapping[str, Any],
        loss_weights: Mapping[str, float],
        weighting: Weighting,
    ):
        unknown = [name for name in losses if name not in model.output]
        if unknown:
            raise ValueError(
                f"`loss` must name outputs of the model, {list(model.output)}. "
                f"Received: loss for `{unknown[0]}`"
            )
        self.model = model
        self.losses = {name: _as_object(loss) for name, loss in losses.items() if loss is not None}
        self.weighting = weighting
        self.reach = TaskReach(model, tuple(self.losses))
        weighting.build(
            tuple(self.losses),
            [loss_weights.get(name, 1.0) for name in self.losses],
            [getattr(loss, "kind", "binary") for loss in self.losses.values()],
            self.reach,
        )

    def batch(self, tape: Any, y: Any, y_pred: Any, sample_weight: Any, penalties: Any) -> Batch:
        """The losses of a batch; to be called within the tape."""
        losses, labelled = [], []
        for name, loss in self.losses.items():
            weight = sample_weight
            if isinstance(weight, Mapping):
                weight = weight.get(name)
            value = loss(y[name], y_pred[name], sample_weight=weight)
            losses.append(value / num_replicas() if LEGACY else value)
            labelled.append(weight is None or tf.reduce_any(weight > 0))
        trained = tf.constant(self.weighting.task_weights) > 0
        penalty = tf.add_n([tf.cast(x, tf.float32) for x in penalties] or [tf.constant(0.0)])
        return Batch(
            tape,
            losses,
            sum_over_replicas(tf.stop_gradient(tf.stack(losses))),
            (sum_over_replicas(tf.cast(tf.stack(labelled), tf.float32)) > 0) & trained,
            penalty / num_replicas(),
            self._loss_scale(),
        )

    def _loss_scale(self) -> Any:
        """The factor on losses that a float16 optimizer asks for, else 1."""
        scaled = "get_scaled_loss" if LEGACY else "scale_loss"
        return getattr(self.model.optimizer, scaled, lambda loss: loss)(tf.constant(1.0))

    def apply(self, batch: Batch) -> None:
        """Apply the optimizer once, and restore what no labelled task reaches."""
        variables, optimizer = self.model.trainable_variables, self.model.optimizer
        gradients = self.weighting.gradients(batch, variables)
        if hasattr(optimizer, "get_unscaled_gradients"):  # in Keras 3 the optimizer does it
            gradients = optimizer.get_unscaled_gradients(gradients)
        update = MaskedUpdate(optimizer, variables, self.reach, batch.labelled)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        update.restore()

    def logs(self) -> dict[str, Any]:
        """c_k of the last step, as `weight_<task>`."""
        weights = tf.unstack(self.weighting.current(), len(self.losses))
        return {f"weight_{name}": x for name, x in zip(self.losses, weights, strict=True)}


class _MeanLoss(keras.losses.Loss):
    """The mean of a loss function."""

    def __init__(self, function: Any):
        super().__init__(name="mean")  # Keras would name a scope after a class with `_`
        self.call = function


def _as_object(loss: Any) -> keras.losses.Loss:
    found = keras.losses.get(loss)
    return found if isinstance(found, keras.losses.Loss) else _MeanLoss(found)
