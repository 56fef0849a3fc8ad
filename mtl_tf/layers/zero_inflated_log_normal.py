"""`ZeroInflatedLogNormal`: a value that is often zero, and else of any order of magnitude."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers.value_head import ValueHead

_MIN_SIGMA = math.sqrt(1.2e-7)  # of the loss, so that one exact row does not decide it alone


@keras.saving.register_keras_serializable("mtl_tf")
class ZeroInflatedLogNormal(ValueHead):
    """The mean of a distribution that is 0 or log-normal, `(batch, 3)` -> `(batch, 1)`.

        p = sigmoid(z_0),   μ = mean + std · z_1,   σ = std · softplus(z_2)
        ŷ = p · exp(μ + σ²/2)
        loss = −[y > 0] log p − [y = 0] log(1 − p)
             + [y > 0] · (log(σ / std) + (log y − μ)² / 2σ² + log(2π) / 2)

    That is the negative log-likelihood without log y + log(std), which no output changes: a
    task's loss does not depend on the currency of its label.

    Args:
        mean: mean of log(y) of the positive labels.
        std: standard deviation of log(y) of the positive labels.

    Example:
    >>> head = ZeroInflatedLogNormal()
    >>> float(head(tf.constant([[0.0, 0.0, -50.0]]))[0, 0])  # p = 1/2, and always 1 if not 0
    0.5

    Reference: Wang, Liu, Miao, "A Deep Probabilistic Model for Customer Lifetime Value
    Prediction", arXiv:1912.07753, 2019.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not std > 0:
            raise ValueError(f"`std` must be positive. Received: std={std}")
        self.mean = mean
        self.std = std

    @property
    def num_outputs(self) -> int:
        return 3

    def value(self, outputs: Any) -> Any:
        z, location, scale = tf.split(outputs, 3, axis=1)
        variance = tf.square(self.std * tf.nn.softplus(scale))
        return tf.exp(self.mean + self.std * location + variance / 2 - tf.nn.softplus(-z))

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        z, location, scale = tf.split(outputs, 3, axis=1)
        positive = labels > 0
        event = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, z.dtype), z)
        # Before the logarithm, not after: the gradient of a branch not taken counts, too.
        log_label = tf.math.log(tf.where(positive, labels, 1.0))
        sigma = tf.maximum(tf.nn.softplus(scale), _MIN_SIGMA)
        distance = ((log_label - self.mean) / self.std - location) / sigma
        amount = tf.math.log(sigma) + tf.square(distance) / 2 + math.log(2 * math.pi) / 2
        return (event + tf.where(positive, amount, 0.0))[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}
