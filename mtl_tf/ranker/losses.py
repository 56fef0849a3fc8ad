"""Losses per task: a mean over the labelled examples of the batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from mtl_tf.backend.graph import call_of
from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.replicas import num_replicas, sum_over_replicas
from mtl_tf.backend.variables import attached_outputs
from mtl_tf.layers.value_head import ValueHead
from mtl_tf.ranker.binary_loss import rare_event_losses
from mtl_tf.schema import NegativeSampling, Task

_LOSSES = {
    "binary": keras.losses.binary_crossentropy,
    "regression": keras.losses.mean_squared_error,
}


@keras.saving.register_keras_serializable("mtl_tf")
class MaskedMeanLoss(keras.losses.Loss):
    """Mean loss over the examples that have a label: Σ w·ℓ / Σ w, and 0 where Σ w = 0.

    Keras' own mean divides by the batch size: a task would learn more slowly the rarer its
    label is, and example weights would change the learning rate. A weight of 0 means "no
    label": such an example adds nothing, whatever its label holds, NaN included. Under a
    distribution strategy Σ w is that of the global batch, however unevenly the labels are
    distributed over the replicas.

    Args:
        kind: `binary` (cross-entropy, computed on the logits that Keras finds behind
            a sigmoid) or `regression` (squared error).
        head: the `ValueHead` that returns the value of a regression task: its loss is
            computed on the outputs of the tower, which it finds behind the value.
        gamma: of a binary task, γ of the focal loss; 0 is cross-entropy.
        keep: of a binary task, the share of its negatives that is left in the rows.

    Example:
    >>> loss = MaskedMeanLoss("regression")
    >>> float(loss(tf.constant([[1.0], [9.0]]), tf.constant([[3.0], [0.0]]),
    ...            sample_weight=tf.constant([1.0, 0.0])))
    4.0
    """

    def __init__(
        self,
        kind: str = "binary",
        name: str = "masked_mean_loss",
        head: ValueHead | None = None,
        gamma: float = 0.0,
        keep: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(name=name)
        if kind not in _LOSSES:
            raise ValueError(f"`kind` must be one of {tuple(_LOSSES)}. Received: kind={kind!r}")
        self.kind = kind
        self.head = head
        self.gamma = gamma
        self.keep = keep

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None:
            sample_weight = tf.ones(tf.shape(y_pred)[:1])
        weight = tf.reshape(tf.cast(sample_weight, tf.float32), (-1,))
        # Before the loss, not after: 0 · NaN is NaN, and so is its gradient.
        labelled = tf.reshape(weight > 0, (-1, 1))
        labels = tf.reshape(tf.cast(y_true, tf.float32), (-1, 1))
        losses = self.call(tf.where(labelled, labels, 0.0), y_pred)
        share = tf.math.divide_no_nan(
            tf.reduce_sum(weight * losses), sum_over_replicas(tf.reduce_sum(weight))
        )
        # Keras 2 divides a loss by the number of replicas, Keras 3 expects that already done.
        return share * num_replicas() if LEGACY else share

    def call(self, y_true, y_pred):
        if self.head is not None:
            return self.head.losses_of(y_true, attached_outputs(y_pred))
        if self.gamma or self.keep < 1:
            return rare_event_losses(y_true, y_pred, self.gamma, self.keep)
        return _LOSSES[self.kind](y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        head = self.head and keras.saving.serialize_keras_object(self.head)
        return {
            "kind": self.kind,
            "name": self.name,
            "head": head,
            "gamma": self.gamma,
            "keep": self.keep,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedMeanLoss:
        head = config.get("head")
        return cls(**{**config, "head": head and keras.saving.deserialize_keras_object(head)})


# The name under which models compiled before hold it.
keras.saving.get_custom_objects()["mtl_tf>LabelledMean"] = MaskedMeanLoss


def losses_for(
    tasks: Iterable[Task],
    model: keras.Model | None = None,
    sampling: NegativeSampling | None = None,
) -> tuple[dict[str, MaskedMeanLoss], dict[str, float]]:
    """`loss` and `loss_weights` for `model.compile`, by task name.

    Args:
        tasks: the tasks.
        model: the model of `build_model` that is to be trained; needed where regression
            tasks have a `ValueHead`.
        sampling: the `negative_sampling` of the dataset's schema.

    Example:
    >>> losses, weights = losses_for([Task(name="click", label="clicked", weight=2.0)])
    >>> losses["click"].kind, weights
    ('binary', {'click': 2.0})
    """
    tasks = tuple(tasks)
    heads = {} if model is None else _value_heads(model)
    keep = {sampling.task: sampling.keep} if sampling else {}
    losses = {
        task.name: MaskedMeanLoss(
            task.kind,
            f"{task.name}_loss",
            heads.get(task.name),
            task.focal_gamma if task.loss == "focal" else 0.0,
            keep.get(task.name, 1.0),
        )
        for task in tasks
    }
    return losses, {task.name: task.weight for task in tasks}


def _value_heads(model: keras.Model) -> dict[str, ValueHead]:
    """Return the value heads of a functional model by task."""
    layers = {name: call_of(score).layer for name, score in model.output.items()}
    return {name: layer for name, layer in layers.items() if isinstance(layer, ValueHead)}
