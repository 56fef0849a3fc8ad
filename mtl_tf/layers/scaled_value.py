"""`ScaledValue`: a value of which a tower learns the standardized one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers.value_head import ValueHead


@keras.saving.register_keras_serializable("mtl_tf")
class ScaledValue(ValueHead):
    """Mean plus so many standard deviations, trained by squared error in that unit.

        ŷ = t⁻¹(mean + scale · z),   loss = (z − (t(y) − mean) / scale)² / 4

    with t(y) = log(1 + y) if `log`, else y. Without `log` the loss is the squared error
    divided by four variances: a task's share in the gradient does not depend on the unit of
    its label. At z = 0 its root mean square is 1/2, as that of a cross-entropy is. With `log`
    errors are relative, and labels must not be negative.

    Args:
        mean: mean of t(y).
        scale: standard deviation of t(y); a constant has 1.
        log: True to learn the logarithm.

    Example:
    >>> head = ScaledValue(mean=3000.0, scale=500.0)
    >>> float(head(tf.constant([[2.0]]))[0, 0])
    4000.0
    >>> head.losses_of(tf.constant([[3000.0]]), tf.constant([[2.0]])).numpy()
    array([1.], dtype=float32)
    """

    def __init__(self, mean: float = 0.0, scale: float = 1.0, log: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if not scale > 0:
            raise ValueError(f"`scale` must be positive. Received: scale={scale}")
        self.mean = mean
        self.scale = scale
        self.log = log

    def value(self, outputs: Any) -> Any:
        value = self.mean + self.scale * outputs
        return tf.math.expm1(value) if self.log else value

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        labels = tf.math.log1p(labels) if self.log else labels
        return tf.square((labels - self.mean) / self.scale - outputs)[:, 0] / 4

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "scale": self.scale, "log": self.log}
